/* What ledger.c (open files) and under_way.c (messages) share: the layout of a channel's part of the
 * state. */
#ifndef LEDGER_PRIVATE_H
#define LEDGER_PRIVATE_H

#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/numbers.h"
#include "channel/ledger.h"
#include "channel/saved.h"
#include "recover/state.h"

#define FILES_MOST (UINT32_C(1) << 20)

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
_Static_assert(SAVED_AT + SAVED_BYTES <= STATE_PLACE - STATE_FILTERS, "a channel's part");

struct ledger {
    bool outlives;
    struct book *book;
    size_t mapped;          /* bytes from `book` on */
    struct handle **handle; /* by entry */
    pthread_mutex_t lock;
    struct numbers files, calls;
    struct saved *saved; /* NULL: of a store, which saves nothing */
};

static inline uint64_t unique_of(const void *message)
{
    return ((const volatile struct fuse_in_header *)message)->unique;
}

/* 0: it is not under way. All else of the message is there before. */
static inline void set_unique(void *message, uint64_t unique)
{
    _Atomic uint64_t *at = (void *)&((struct fuse_in_header *)message)->unique;

    atomic_store_explicit(at, unique, memory_order_release);
}

/* Where the message of a call lies. */
static inline uint8_t *message_of(const struct ledger *ledger, uint32_t call)
{
    return ledger->saved ? saved_message(ledger->saved, call) : ledger->book->call[call].message;
}

/* NULL: the number is of no open file. */
struct file *ledger_find(const struct ledger *ledger, uint64_t number, uint32_t *entry);
/* A POLL that the message is, and whose client waits. */
void ledger_note_poll(const struct ledger *ledger, const uint8_t *message, size_t length);

#endif
