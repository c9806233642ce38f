/* ledger: what of a channel outlives its worker: its beginning, and open files.
 *
 * It lies in the channel's part of the state, or, where nothing outlives the process, in memory of its
 * own, without rooms and calls. Numbers of open files have a generation: one that was closed, or
 * never given, is nobody's.
 * Messages are of under_way.c.
 *
 * Lock: `lock` guards what is free, and is a leaf. */
#include "channel/ledger_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/killpoint.h"
#include "base/lock.h"
#include "store/handle.h"

#define HANDLES_BYTES (FILES_MOST * sizeof(void *))

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

    ledger->files.count = ledger->calls.count = 0; /* what was given back before is found again */
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
    return ledger;
}

void ledger_begin(struct ledger *ledger)
{
    LOCKED(&ledger->lock);
    find_free(ledger);
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

struct file *ledger_find(const struct ledger *ledger, uint64_t number, uint32_t *entry)
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

    return ledger_find(ledger, number, &entry) ? ledger->handle[entry] : NULL;
}

struct handle *ledger_hold(struct ledger *ledger, uint64_t number)
{
    LOCKED(&ledger->lock);
    uint32_t entry;

    return ledger_find(ledger, number, &entry) ? handle_hold(ledger->handle[entry]) : NULL;
}

bool ledger_is_of(const struct ledger *ledger, uint64_t number, uint64_t node)
{
    uint32_t entry;
    const struct file *file = ledger_find(ledger, number, &entry);

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
    struct file *file = ledger_find(ledger, number, entry);

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
    struct file *file = ledger_find(ledger, number, &entry);

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

void ledger_note_poll(const struct ledger *ledger, const uint8_t *message, size_t length)
{
    const struct fuse_in_header *in = (const void *)message;
    struct fuse_poll_in poll;
    struct file *file;
    uint32_t entry;

    if (!ledger->saved || in->opcode != FUSE_POLL || length < sizeof(*in) + sizeof(poll))
        return;
    memcpy(&poll, message + sizeof(*in), sizeof(poll));
    file = ledger_find(ledger, poll.fh, &entry);
    if (file && poll.flags & FUSE_POLL_SCHEDULE_NOTIFY)
        file->poll = poll.kh;
}
