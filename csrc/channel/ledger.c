/* ledger: what of a channel outlives its worker: open files, messages under way.
 *
 * It lies in the channel's part of the state, or, where nothing outlives the process, in memory of its
 * own, without rooms and calls. Numbers of open files have a generation: one that was closed, or
 * never given, is nobody's.
 *
 * A message is under way as long as its `unique` (struct fuse_in_header) is not 0. The kernel finishes
 * a read(2) that has begun to take a message, even of a process that is being killed: so after a
 * death every message is in a slot, whole, or was never taken. But it takes no fault then: all pages of
 * a room have to be there before (MADV_POPULATE_WRITE).
 *
 * Lock: `lock` guards what is free, and is a leaf. */
#include "channel/ledger.h"

#include <errno.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/killpoint.h"
#include "base/lock.h"
#include "base/numbers.h"
#include "channel/saved.h"
#include "recover/state.h"
#include "store/handle.h"

#define FILES_MOST (UINT32_C(1) << 20)
#define HANDLES_BYTES (FILES_MOST * sizeof(void *))
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct file {
    _Atomic uint32_t generation; /* odd: it is open */
    int32_t flags;               /* as of open(2) */
    uint64_t node;               /* of a file view */
    struct cell position;
    int32_t pid; /* who opened it */
    uint32_t uid, gid;
    uint32_t unused;
    uint64_t poll; /* what the kernel knows its poll by; 0: none */
    uint64_t unused_too;
};
_Static_assert(sizeof(struct file) == 64, "a cache line");

struct slot {
    struct journal journal;
    _Alignas(8) uint8_t message[LEDGER_CALL]; /* of a call only */
};

/* In the state, or private as far as `file`. */
struct book {
    uint32_t greeting_length;
    _Atomic uint32_t greeted;
    uint8_t greeting[LEDGER_GREETING];
    _Atomic uint32_t files, calls, rooms; /* that have been used */
    uint32_t saves;                       /* 1: it is of a device in Python */
    uint64_t room_bytes;                  /* from one room to the next */
    _Alignas(4096) struct slot reader[LEDGER_ROOMS]; /* whose messages are in rooms */
    struct slot call[LEDGER_CALLS];
    struct file file[FILES_MOST];
};
#define ROOMS_AT (((sizeof(struct book) + 4095) / 4096) * 4096)
#define ROOMS_BYTES (64 * LEDGER_ROOM)
#define SAVED_AT (ROOMS_AT + ROOMS_BYTES)
_Static_assert(SAVED_AT + SAVED_BYTES <= STATE_PLACE, "a channel's part");

struct ledger {
    bool outlives;
    struct book *book;
    size_t mapped;          /* bytes from `book` on */
    struct handle **handle; /* by entry */
    pthread_mutex_t lock;
    struct numbers files, calls;
    struct saved *saved; /* NULL: of a store, which saves nothing */
};

static uint64_t unique_of(const void *message)
{
    return ((const volatile struct fuse_in_header *)message)->unique;
}

/* 0: it is not under way. All else of the message is there before. */
static void set_unique(void *message, uint64_t unique)
{
    _Atomic uint64_t *at = (void *)&((struct fuse_in_header *)message)->unique;

    atomic_store_explicit(at, unique, memory_order_release);
}

/* Where the message of a call lies. */
static uint8_t *message_of(const struct ledger *ledger, uint32_t call)
{
    return ledger->saved ? saved_message(ledger->saved, call) : ledger->book->call[call].message;
}

/* --- life ------------------------------------------------------------------------------------------ */

static void *map_private(size_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return map == MAP_FAILED ? NULL : map;
}

static struct book *map_book(int fd, uint32_t place, size_t bytes)
{
    void *map;

    if (fd < 0)
        return map_private(bytes);
    map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
               (off_t)state_place(place));
    return map == MAP_FAILED ? NULL : map;
}

static void find_free(struct ledger *ledger)
{
    struct book *book = ledger->book;

    for (uint32_t i = book->files; i-- > 0;)
        if (!(book->file[i].generation & 1))
            numbers_give_back(&ledger->files, i);
    for (uint32_t i = book->calls; i-- > 0;)
        if (!unique_of(message_of(ledger, i)))
            numbers_give_back(&ledger->calls, i);
}

/* With a shelf for what a device in Python saves. */
static bool open_saved(struct ledger *ledger, int fd, uint32_t place)
{
    ledger->saved = saved_open(fd, state_place(place) + SAVED_AT);
    ledger->book->saves = 1;
    ledger->files.most = SAVED_FILES;
    ledger->calls.most = SAVED_CALLS;
    return ledger->saved;
}

struct ledger *ledger_new(int fd, uint32_t place, bool saves)
{
    struct ledger *ledger = calloc(1, sizeof(*ledger));

    if (!ledger)
        return NULL;
    ledger->outlives = fd >= 0;
    ledger->mapped = fd >= 0 ? ROOMS_AT + ROOMS_BYTES : ROOMS_AT;
    ledger->book = map_book(fd, place, ledger->mapped);
    ledger->handle = map_private(HANDLES_BYTES);
    pthread_mutex_init(&ledger->lock, NULL);
    if (!ledger->book || !ledger->handle) {
        ledger_free(ledger);
        return NULL;
    }
    ledger->files = (struct numbers){.used = &ledger->book->files, .most = FILES_MOST};
    ledger->calls = (struct numbers){.used = &ledger->book->calls, .most = LEDGER_CALLS};
    if (fd >= 0 && (saves || ledger->book->saves) && !open_saved(ledger, fd, place)) {
        ledger_free(ledger);
        return NULL;
    }
    find_free(ledger);
    return ledger;
}

void ledger_free(struct ledger *ledger)
{
    if (!ledger)
        return;
    if (ledger->book && ledger->handle)
        for (uint32_t i = 0; i < ledger->book->files; i++)
            handle_free(ledger->handle[i]);
    if (ledger->book)
        munmap(ledger->book, ledger->mapped);
    if (ledger->handle)
        munmap(ledger->handle, HANDLES_BYTES);
    saved_close(ledger->saved);
    pthread_mutex_destroy(&ledger->lock);
    numbers_end(&ledger->files);
    numbers_end(&ledger->calls);
    free(ledger);
}

bool ledger_outlives(const struct ledger *ledger)
{
    return ledger->outlives;
}

bool ledger_saves(const struct ledger *ledger)
{
    return ledger->saved;
}

/* --- the beginning of the channel ------------------------------------------------------------------ */

void ledger_keep_greeting(struct ledger *ledger, const void *message, size_t length)
{
    struct book *book = ledger->book;

    if (!ledger->outlives || length > sizeof(book->greeting) || book->greeted)
        return;
    memcpy(book->greeting, message, length);
    book->greeting_length = (uint32_t)length;
}

void ledger_set_greeted(struct ledger *ledger)
{
    atomic_store_explicit(&ledger->book->greeted, 1, memory_order_release);
}

size_t ledger_greeting(const struct ledger *ledger, void *message)
{
    const struct book *book = ledger->book;

    if (!ledger->outlives || !atomic_load_explicit(&book->greeted, memory_order_acquire))
        return 0;
    memcpy(message, book->greeting, book->greeting_length);
    return book->greeting_length;
}

/* --- open files -------------------------------------------------------------------------------------- */

static uint64_t number_of(uint32_t generation, uint32_t entry)
{
    return (uint64_t)generation << 32 | (uint64_t)entry << 1;
}

static uint32_t entry_of(uint64_t number)
{
    return (uint32_t)number >> 1;
}

/* NULL: the number is of no open file. */
static struct file *find(const struct ledger *ledger, uint64_t number, uint32_t *entry)
{
    uint32_t generation = (uint32_t)(number >> 32);
    struct file *file;

    *entry = entry_of(number);
    if (number & 1 || !(generation & 1) || *entry >= FILES_MOST)
        return NULL;
    file = &ledger->book->file[*entry];
    return atomic_load_explicit(&file->generation, memory_order_acquire) == generation ? file : NULL;
}

struct handle *ledger_handle(const struct ledger *ledger, uint64_t number)
{
    uint32_t entry;

    return find(ledger, number, &entry) ? ledger->handle[entry] : NULL;
}

struct handle *ledger_hold(struct ledger *ledger, uint64_t number)
{
    LOCKED(&ledger->lock);
    uint32_t entry;

    return find(ledger, number, &entry) ? handle_hold(ledger->handle[entry]) : NULL;
}

bool ledger_is_of(const struct ledger *ledger, uint64_t number, uint64_t node)
{
    uint32_t entry;
    const struct file *file = find(ledger, number, &entry);

    return file && file->node == node;
}

static bool take_entry(struct ledger *ledger, uint32_t *entry)
{
    LOCKED(&ledger->lock);

    return numbers_take(&ledger->files, entry);
}

uint64_t ledger_open(struct ledger *ledger, struct handle *handle, const struct call *call)
{
    struct journal *journal = journal_current();
    struct file *file;
    uint32_t entry, generation;
    uint64_t number;

    if (!take_entry(ledger, &entry))
        return 0;
    file = &ledger->book->file[entry];
    generation = file->generation + 1;
    number = number_of(generation, entry);
    file->flags = call->flags;
    file->node = call->node;
    file->pid = call->pid;
    file->uid = call->uid;
    file->gid = call->gid;
    file->position = (struct cell){0, 0};
    file->poll = 0;
    ledger->handle[entry] = handle;
    if (handle)
        handle_keep_position(handle, &file->position, number);
    if (journal) {
        journal->file = number;
        atomic_store_explicit(&journal->opened, 1, memory_order_release);
    }
    atomic_store_explicit(&file->generation, generation, memory_order_release);
    KILL_POINT(KILL_OPENED);
    return number;
}

/* Takes the number back, once: false, another has, or it was never given. */
static bool take_number(struct ledger *ledger, uint64_t number, uint32_t *entry,
                        struct handle **handle)
{
    LOCKED(&ledger->lock);
    struct file *file = find(ledger, number, entry);

    if (!file)
        return false;
    atomic_store_explicit(&file->generation, (uint32_t)(number >> 32) + 1, memory_order_release);
    KILL_POINT(KILL_CLOSED);
    *handle = ledger->handle[*entry];
    ledger->handle[*entry] = NULL;
    return true;
}

/* The handle, which is the caller's, in `handle`; NULL: it has none. */
static bool shut(struct ledger *ledger, uint64_t number, struct handle **handle)
{
    uint32_t entry;

    if (!take_number(ledger, number, &entry, handle))
        return false;
    /* A request that still works with it must not move the position of who has the entry next. */
    if (*handle)
        handle_leave_position(*handle);
    LOCKED(&ledger->lock);
    numbers_give_back(&ledger->files, entry);
    return true;
}

void ledger_disown(struct ledger *ledger, uint64_t number)
{
    struct handle *handle;

    shut(ledger, number, &handle);
}

bool ledger_close(struct ledger *ledger, uint64_t number)
{
    struct handle *handle;

    if (!shut(ledger, number, &handle))
        return false;
    handle_free(handle);
    return true;
}

bool ledger_next_open(struct ledger *ledger, uint32_t *entry, struct open_file *found)
{
    for (; *entry < ledger->book->files; ++*entry) {
        const struct file *file = &ledger->book->file[*entry];
        uint32_t generation = file->generation;

        if (!(generation & 1))
            continue;
        *found = (struct open_file){
            .number = number_of(generation, (*entry)++),
            .node = file->node,
            .flags = file->flags,
            .pid = file->pid,
            .uid = file->uid,
            .gid = file->gid,
        };
        return true;
    }
    return false;
}

void ledger_attach(struct ledger *ledger, uint64_t number, struct handle *handle)
{
    uint32_t entry;
    struct file *file = find(ledger, number, &entry);

    if (!file)
        return;
    ledger->handle[entry] = handle;
    handle_keep_position(handle, &file->position, number);
}

/* --- what a device in Python saves -------------------------------------------------------------------- */

int ledger_save(struct ledger *ledger, uint64_t number, const void *data, size_t size)
{
    return saved_put(ledger->saved, number, entry_of(number), data, size);
}

void ledger_forget(struct ledger *ledger, uint64_t number)
{
    saved_forget(ledger->saved, number, entry_of(number));
}

void ledger_commit(struct ledger *ledger)
{
    saved_commit(ledger->saved);
}

const void *ledger_saved(struct ledger *ledger, uint64_t number, size_t *size)
{
    return saved_get(ledger->saved, number, entry_of(number), size);
}

uint64_t ledger_next_poll(struct ledger *ledger, uint32_t *entry)
{
    while (*entry < ledger->book->files) {
        const struct file *file = &ledger->book->file[(*entry)++];

        if (file->generation & 1 && file->poll)
            return file->poll;
    }
    return 0;
}

/* A POLL that the message is, and whose client waits. */
static void note_poll(const struct ledger *ledger, const uint8_t *message, size_t length)
{
    const struct fuse_in_header *in = (const void *)message;
    struct fuse_poll_in poll;
    struct file *file;
    uint32_t entry;

    if (!ledger->saved || in->opcode != FUSE_POLL || length < sizeof(*in) + sizeof(poll))
        return;
    memcpy(&poll, message + sizeof(*in), sizeof(poll));
    file = find(ledger, poll.fh, &entry);
    if (file && poll.flags & FUSE_POLL_SCHEDULE_NOTIFY)
        file->poll = poll.kh;
}

/* --- messages under way ------------------------------------------------------------------------------ */

static uint8_t *room_at(const struct ledger *ledger, unsigned number)
{
    return (uint8_t *)ledger->book + ROOMS_AT + number * ledger->book->room_bytes;
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

void *ledger_room(struct ledger *ledger, unsigned number, size_t bytes)
{
    uint8_t *room;

    ledger->book->room_bytes = (bytes + 4095) / 4096 * 4096;
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

/* The slot that the message of this thread lies in already, as it is replayed. */
static bool is_call(const struct ledger *ledger, const struct journal *journal)
{
    const void *first = ledger->book->call, *end = ledger->book->call + LEDGER_CALLS;

    return (const void *)journal >= first && (const void *)journal < end;
}

static struct slot *take_slot(struct ledger *ledger)
{
    LOCKED(&ledger->lock);
    uint32_t number;

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
    slot = take_slot(ledger);
    if (!slot)
        return -ENOBUFS;
    if (journal)
        slot->journal = *journal;
    to = message_of(ledger, number_of_call(ledger, &slot->journal));
    note_poll(ledger, message, length);
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
    file = find(ledger, journal->file, &entry);
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
    each_request(ledger, found, arg);
    each_interrupt(ledger, found, arg);
    each_interrupted(ledger, found, arg);
}
