/* request: READ and WRITE answered in C.
 *
 * A reply to a read goes out of the quanta, pinned meanwhile. Every request that is answered here is
 * answered once, whatever happens. */
#include "channel/request.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

#include "base/killpoint.h"
#include "channel/door.h"
#include "filter/flip.h"
#include "store/handle.h"

/* So much is copied behind the reply's header: the kernel takes longer to find a piece's page. */
#define SMALL ((size_t)1024)
#define TIMED 16u /* one in so many is; what it took stands for those until the next */

static const struct fuse_in_header *header(const struct room *room)
{
    return (const struct fuse_in_header *)room->message;
}

/* --- replies ----------------------------------------------------------------------------------- */

/* Of a reply with so many bytes behind it. */
static struct fuse_out_header out_header(const struct room *room, size_t bytes, int error)
{
    return (struct fuse_out_header){
        .len = (uint32_t)(sizeof(struct fuse_out_header) + bytes),
        .error = error,
        .unique = header(room)->unique,
    };
}

static void reply_error(const struct room *room, int fd, int error)
{
    struct fuse_out_header out = out_header(room, 0, error);

    if (write(fd, &out, sizeof(out)) < 0)
        return; /* the channel is gone, and the client with it */
}

/* A reply that the kernel refuses leaves the client waiting, so an error takes its place; ENOENT says
 * that the client is gone already. */
static void settle(const struct room *room, int fd, ssize_t sent)
{
    if (sent < 0 && errno != ENOENT && errno != ENODEV)
        reply_error(room, fd, -EIO);
}

/* iov[0] is left for the header. */
static void reply(const struct room *room, int fd, struct iovec *iov, unsigned n,
                  size_t bytes)
{
    struct fuse_out_header out = out_header(room, bytes, 0);

    iov[0] = (struct iovec){&out, sizeof(out)};
    settle(room, fd, writev(fd, iov, (int)n));
}

static void reply_written(const struct room *room, int fd, size_t bytes)
{
    struct {
        struct fuse_out_header out;
        struct fuse_write_out written;
    } reply = {
        .out = out_header(room, sizeof(struct fuse_write_out), 0),
        .written = {.size = (uint32_t)bytes},
    };

    settle(room, fd, write(fd, &reply, sizeof(reply)));
}

/* --- READ -------------------------------------------------------------------------------------- */

/* READ's arguments lie within the 80 bytes: the body is free for the data. */
static size_t read_size(const struct room *room)
{
    const struct fuse_read_in *in = room_body(room);

    return in->size > room->payload_max ? room->payload_max : in->size;
}

static ssize_t read_into_body(struct room *room, enum request_kind kind,
                              struct handle *handle, uint64_t offset, size_t size)
{
    return kind == REQUEST_NODE
               ? handle_read(handle, room->body, size, offset > 0)
               : store_read_into(handle_store(handle), offset, room->body, size, 0);
}

/* Bytes of the body, or -errno. */
static ssize_t reply_body(const struct room *room, int fd, ssize_t n)
{
    struct iovec iov[2] = {[1] = {room->body, (size_t)(n < 0 ? 0 : n)}};

    if (n < 0)
        reply_error(room, fd, (int)n);
    else
        reply(room, fd, iov, 2, (size_t)n);
    return n;
}

void request_answer_read_flipped(struct room *room, int fd, enum request_kind kind,
                                 uint32_t bits, uint64_t dice)
{
    const struct fuse_read_in *in = room_body(room);
    struct handle *handle = ledger_hold(room->ledger, in->fh);
    ssize_t n = handle ? read_into_body(room, kind, handle, in->offset, read_size(room)) : -EBADF;

    if (n > 0)
        flip_all(room->body, (size_t)n, bits, dice);
    room->answered = reply_body(room, fd, n);
    handle_free(handle);
}

static void reply_small(const struct room *room, int fd, const struct read_plan *plan)
{
    _Alignas(2 * SMALL) struct {
        struct fuse_out_header out;
        uint8_t data[SMALL];
    } reply; /* in one page */

    reply.out = out_header(room, plan->bytes, 0);
    store_copy_plan(plan, reply.data);
    settle(room, fd, write(fd, &reply, reply.out.len));
}

static void reply_plan(const struct room *room, int fd, const struct read_plan *plan)
{
    struct iovec iov[PLAN_SPANS + 1];

    memcpy(iov + 1, plan->iov, plan->spans * sizeof(*iov));
    reply(room, fd, iov, plan->spans + 1, plan->bytes);
}

/* Bytes, or -errno. */
static ssize_t answer_read(struct room *room, int fd, enum request_kind kind,
                           struct handle *handle)
{
    const struct fuse_read_in *in = room_body(room);
    const size_t size = read_size(room);
    struct read_plan plan;
    int rc;

    rc = kind == REQUEST_NODE
             ? handle_plan_read(handle, size, in->offset > 0, &plan)
             : store_plan_read(handle_store(handle), in->offset, size, 0, &plan);
    if (rc == -E2BIG) /* no room in a plan (quanta of a few bytes), or no use */
        return reply_body(room, fd, read_into_body(room, kind, handle, in->offset, size));
    if (rc < 0) {
        reply_error(room, fd, rc);
        return rc;
    }
    KILL_POINT(KILL_UNANSWERED);
    if (plan.bytes <= SMALL)
        reply_small(room, fd, &plan);
    else
        reply_plan(room, fd, &plan);
    store_end_read(&plan);
    return (ssize_t)plan.bytes;
}

/* --- WRITE ------------------------------------------------------------------------------------- */

/* Bytes, or -errno. */
static ssize_t answer_write(struct room *room, int fd, enum request_kind kind,
                            struct handle *handle, size_t payload)
{
    const struct fuse_write_in *in = (const void *)(room->message + sizeof(struct fuse_in_header));
    struct store *store = handle_store(handle);
    /* A node's offset counts within the system call. */
    uint64_t at = kind == REQUEST_NODE ? handle_position(handle) : in->offset;
    struct iovec src[SPARES_MAX + 1];
    struct spares *spares = room->laid ? &room->spares : NULL;
    unsigned n = 0;
    ssize_t done;

    assert(in->size == payload); /* door.c */
    for (; spares && n < spares->count; n++)
        src[n] = (struct iovec){arena_address(spares->arena, spares->region[n]),
                                arena_region_bytes(spares->arena)};
    src[n] = (struct iovec){room->body + room->laid, room->payload_max - room->laid};

    if (kind == REQUEST_NODE)
        done = handle_write(handle, src, payload, in->offset > 0, spares);
    else
        done = store_write_from(store, at, src, payload, spares, 0);
    KILL_POINT(KILL_UNANSWERED);
    if (done < 0)
        reply_error(room, fd, (int)done);
    else
        reply_written(room, fd, (size_t)done);

    if (done > 0 && store_adopts(store, at, (size_t)done))
        room_expect(room, store, (size_t)done);
    else
        room_expect_nothing(room);
    return done;
}

bool request_answer(struct room *room, int fd, enum request_kind kind, size_t length)
{
    const struct fuse_in_header *in = header(room);
    size_t payload = length > REQUEST_HEAD ? length - REQUEST_HEAD : 0;
    struct handle *handle;
    uint64_t fh;

    if (kind == REQUEST_FOREIGN)
        return false;
    if (in->opcode == FUSE_READ || in->opcode == FUSE_WRITE) {
        memcpy(&fh, room->message + sizeof(*in), sizeof(fh)); /* the first field of both */
        handle = ledger_hold(room->ledger, fh); /* a kernel that lies may close it meanwhile */
        room->answered = -EBADF;
        if (!handle)
            reply_error(room, fd, -EBADF);
        else if (in->opcode == FUSE_READ)
            room->answered = answer_read(room, fd, kind, handle);
        else
            room->answered = answer_write(room, fd, kind, handle, payload);
        handle_free(handle);
        return true;
    }
    room_gather(room, payload);
    return false;
}

uint64_t request_time(const struct room *room, enum request_kind kind)
{
    return kind == REQUEST_FOREIGN || room->counted % TIMED ? 0 : counters_now_ns();
}

void request_count(struct room *room, struct counters *counters, uint64_t begun_ns)
{
    uint32_t opcode = room_opcode(room);
    ssize_t done = room->answered;

    if (begun_ns)
        room->took_ns = counters_now_ns() - begun_ns;
    room->counted++;
    if (opcode == FUSE_READ || opcode == FUSE_WRITE)
        counters_note(counters, opcode == FUSE_READ ? CALL_READ : CALL_WRITE, 0,
                      done < 0 ? 0 : (uint64_t)done, done < 0 ? (int)-done : 0, room->took_ns);
}

void request_refuse(const struct room *room, int fd, size_t length, int error)
{
    if (length >= sizeof(struct fuse_in_header) && header(room)->unique &&
        door_is_answered(room->message))
        reply_error(room, fd, error);
}

void request_answer_poll(const struct room *room, int fd, uint32_t events)
{
    struct {
        struct fuse_out_header out;
        struct fuse_poll_out poll;
    } reply = {
        .out = out_header(room, sizeof(struct fuse_poll_out), 0),
        .poll = {.revents = events},
    };

    settle(room, fd, write(fd, &reply, sizeof(reply)));
}
