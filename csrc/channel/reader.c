/* reader: one request, waited for, received and answered. See worker.c for who does that, and when. */
#include "channel/reader.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <time.h>

#include "base/probe.h"
#include "channel/door.h"
#include "channel/request.h"
#include "channel/sieve.h"

#define FIRST_READER 1u /* of a data channel, whose first worker is the caller */

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t spin_ns(const struct workers *workers)
{
    int32_t asked = workers->spin_us;

    return asked < 0 ? placement_spin_ns(workers->placement) : (uint64_t)asked * 1000;
}

/* Looks for the next request for a while before the worker goes to sleep for it, and lets others
 * run that want to. */
static void spin(const struct workers *workers, uint64_t length_ns)
{
    struct pollfd ready = {.fd = workers->fd, .events = POLLIN};
    uint64_t until = now_ns() + length_ns;

    while (poll(&ready, 1, 0) == 0 && now_ns() < until)
        sched_yield();
}

/* Counts a message whose sizes lie; of the first one Python is told. */
static void report(struct workers *workers, const struct room *room, size_t length)
{
    struct call *call;

    if (atomic_fetch_add_explicit(&workers->refused, 1, memory_order_relaxed))
        return;
    call = call_new_bare(CALL_REFUSED);
    if (!call)
        return;
    call->size = length;
    call->cmd = room_opcode(room);
    workers->tell(workers, call);
}

/* A kernel may well ask for what nobody here knows (ENOSYS). */
static void refuse(struct workers *workers, struct room *room, size_t length, int error)
{
    request_refuse(room, workers->fd, length, error);
    if (error != -ENOSYS)
        report(workers, room, length);
}

/* Whether the message is one: what is none is refused. */
static bool admit(struct workers *workers, struct room *room, size_t length)
{
    enum door_side side = workers->kind == REQUEST_FILE ? DOOR_FUSE : DOOR_CUSE;
    int rc = door_check(room->message, length, side);

    if (rc < 0)
        refuse(workers, room, length, rc);
    return rc == 0;
}

/* A worker that follows has to know: the kernel says it once. */
static void note_interrupt(struct ledger *ledger, const void *message, size_t length)
{
    const struct fuse_in_header *in = message;
    const struct fuse_interrupt_in *interrupt = (const void *)(in + 1);

    if (in->opcode == FUSE_INTERRUPT && length >= sizeof(*in) + sizeof(*interrupt))
        ledger_interrupt_call(ledger, interrupt->unique);
}

/* Whether that was all. Where no call lasts, whoever was interrupted, and does not wait in a filter, has
 * the answer by now. */
static bool heed_interrupt(struct workers *workers, const struct room *room)
{
    bool lasts = workers->kind == REQUEST_FOREIGN || workers->interruptible;

    return sieve_interrupt(workers, room) || !lasts;
}

/* libfuse keeps the INTERRUPT of a request that it has not seen until the next one comes, and then
 * returns it (EAGAIN), for the kernel to send it again if the request still waits. Those of reads and
 * writes, which it never sees, would pile up; so there is a next one, which does nothing. */
static void return_interrupt(struct workers *workers)
{
    struct {
        struct fuse_in_header in;
        struct fuse_forget_in forget;
    } nothing = {.in = {.len = sizeof(nothing), .opcode = FUSE_FORGET}};

    fuse_session_process_buf(workers->session,
                             &(struct fuse_buf){.size = sizeof(nothing), .mem = &nothing});
}

/* Nobody here counts lookups; and before INIT libfuse would answer even these. */
static bool forgets(const struct room *room)
{
    uint32_t opcode = room_opcode(room);

    return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET;
}

/* Of a message that was admitted, and lies whole in the room. */
static void decode(struct workers *workers, struct room *room, size_t length)
{
    struct fuse_buf message = {.size = length, .mem = room->message};
    const bool greets = room_is_greeting(room);
    int rc = door_check_names(room->message, length);

    if (rc < 0) {
        refuse(workers, room, length, rc);
        return;
    }
    if (forgets(room))
        return;
    if (room_opcode(room) == FUSE_INTERRUPT && heed_interrupt(workers, room))
        return;
    if (workers->ledger && greets)
        ledger_keep_greeting(workers->ledger, room->message, length);
    if (workers->ledger && ledger_saves(workers->ledger))
        note_interrupt(workers->ledger, room->message, length);
    call_decode(workers->session, &message);
    if (greets)
        workers->on_greeting(workers);
    if (room_opcode(room) == FUSE_INTERRUPT && workers->kind != REQUEST_FOREIGN)
        return_interrupt(workers);
}

void reader_process(struct workers *workers, struct room *room, size_t length,
                    _Atomic uint64_t *answered)
{
    const uint64_t begun_ns = request_time(room, workers->kind);
    bool sieved;

    if (!admit(workers, room, length))
        return;
    PROBE2(request, room_opcode(room), length);
    sieved = sieve_is_for(workers, room);
    if (sieved && !sieve(workers, room, &length))
        return;
    if (request_answer(room, workers->fd, workers->kind, length)) {
        atomic_fetch_add_explicit(answered, 1, memory_order_relaxed);
        request_count(room, workers->upcalls->counters, begun_ns);
    } else {
        decode(workers, room, length);
        if (sieved)
            sieve_end();
    }
}

static void process(struct worker *worker, size_t length)
{
    room_begin(&worker->room, length);
    reader_process(worker->workers, &worker->room, length, &worker->answered);
    room_end(&worker->room);
}

bool reader_is_nothing(ssize_t length)
{
    return length == -EINTR || length == -EAGAIN || length == -ENOENT;
}

/* Placement's numbers are of readers: a data channel's first worker is none. */
static void park(const struct worker *worker)
{
    struct workers *workers = worker->workers;

    if (workers->kind != REQUEST_FOREIGN)
        placement_park(workers->placement, worker->number - FIRST_READER);
}

static inline int take(struct worker *worker)
{
    ssize_t length = room_receive(&worker->room, worker->workers->fd, worker->workers->kind);

    if (reader_is_nothing(length))
        return 0;
    if (length <= 0)
        return length ? (int)length : -ENODEV;
    process(worker, (size_t)length);
    return 1;
}

int reader_take(struct worker *worker)
{
    return take(worker);
}

int reader_turn(struct worker *worker, bool busy)
{
    struct workers *workers = worker->workers;
    uint64_t spin_for = busy ? spin_ns(workers) : 0;
    int taken;

    park(worker);
    if (spin_for)
        spin(workers, spin_for);
    taken = take(worker);
    /* Whatever it was: workers that starve must notice it also where nobody reads or writes. */
    if (taken > 0)
        placement_see(workers->placement, worker->number,
                      &(struct seen){
                          .pid = room_pid(&worker->room),
                          .bytes = worker->room.answered,
                          .left = room_closes(&worker->room),
                      });
    return taken;
}
