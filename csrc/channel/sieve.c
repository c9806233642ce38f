/* sieve: what the filters of a device make of a message, before anybody answers it.
 *
 * Here every message comes by, whether C answers it or Python. What filters can befall: OPEN, READ,
 * WRITE, IOCTL, POLL, FSYNC, and what changes a file's size; a RELEASE never, as a close must not hang.
 * An open for ioctls alone (access mode 3) and the ioctls that change filters pass always: else nobody
 * could take a filter away that refuses all.
 *
 * A request that is delayed keeps its thread and the room that it lies in, while others read. Where there
 * are no threads (pumped) Python's loop waits instead. A message that a worker before had taken already is
 * not delayed, and chance has had its say; but what is read-only stays so. */
#include "channel/sieve.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/ioctl.h>
#include <poll.h>

#include "channel/request.h"

#define FILTER_MAGIC 0xEEu /* ioctls of ours: cuse_scullv/cuse/filter_ioctl.py */
#define FILTER_FIRST 0x20u
#define FILTER_LAST 0x22u

static bool changes_filters(const struct room *room)
{
    const struct fuse_ioctl_in *in = room_body(room);

    return _IOC_TYPE(in->cmd) == FILTER_MAGIC && _IOC_NR(in->cmd) >= FILTER_FIRST &&
           _IOC_NR(in->cmd) <= FILTER_LAST;
}

/* What filters are told of the message. False: it is none of their business. */
static bool describe(const struct room *room, struct filtered *request)
{
    const void *body = room_body(room);

    switch (room_opcode(room)) {
    case FUSE_OPEN:
        request->kind = CALL_OPEN;
        request->flags = (int32_t)((const struct fuse_open_in *)body)->flags;
        return (request->flags & O_ACCMODE) != O_ACCMODE;
    case FUSE_READ:
        request->kind = CALL_READ;
        request->bytes = ((const struct fuse_read_in *)body)->size;
        if (request->bytes > room->payload_max)
            request->bytes = room->payload_max;
        return true;
    case FUSE_WRITE:
        request->kind = CALL_WRITE;
        request->bytes = ((const struct fuse_write_in *)body)->size;
        return true;
    case FUSE_IOCTL:
        request->kind = CALL_IOCTL;
        return !changes_filters(room);
    case FUSE_POLL:
        request->kind = CALL_POLL;
        return true;
    case FUSE_FSYNC:
        request->kind = CALL_FSYNC;
        return true;
    case FUSE_SETATTR:
        request->kind = CALL_RESIZE;
        return ((const struct fuse_setattr_in *)body)->valid & FATTR_SIZE;
    case FUSE_FALLOCATE:
        request->kind = CALL_RESIZE;
        return true;
    default:
        return false;
    }
}

static struct filters *filters_of(const struct workers *workers, const struct room *room)
{
    return workers->filters[(room_node(room) - workers->first_node) & workers->node_mask];
}

/* --- delays -------------------------------------------------------------------------------------- */

static uint64_t deadline(uint64_t delay_ns)
{
    const uint64_t now = counters_now_ns();

    return delay_ns < UINT64_MAX - now ? now + delay_ns : UINT64_MAX;
}

/* 0, or the errno that the client gets instead. Where there are too many threads nothing waits, as that
 * would hold up all others. */
static int wait_aside(struct workers *workers, struct filters *filters,
                      const struct room *room, const struct verdict *verdict)
{
    struct wait wait = {
        .owner = workers,
        .unique = room_unique(room),
        .stopping = &workers->stopping,
        .changes = verdict->changes,
    };
    const uint64_t until = deadline(verdict->delay_ns);
    enum wait_end end;

    if (!workers->step_aside(workers))
        return 0;
    end = filters_wait(filters, &wait, until);
    workers->step_back(workers);
    if (end == WAIT_INTERRUPTED)
        return EINTR;
    return end == WAIT_STOPPED ? ENODEV : 0;
}

bool sieve_interrupt(struct workers *workers, const struct room *room)
{
    const struct fuse_interrupt_in *in = room_body(room);
    bool waited = false;

    for (unsigned i = 0; i < workers->n_filters && !waited; i++)
        if (workers->filters[i])
            waited = filters_interrupt(workers->filters[i], workers, in->unique);
    return waited;
}

/* --- verdicts ------------------------------------------------------------------------------------ */

static void note_poll(const struct workers *workers, struct filters *filters,
                      const struct room *room)
{
    const struct fuse_poll_in *in = room_body(room);

    if (in->flags & FUSE_POLL_SCHEDULE_NOTIFY)
        filters_note_poll(filters, in->kh, workers->fd);
}

/* Answers in the device's place. */
static void refuse(struct workers *workers, const struct room *room, size_t length,
                   const struct filtered *request, const struct verdict *verdict,
                   uint64_t begun_ns)
{
    const struct fuse_ioctl_in *ioctl = room_body(room);
    const bool polls = request->kind == CALL_POLL && !(verdict->error && !verdict->hung);

    counters_note(workers->upcalls->counters, request->kind,
                  request->kind == CALL_IOCTL ? ioctl->cmd : 0, 0, polls ? 0 : verdict->error,
                  counters_now_ns() - begun_ns);
    if (polls)
        request_answer_poll(room, workers->fd, verdict->hung ? POLLERR | POLLHUP : 0);
    else
        request_refuse(room, workers->fd, length, -verdict->error);
}

/* A file's read and write are never short but at its end: pages would be taken for what they are not. */
static bool may_be_short(const struct workers *workers)
{
    return workers->kind != REQUEST_FILE;
}

static void change(struct workers *workers, struct room *room, size_t *length,
                   const struct filtered *request, const struct verdict *verdict)
{
    const bool writes = request->kind == CALL_WRITE;

    if (request->bytes > verdict->bytes && may_be_short(workers))
        *length = room_cut(room, (uint32_t)verdict->bytes, *length);
    if (writes && verdict->bits)
        room_flip(room, verdict->bits, verdict->dice);
}

/* True: it was a READ that C answers, and bits of it have changed. */
static bool answer_flipped(struct workers *workers, struct room *room,
                           const struct filtered *request, const struct verdict *verdict)
{
    const uint64_t begun_ns = request_time(room, workers->kind);

    if (request->kind != CALL_READ || !verdict->bits || workers->kind == REQUEST_FOREIGN)
        return false;
    request_answer_read_flipped(room, workers->fd, workers->kind, verdict->bits, verdict->dice);
    request_count(room, workers->upcalls->counters, begun_ns);
    return true;
}

/* The call that is made of the message is told on this thread. */
static void pass_on(const struct verdict *verdict)
{
    static _Thread_local struct verdict told;

    told = *verdict;
    filters_pass(&told);
}

void sieve_end(void)
{
    filters_pass(NULL);
}

bool sieve(struct workers *workers, struct room *room, size_t *length)
{
    const uint64_t begun_ns = counters_now_ns();
    struct filters *filters = filters_of(workers, room);
    struct filtered request = {.again = workers->resuming};
    struct verdict verdict;

    if (!describe(room, &request))
        return true;
    filters_judge(filters, &request, &verdict);
    if (verdict.delay_ns && !workers->pumped) {
        int error = wait_aside(workers, filters, room, &verdict);

        verdict.error = error ? error : verdict.error;
        verdict.stuck = verdict.hung = error ? false : verdict.hung;
        verdict.delay_ns = 0;
    }
    if (request.kind == CALL_POLL)
        note_poll(workers, filters, room);
    if (verdict.stuck || (verdict.error && !verdict.delay_ns)) {
        refuse(workers, room, *length, &request, &verdict, begun_ns);
        return false;
    }
    change(workers, room, length, &request, &verdict);
    if (answer_flipped(workers, room, &request, &verdict))
        return false;
    if (workers->kind == REQUEST_FOREIGN && (verdict.bits || verdict.delay_ns))
        pass_on(&verdict);
    return true;
}
