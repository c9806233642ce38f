/* A ledger to try, what is under way in it, and what is left of it after a death. */
#ifndef LEDGERS_H
#define LEDGERS_H

#include "recover/death.h"

#include <fcntl.h>
#include <linux/fuse.h>

#include "channel/ledger.h"
#include "recover/state.h"
#include "store/handle.h"

#define PLACE 1u
#define FILES_MOST (UINT32_C(1) << 20)
#define GENERATION (UINT64_C(1) << 32)
#define LARGE_ROOMS 64u /* that there is memory for */
#define ROOM_BYTES (2 * 4096)
#define UNIQUE 14u

struct fixture {
    int fd, file; /* the state; what the store keeps */
    struct store *store;
    struct ledger *ledger;
};

static inline struct store *store_over(int file)
{
    struct budget *budget = budget_new(MIB);
    struct store *store = store_new_file(budget, 4096, 10, dup(file), 0, 0, false);

    assert_non_null(store);
    budget_free(budget);
    return store;
}

static inline struct fixture make(void)
{
    struct fixture f = {
        .fd = state_create(1, 2),
        .file = memfd_create("store", MFD_CLOEXEC | MFD_ALLOW_SEALING),
    };

    assert_true(f.fd >= 0);
    f.store = store_over(f.file);
    f.ledger = ledger_new(f.fd, PLACE, false);
    assert_non_null(f.ledger);
    return f;
}

static inline void unmake(struct fixture *f)
{
    ledger_free(f->ledger);
    store_free(f->store);
    close(f->fd);
    close(f->file);
}

/* As after a death: there is nothing but what is in the files. */
static inline void restart(struct fixture *f)
{
    ledger_free(f->ledger);
    store_free(f->store);
    f->store = store_over(f->file);
    f->ledger = ledger_new(f->fd, PLACE, false);
    ledger_begin(f->ledger);
    assert_non_null(f->ledger);
}

static const struct call opening = {
    .flags = O_RDWR | O_APPEND,
    .node = 7,
    .pid = 1234,
    .uid = 5678,
    .gid = 9012,
};

static inline uint64_t open_one(struct fixture *f)
{
    return ledger_open(f->ledger, handle_new(f->store, false), &opening);
}

static inline uint32_t entry_of(uint64_t number)
{
    return (uint32_t)number >> 1;
}

/* Its handle, made anew if there is none yet. */
static inline struct handle *attached(struct fixture *f, uint64_t number)
{
    if (!ledger_handle(f->ledger, number))
        ledger_attach(f->ledger, number, handle_new(f->store, false));
    return ledger_handle(f->ledger, number);
}

static inline unsigned count_open(struct ledger *ledger)
{
    struct open_file found;
    uint32_t entry = 0;
    unsigned n = 0;

    while (ledger_next_open(ledger, &entry, &found))
        n++;
    return n;
}

/* In a request of its own: the number of the move, as the journal has it. */
static inline uint64_t move_in_journal(struct fixture *f, uint64_t number, uint64_t unique)
{
    struct journal *journal = ledger_journal(f->ledger, 0);

    journal_begin(journal, unique);
    handle_seek(attached(f, number), (int64_t)unique, SEEK_SET);
    journal_end();
    assert_int_equal(journal->moves_cell, MOVED_POSITION);
    assert_int_equal(journal->file, number);
    return journal->moves;
}

/* --- messages under way ----------------------------------------------------------------------- */

static inline struct fuse_in_header header_of(uint32_t opcode, uint64_t unique)
{
    return (struct fuse_in_header){
        .len = sizeof(struct fuse_in_header),
        .opcode = opcode,
        .unique = unique,
    };
}

static inline struct fuse_in_header *message_in(struct fixture *f, unsigned room)
{
    uint8_t *bytes = ledger_room(f->ledger, room, ROOM_BYTES);

    assert_non_null(bytes);
    return (void *)(bytes + LEDGER_MESSAGE);
}

static inline void receive(struct fixture *f, unsigned room, uint32_t opcode, uint64_t unique)
{
    *message_in(f, room) = header_of(opcode, unique);
}

static inline struct journal *keep(struct fixture *f, uint32_t opcode, uint64_t unique)
{
    struct fuse_in_header message = header_of(opcode, unique);
    struct journal *kept;

    assert_int_equal(ledger_keep_call(f->ledger, &message, sizeof(message), &kept), 0);
    assert_non_null(kept);
    return kept;
}

struct seen {
    unsigned n;
    uint64_t unique[8];
    struct journal *journal[8];
    uint8_t message[LEDGER_CALL]; /* of the last */
};

static inline void see(void *arg, const void *message, struct journal *journal)
{
    struct seen *seen = arg;
    const struct fuse_in_header *in = message;

    assert_in_range(seen->n, 0, 7);
    assert_in_range(in->len, sizeof(*in), sizeof(seen->message));
    seen->unique[seen->n] = in->unique;
    seen->journal[seen->n++] = journal;
    memcpy(seen->message, message, in->len);
}

static inline struct seen look(struct ledger *ledger)
{
    struct seen seen = {0};

    ledger_each(ledger, see, &seen);
    return seen;
}

/* --- deaths ----------------------------------------------------------------------------------- */

/* A worker that dies; what it shares is in memory of its own. */
struct mortal {
    struct fixture f;
    struct journal journal;
    uint64_t number;
    bool ends; /* the message is being dropped */
    bool done;
};

static inline struct mortal *make_mortal(void)
{
    struct mortal *mortal = shared(sizeof(*mortal));

    mortal->f = make();
    return mortal;
}

static inline void unmake_mortal(struct mortal *mortal)
{
    unmake(&mortal->f);
    munmap(mortal, sizeof(*mortal));
}

#define DEATHS (SANITIZED ? 40u : 300u)

static inline void look_at_nothing(void *arg)
{
    (void)arg;
}

#endif
