/* under_way: messages that a channel has taken and not answered, for the worker that may have to.
 *
 * A message is under way as long as its `unique` (struct fuse_in_header) is not 0. It lies in the room
 * that it was received in, or, where another thread runs it, in a slot. The kernel finishes a read(2)
 * that has begun to take a message, even of a process that is being killed: so after a death every
 * message is in a room or a slot, whole, or was never taken. But it takes no fault then: all pages of a
 * room have to be there before (MADV_POPULATE_WRITE). */
#include "channel/ledger_private.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/killpoint.h"
#include "base/lock.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* --- rooms ------------------------------------------------------------------------------------------- */

static uint8_t *room_at(const struct ledger *ledger, unsigned number)
{
    return (uint8_t *)ledger->book + ROOMS_AT + number * ledger->book->room_bytes;
}

static size_t whole_pages(size_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

/* Touched by hand where the kernel cannot (before Linux 5.14). */
static void populate(uint8_t *room, size_t bytes)
{
    if (madvise(room, bytes, MADV_POPULATE_WRITE) == 0)
        return;
    for (size_t at = 0; at < bytes; at += 4096) {
        volatile uint8_t *byte = room + at;

        *byte = *byte;
    }
}

void ledger_warm_rooms(struct ledger *ledger, unsigned rooms, size_t bytes)
{
    size_t all = rooms * whole_pages(bytes);

    if (ledger->outlives && all <= ROOMS_BYTES)
        (void)madvise((uint8_t *)ledger->book + ROOMS_AT, all, MADV_POPULATE_WRITE);
}

void *ledger_room(struct ledger *ledger, unsigned number, size_t bytes)
{
    uint8_t *room;

    ledger->book->room_bytes = whole_pages(bytes);
    if (!ledger->outlives || number >= LEDGER_ROOMS ||
        (number + 1) * ledger->book->room_bytes > ROOMS_BYTES)
        return NULL;
    room = room_at(ledger, number);
    if (ledger->book->rooms <= number) /* they are made one after the other */
        ledger->book->rooms = number + 1;
    populate(room, bytes);
    mlock(room, bytes); /* if we may: else a room that is swapped out is a fault after all */
    return room;
}

struct journal *ledger_journal(struct ledger *ledger, unsigned number)
{
    return ledger->outlives && number < LEDGER_ROOMS ? &ledger->book->reader[number].journal : NULL;
}

/* --- calls ------------------------------------------------------------------------------------------- */

/* The slot that the message of this thread lies in already, as it is replayed. */
static bool is_call(const struct ledger *ledger, const struct journal *journal)
{
    const void *first = ledger->book->call, *end = ledger->book->call + LEDGER_CALLS;

    return (const void *)journal >= first && (const void *)journal < end;
}

/* Some are for messages that end an open file, which the kernel does not send again. */
static struct slot *take_slot(struct ledger *ledger, uint32_t opcode)
{
    LOCKED(&ledger->lock);
    uint32_t number;

    if (opcode != FUSE_RELEASE && numbers_left(&ledger->calls) <= LEDGER_RESERVED)
        return NULL;
    return numbers_take(&ledger->calls, &number) ? &ledger->book->call[number] : NULL;
}

static uint32_t number_of_call(const struct ledger *ledger, const struct journal *journal)
{
    return (uint32_t)((const struct slot *)journal - ledger->book->call);
}

static uint64_t unique_of_call(const struct ledger *ledger, const struct journal *journal)
{
    return unique_of(message_of(ledger, number_of_call(ledger, journal)));
}

int ledger_keep_call(struct ledger *ledger, const void *message, size_t length,
                     struct journal **kept)
{
    struct journal *journal = journal_current();
    const size_t past = offsetof(struct fuse_in_header, unique) + sizeof(uint64_t);
    struct slot *slot;
    uint8_t *to;

    *kept = NULL;
    if (!ledger->outlives)
        return 0;
    if (journal && is_call(ledger, journal)) {
        *kept = journal;
        return 0;
    }
    if (length > (ledger->saved ? SAVED_MESSAGE : sizeof(slot->message)))
        return -EMSGSIZE;
    slot = take_slot(ledger, ((const struct fuse_in_header *)message)->opcode);
    if (!slot)
        return -ENOBUFS;
    if (journal)
        slot->journal = *journal;
    to = message_of(ledger, number_of_call(ledger, &slot->journal));
    ledger_note_poll(ledger, message, length);
    memcpy(to, message, offsetof(struct fuse_in_header, unique));
    memcpy(to + past, (const uint8_t *)message + past, length - past);
    set_unique(to, unique_of(message));
    *kept = &slot->journal;
    KILL_POINT(KILL_KEPT);
    return 0;
}

bool ledger_begin_call(struct ledger *ledger, struct journal *journal)
{
    const uint64_t unique = unique_of_call(ledger, journal);

    journal_begin(journal, unique);
    return ledger->saved && saved_begin(ledger->saved, number_of_call(ledger, journal), unique);
}

void ledger_answer_call(struct ledger *ledger, struct journal *journal, const struct iovec *iov,
                        int count)
{
    saved_answer(ledger->saved, number_of_call(ledger, journal),
                 unique_of_call(ledger, journal), iov, count);
}

size_t ledger_answered_call(const struct ledger *ledger, const struct journal *journal,
                            const void **answer)
{
    if (!ledger->saved)
        return 0;
    return saved_answered(ledger->saved, number_of_call(ledger, journal),
                          unique_of_call(ledger, journal), answer);
}

void ledger_interrupt_call(struct ledger *ledger, uint64_t unique)
{
    for (uint32_t i = 0; ledger->saved && i < ledger->book->calls; i++)
        if (unique_of(message_of(ledger, i)) == unique)
            saved_interrupt(ledger->saved, i, unique);
}

void ledger_drop_call(struct ledger *ledger, struct journal *journal)
{
    uint32_t call = number_of_call(ledger, journal);

    set_unique(message_of(ledger, call), 0);
    journal_forget(journal);
    LOCKED(&ledger->lock);
    numbers_give_back(&ledger->calls, call);
}

/* --- after a death ----------------------------------------------------------------------------------- */

/* A message that may be under way, and its journal. */
struct place {
    void *message;
    struct journal *journal;
    bool in_room;
};

/* The first `calls` calls, then the rooms that have been used, by number; false: there are no more. */
static bool place_at(const struct ledger *ledger, unsigned calls, unsigned number,
                     struct place *place)
{
    struct book *book = ledger->book;

    if (number < calls)
        *place = (struct place){message_of(ledger, number), &book->call[number].journal, false};
    else if (number < calls + book->rooms)
        *place = (struct place){room_at(ledger, number - calls) + LEDGER_MESSAGE,
                                &book->reader[number - calls].journal, true};
    else
        return false;
    return true;
}

static void settle(struct ledger *ledger, struct journal *journal, struct state *state)
{
    uint32_t entry;
    struct file *file;

    if (journal->moves_cell == MOVED_PENDING && state)
        journal_settle(journal, &state->pending);
    if (journal->moves_cell != MOVED_POSITION)
        return;
    file = ledger_find(ledger, journal->file, &entry);
    if (file)
        journal_settle(journal, &file->position);
}

void ledger_settle(struct ledger *ledger, struct state *state)
{
    const unsigned calls = ledger->book->calls;
    struct place place;

    if (ledger->saved)
        saved_settle(ledger->saved, ledger->book->files, calls);
    for (unsigned i = 0; place_at(ledger, calls, i, &place); i++) {
        uint64_t unique = unique_of(place.message);

        if (unique && place.journal->unique == unique)
            settle(ledger, place.journal, state);
    }
}

static bool is_kept_as_call(const struct ledger *ledger, uint64_t unique)
{
    for (unsigned i = 0; i < ledger->book->calls; i++)
        if (unique_of(message_of(ledger, i)) == unique)
            return true;
    return false;
}

static bool is_interrupt(const void *message)
{
    return ((const struct fuse_in_header *)message)->opcode == FUSE_INTERRUPT;
}

typedef void each_message(void *arg, const void *message, struct journal *journal);

/* INIT goes before all that came after its answer, which the worker may have died upon: a session knows
 * no other message before that. */
static void each_greeting(struct ledger *ledger, each_message *found, void *arg)
{
    struct place place;

    for (unsigned i = 0; place_at(ledger, 0, i, &place); i++) {
        const uint32_t opcode = ((const struct fuse_in_header *)place.message)->opcode;

        if (!unique_of(place.message) || (opcode != FUSE_INIT && opcode != CUSE_INIT))
            continue;
        found(arg, place.message, place.journal);
        set_unique(place.message, 0);
    }
}

/* All but INTERRUPTs. Those that the calls before did not have yet are kept as calls on the way. */
static void each_request(struct ledger *ledger, each_message *found, void *arg)
{
    const unsigned calls = ledger->book->calls;
    struct place place;

    for (unsigned i = 0; place_at(ledger, calls, i, &place); i++) {
        if (!unique_of(place.message) || is_interrupt(place.message))
            continue;
        if (!place.in_room || !is_kept_as_call(ledger, unique_of(place.message)))
            found(arg, place.message, place.journal);
        if (place.in_room)
            set_unique(place.message, 0);
    }
}

/* Where the ledger saves, of a call that the worker before had: it may have been told already. */
static void each_interrupt(struct ledger *ledger, each_message *found, void *arg)
{
    struct place place;

    for (unsigned i = 0; place_at(ledger, 0, i, &place); i++) {
        const struct fuse_interrupt_in *in =
            (const void *)((struct fuse_in_header *)place.message + 1);

        if (!unique_of(place.message))
            continue;
        if (ledger->saved)
            ledger_interrupt_call(ledger, in->unique);
        else
            found(arg, place.message, place.journal);
        set_unique(place.message, 0);
    }
}

/* The kernel sends each INTERRUPT once. */
static void each_interrupted(struct ledger *ledger, each_message *found, void *arg)
{
    for (unsigned i = 0; ledger->saved && i < ledger->book->calls; i++) {
        const uint64_t unique = unique_of(message_of(ledger, i));
        struct {
            struct fuse_in_header in;
            struct fuse_interrupt_in interrupt;
        } message = {
            .in = {.len = sizeof(message), .opcode = FUSE_INTERRUPT, .unique = unique | 1},
            .interrupt = {.unique = unique},
        };

        if (unique && saved_is_interrupted(ledger->saved, i, unique))
            found(arg, &message, NULL);
    }
}

void ledger_each(struct ledger *ledger, each_message *found, void *arg)
{
    each_greeting(ledger, found, arg);
    each_request(ledger, found, arg);
    each_interrupt(ledger, found, arg);
    each_interrupted(ledger, found, arg);
}
