/* room: where one worker has the message that it works on.
 *
 * A message is 80 bytes of headers and a payload; readv parts them, so the payload lies page aligned in
 * the room's body, or, when the next write is expected to fill whole quanta of a store, in quanta laid
 * out for it: those are adopted and nobody copies (the kernel's own copy from the client's pages was
 * the only one).
 *
 * Expectation: a write of whole, aligned quanta is likely followed by another of the same length
 * to the same store. Whatever else comes is gathered into the body first, as if nothing had been
 * expected; the first write that does not adopt ends the expectation. */
#include "channel/room.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/killpoint.h"
#include "filter/flip.h"

#define PAGE ((size_t)4096)

/* The message that this thread works on, if it outlives the process. */
static _Thread_local struct {
    const struct room *room;
    size_t length;
} working;

_Static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) == REQUEST_HEAD,
               "the headers of a WRITE");
_Static_assert(PAGE - REQUEST_HEAD == LEDGER_MESSAGE, "a payload in a room is page aligned");

int room_init(struct room *room, size_t payload_max, struct ledger *ledger,
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
    *room = (struct room){
        .body = map + PAGE,
        .message = map + PAGE - REQUEST_HEAD,
        .payload_max = payload_max,
        .ledger = ledger,
        .journal = journal,
    };
    return 0;
}

size_t room_lend(struct room *room, const void *message, struct journal *journal)
{
    size_t length = ((const struct fuse_in_header *)message)->len;

    room->journal = journal;
    room->lent = true;
    memcpy(room->message, message, length);
    return length;
}

void room_expect_nothing(struct room *room)
{
    if (!room->expect)
        return;
    store_drop_spares(&room->spares);
    store_drop(room->expect);
    room->expect = NULL;
}

void room_expect(struct room *room, struct store *store, size_t bytes)
{
    room->expect_bytes = bytes;
    if (room->expect == store)
        return;
    room_expect_nothing(room);
    room->expect = store_hold(store);
}

void room_free(struct room *room)
{
    if (!room->body)
        return;
    room_expect_nothing(room);
    if (!room->journal) /* else it is the ledger's */
        munmap(room->body - PAGE, PAGE + room->payload_max);
    room->body = NULL;
}

/* --- receiving --------------------------------------------------------------------------------- */

/* Lays out where the payload goes: spare quanta first, the body for the rest. */
static int lay_out(struct room *room, struct iovec *iov)
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

static struct fuse_in_header *header(const struct room *room)
{
    return (struct fuse_in_header *)room->message;
}

const void *room_body(const struct room *room)
{
    return header(room) + 1;
}

ssize_t room_receive(struct room *room, int fd, enum request_kind kind)
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

void room_begin(struct room *room, size_t length)
{
    if (!room->journal)
        return;
    working.room = room;
    working.length = length;
    journal_begin(room->journal, header(room)->unique);
}

/* The room's: one that is kept elsewhere may be answered, and another worker must not begin again. */
static void forget_message(const struct room *room)
{
    ((volatile struct fuse_in_header *)header(room))->unique = 0;
}

struct journal *room_keep(int *error)
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
void room_end(struct room *room)
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

void room_gather(struct room *room, size_t payload)
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

/* --- what filters change ----------------------------------------------------------------------- */

size_t room_cut(struct room *room, uint32_t bytes, size_t length)
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
static uint8_t *payload_byte(const struct room *room, size_t at)
{
    const struct spares *spares = &room->spares;
    size_t piece;

    if (at >= room->laid)
        return room->body + at;
    piece = arena_region_bytes(spares->arena);
    return (uint8_t *)arena_address(spares->arena, spares->region[at / piece]) + at % piece;
}

void room_flip(struct room *room, uint32_t bits, uint64_t dice)
{
    const size_t bytes = ((const struct fuse_write_in *)room_body(room))->size;

    for (uint32_t i = 0; bytes && i < bits; i++) {
        struct flip flip = flip_next(&dice, bytes);

        *payload_byte(room, flip.byte) ^= flip.mask;
    }
}

bool room_is_greeting(const struct room *room)
{
    return header(room)->opcode == CUSE_INIT || header(room)->opcode == FUSE_INIT;
}

uint32_t room_opcode(const struct room *room)
{
    return header(room)->opcode;
}

uint64_t room_unique(const struct room *room)
{
    return header(room)->unique;
}

uint64_t room_node(const struct room *room)
{
    return header(room)->nodeid;
}

uint32_t room_pid(const struct room *room)
{
    return header(room)->pid;
}

bool room_closes(const struct room *room)
{
    return header(room)->opcode == FUSE_RELEASE;
}
