/* request: READ and WRITE answered in C.
 *
 * One worker, one room. A message is 80 bytes of headers and a payload; readv parts them, so the
 * payload lies page aligned in the room's body, or, when the next write is expected to fill whole
 * quanta of a store, in quanta laid out for it: those are adopted and nobody copies (the kernel's
 * own copy from the client's pages was the only one). A reply to a read goes out of the quanta,
 * pinned meanwhile. Every request that is answered here is answered once, whatever happens.
 *
 * Expectation: a write of whole, aligned quanta is likely followed by another of the same length
 * to the same store. Whatever else comes is gathered into the body first, as if nothing had been
 * expected; the first write that does not adopt ends the expectation. */
#include "channel/request.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/killpoint.h"
#include "channel/door.h"
#include "filter/flip.h"
#include "store/handle.h"

#define PAGE ((size_t)4096)
/* So much is copied behind the reply's header: the kernel takes longer to find a piece's page. */
#define SMALL ((size_t)1024)
#define TIMED 16u /* one in so many is; what it took stands for those until the next */

/* The message that this thread works on, if it outlives the process. */
static _Thread_local struct {
    const struct request_room *room;
    size_t length;
} working;

_Static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) == REQUEST_HEAD,
               "the headers of a WRITE");
_Static_assert(PAGE - REQUEST_HEAD == LEDGER_MESSAGE, "a payload in a room is page aligned");

int request_room_init(struct request_room *room, size_t payload_max, struct ledger *ledger,
                      unsigned number)
{
    size_t bytes = PAGE + payload_max;
    uint8_t *map = ledger ? ledger_room(ledger, number, bytes) : NULL;
    struct journal *journal = map ? ledger_journal(ledger, number) : NULL;

    if (!map && ledger && ledger_outlives(ledger))
        return -EAGAIN; /* a message in a room of our own would die with us */
    if (!map)
        map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return -errno;
    *room = (struct request_room){
        .body = map + PAGE,
        .message = map + PAGE - REQUEST_HEAD,
        .payload_max = payload_max,
        .ledger = ledger,
        .journal = journal,
    };
    return 0;
}

size_t request_lend(struct request_room *room, const void *message, struct journal *journal)
{
    size_t length = ((const struct fuse_in_header *)message)->len;

    room->journal = journal;
    room->lent = true;
    memcpy(room->message, message, length);
    return length;
}

static void expect_nothing(struct request_room *room)
{
    if (!room->expect)
        return;
    store_drop_spares(&room->spares);
    store_drop(room->expect);
    room->expect = NULL;
}

static void expect_write(struct request_room *room, struct store *store, size_t bytes)
{
    room->expect_bytes = bytes;
    if (room->expect == store)
        return;
    expect_nothing(room);
    room->expect = store_hold(store);
}

void request_room_free(struct request_room *room)
{
    if (!room->body)
        return;
    expect_nothing(room);
    if (!room->journal) /* else it is the ledger's */
        munmap(room->body - PAGE, PAGE + room->payload_max);
    room->body = NULL;
}

/* --- receiving --------------------------------------------------------------------------------- */

/* Lays out where the payload goes: spare quanta first, the body for the rest. */
static int lay_out(struct request_room *room, struct iovec *iov)
{
    const struct spares *spares = &room->spares;
    int n = 0;

    room->laid = 0;
    if (room->expect) {
        store_fill_spares(room->expect, &room->spares, room->expect_bytes);
        for (unsigned i = 0; i < spares->count; i++) {
            size_t bytes = arena_region_bytes(spares->arena);

            iov[n++] = (struct iovec){arena_address(spares->arena, spares->region[i]), bytes};
            room->laid += bytes;
        }
    }
    if (room->laid < room->payload_max)
        iov[n++] = (struct iovec){room->body + room->laid, room->payload_max - room->laid};
    return n;
}

static struct fuse_in_header *header(const struct request_room *room)
{
    return (struct fuse_in_header *)room->message;
}

const void *request_body(const struct request_room *room)
{
    return header(room) + 1;
}

ssize_t request_receive(struct request_room *room, int fd, enum request_kind kind)
{
    struct iovec iov[SPARES_MAX + 2] = {{room->message, REQUEST_HEAD}};
    int n = kind == REQUEST_FOREIGN ? 0 : 1 + lay_out(room, iov + 1);
    ssize_t length;

    if (room->laid)
        length = readv(fd, iov, n);
    else /* the body follows the headers */
        length = read(fd, room->message, REQUEST_HEAD + room->payload_max);
    if (length < 0)
        return -errno;
    KILL_POINT(KILL_TAKEN);
    return length;
}

void request_begin(struct request_room *room, size_t length)
{
    if (!room->journal)
        return;
    working.room = room;
    working.length = length;
    journal_begin(room->journal, header(room)->unique);
}

/* The room's: one that is kept elsewhere may be answered, and another worker must not begin again. */
static void forget_message(const struct request_room *room)
{
    ((volatile struct fuse_in_header *)header(room))->unique = 0;
}

struct journal *request_keep(int *error)
{
    struct journal *kept;
    int rc;

    *error = 0;
    if (!working.room)
        return NULL;
    rc = ledger_keep_call(working.room->ledger, working.room->message, working.length,
                          &kept);
    /* No ioctl of ours has an argument of such a length. */
    if (rc < 0)
        *error = rc == -EMSGSIZE ? ENOTTY : ENOMEM;
    else if (kept && working.room->journal)
        forget_message(working.room);
    return kept;
}

/* From here on the message is not under way any more: it is answered, or kept elsewhere. */
void request_end(struct request_room *room)
{
    if (!room->journal)
        return;
    working.room = NULL;
    journal_end();
    KILL_POINT(KILL_ANSWERED);
    forget_message(room);
    /* A call that a worker before has left is yet to be run, by that same journal. */
    if (!room->lent)
        journal_forget(room->journal);
}

/* Puts the part of the payload that lies in spares where the kernel would have put it. */
static void gather(struct request_room *room, size_t payload)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < room->spares.count && bytes < payload && bytes < room->laid; i++) {
        size_t piece = arena_region_bytes(room->spares.arena);

        if (piece > payload - bytes)
            piece = payload - bytes;
        memcpy(room->body + bytes,
               arena_address(room->spares.arena, room->spares.region[i]), piece);
        bytes += piece;
    }
    room->laid = 0;
}

/* --- replies ----------------------------------------------------------------------------------- */

/* Of a reply with so many bytes behind it. */
static struct fuse_out_header out_header(const struct request_room *room, size_t bytes, int error)
{
    return (struct fuse_out_header){
        .len = (uint32_t)(sizeof(struct fuse_out_header) + bytes),
        .error = error,
        .unique = header(room)->unique,
    };
}

static void reply_error(const struct request_room *room, int fd, int error)
{
    struct fuse_out_header out = out_header(room, 0, error);

    if (write(fd, &out, sizeof(out)) < 0)
        return; /* the channel is gone, and the client with it */
}

/* A reply that the kernel refuses leaves the client waiting, so an error takes its place; ENOENT says
 * that the client is gone already. */
static void settle(const struct request_room *room, int fd, ssize_t sent)
{
    if (sent < 0 && errno != ENOENT && errno != ENODEV)
        reply_error(room, fd, -EIO);
}

/* iov[0] is left for the header. */
static void reply(const struct request_room *room, int fd, struct iovec *iov, unsigned n,
                  size_t bytes)
{
    struct fuse_out_header out = out_header(room, bytes, 0);

    iov[0] = (struct iovec){&out, sizeof(out)};
    settle(room, fd, writev(fd, iov, (int)n));
}

static void reply_written(const struct request_room *room, int fd, size_t bytes)
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
static size_t read_size(const struct request_room *room)
{
    const struct fuse_read_in *in = request_body(room);

    return in->size > room->payload_max ? room->payload_max : in->size;
}

static ssize_t read_into_body(struct request_room *room, enum request_kind kind,
                              struct handle *handle, uint64_t offset, size_t size)
{
    return kind == REQUEST_NODE
               ? handle_read(handle, room->body, size, offset > 0)
               : store_read_into(handle_store(handle), offset, room->body, size, 0);
}

/* Bytes of the body, or -errno. */
static ssize_t reply_body(const struct request_room *room, int fd, ssize_t n)
{
    struct iovec iov[2] = {[1] = {room->body, (size_t)(n < 0 ? 0 : n)}};

    if (n < 0)
        reply_error(room, fd, (int)n);
    else
        reply(room, fd, iov, 2, (size_t)n);
    return n;
}

void request_answer_read_flipped(struct request_room *room, int fd, enum request_kind kind,
                                 uint32_t bits, uint64_t dice)
{
    const struct fuse_read_in *in = request_body(room);
    struct handle *handle = ledger_hold(room->ledger, in->fh);
    ssize_t n = handle ? read_into_body(room, kind, handle, in->offset, read_size(room)) : -EBADF;

    if (n > 0)
        flip_all(room->body, (size_t)n, bits, dice);
    room->answered = reply_body(room, fd, n);
    handle_free(handle);
}

static void reply_small(const struct request_room *room, int fd, const struct read_plan *plan)
{
    _Alignas(2 * SMALL) struct {
        struct fuse_out_header out;
        uint8_t data[SMALL];
    } reply; /* in one page */

    reply.out = out_header(room, plan->bytes, 0);
    store_copy_plan(plan, reply.data);
    settle(room, fd, write(fd, &reply, reply.out.len));
}

static void reply_plan(const struct request_room *room, int fd, const struct read_plan *plan)
{
    struct iovec iov[PLAN_SPANS + 1];

    memcpy(iov + 1, plan->iov, plan->spans * sizeof(*iov));
    reply(room, fd, iov, plan->spans + 1, plan->bytes);
}

/* Bytes, or -errno. */
static ssize_t answer_read(struct request_room *room, int fd, enum request_kind kind,
                           struct handle *handle)
{
    const struct fuse_read_in *in = request_body(room);
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
static ssize_t answer_write(struct request_room *room, int fd, enum request_kind kind,
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
        expect_write(room, store, (size_t)done);
    else
        expect_nothing(room);
    return done;
}

bool request_answer(struct request_room *room, int fd, enum request_kind kind, size_t length)
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
    gather(room, payload);
    return false;
}

uint64_t request_time(const struct request_room *room, enum request_kind kind)
{
    return kind == REQUEST_FOREIGN || room->counted % TIMED ? 0 : counters_now_ns();
}

void request_count(struct request_room *room, struct counters *counters, uint64_t begun_ns)
{
    uint32_t opcode = request_opcode(room);
    ssize_t done = room->answered;

    if (begun_ns)
        room->took_ns = counters_now_ns() - begun_ns;
    room->counted++;
    if (opcode == FUSE_READ || opcode == FUSE_WRITE)
        counters_note(counters, opcode == FUSE_READ ? CALL_READ : CALL_WRITE, 0,
                      done < 0 ? 0 : (uint64_t)done, done < 0 ? (int)-done : 0, room->took_ns);
}

void request_refuse(const struct request_room *room, int fd, size_t length, int error)
{
    if (length >= sizeof(struct fuse_in_header) && header(room)->unique &&
        door_is_answered(room->message))
        reply_error(room, fd, error);
}

void request_answer_poll(const struct request_room *room, int fd, uint32_t events)
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

/* --- what filters change ----------------------------------------------------------------------- */

size_t request_cut(struct request_room *room, uint32_t bytes, size_t length)
{
    struct fuse_in_header *in = header(room);

    if (in->opcode == FUSE_READ) {
        ((struct fuse_read_in *)(in + 1))->size = bytes;
        return length;
    }
    ((struct fuse_write_in *)(in + 1))->size = bytes;
    in->len = (uint32_t)(REQUEST_HEAD + bytes);
    return in->len;
}

/* Of the payload, where it was received. */
static uint8_t *payload_byte(const struct request_room *room, size_t at)
{
    const struct spares *spares = &room->spares;
    size_t piece;

    if (at >= room->laid)
        return room->body + at;
    piece = arena_region_bytes(spares->arena);
    return (uint8_t *)arena_address(spares->arena, spares->region[at / piece]) + at % piece;
}

void request_flip(struct request_room *room, uint32_t bits, uint64_t dice)
{
    const size_t bytes = ((const struct fuse_write_in *)request_body(room))->size;

    for (uint32_t i = 0; bytes && i < bits; i++) {
        struct flip flip = flip_next(&dice, bytes);

        *payload_byte(room, flip.byte) ^= flip.mask;
    }
}

bool request_is_greeting(const struct request_room *room)
{
    return header(room)->opcode == CUSE_INIT || header(room)->opcode == FUSE_INIT;
}

uint32_t request_opcode(const struct request_room *room)
{
    return header(room)->opcode;
}

uint64_t request_unique(const struct request_room *room)
{
    return header(room)->unique;
}

uint64_t request_node(const struct request_room *room)
{
    return header(room)->nodeid;
}

uint32_t request_pid(const struct request_room *room)
{
    return header(room)->pid;
}

bool request_closes(const struct request_room *room)
{
    return header(room)->opcode == FUSE_RELEASE;
}
