/* store: the bytes of a device, quanta by number. Inside C; Python's part is in scullv.h.
 *
 * "Where" (plans: which region holds which bytes) is apart from "copy". No lock is held when a
 * function here returns: what a plan names is pinned instead. */
#ifndef STORE_H
#define STORE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "memory/recycle.h"

/* The book's rules (--ldd3): a transfer ends at its quantum's end, a hole ends a read. */
#define STORE_LDD3 1u

struct store *store_hold(struct store *store);
void store_drop(struct store *store);

/* A read in place: `iov` shows quanta that nobody changes meanwhile and, for holes, a shared page of
 * zeros. */
#define PLAN_SPANS 64
struct read_plan {
    void (*end)(struct read_plan *plan); /* NULL: nothing is held */
    union {
        struct arena *arena; /* held; its regions are pinned */
        struct {
            struct store *store;
            uint64_t first, last; /* quanta that are locked for reading */
        };
    };
    unsigned pins, spans;
    size_t bytes;
    region_t pinned[PLAN_SPANS];
    struct iovec iov[PLAN_SPANS];
};
/* Plans at most `len` bytes at `pos`. 0 with plan->bytes (0: end of data), or -E2BIG where
 * PLAN_SPANS do not reach `len`, or a copy is the better way (by store_read_into instead). */
int store_plan_read(struct store *store, uint64_t pos, size_t len, unsigned flags,
                    struct read_plan *plan);
void store_copy_plan(const struct read_plan *plan, void *data); /* plan->bytes of it */
void store_end_read(struct read_plan *plan);
/* Copies. Bytes, 0: end of data, or -errno. */
ssize_t store_read_into(struct store *store, uint64_t pos, void *data, size_t len, unsigned flags);

/* Regions laid out to receive a write before its position is known (scatter receive). Each holds
 * one whole quantum. Owned by one worker; not charged to the budget. */
#define SPARES_MAX 64
struct spares {
    struct arena *arena; /* held; NULL: none */
    unsigned count;
    region_t region[SPARES_MAX];
};
/* Refills to cover `bytes` with quanta of `store`; spares of another arena are given back first.
 * spares->count is 0 where quanta cannot be adopted (no whole pages, larger than `bytes`). */
void store_fill_spares(struct store *store, struct spares *spares, size_t bytes);
void store_drop_spares(struct spares *spares);
/* Whether a write of `len` bytes at `pos` is one that spares would serve: it starts at a quantum's
 * start and covers one at least, and quanta of this geometry can be adopted. */
bool store_adopts(struct store *store, uint64_t pos, size_t len);

/* Writes `len` bytes gathered from `src`. With `spares`, the first spares->count entries of `src`
 * are those regions, in order: whole aligned quanta among them are adopted (their place in
 * `spares` gets the region that was replaced, or a fresh one at the next fill), the rest copied.
 * Bytes written (short at the limit, or at the quantum's end with STORE_LDD3), or -ENOSPC, -EFBIG,
 * with STORE_LDD3 -ENOMEM. */
ssize_t store_write_from(struct store *store, uint64_t pos, const struct iovec *src, size_t len,
                         struct spares *spares, unsigned flags);

/* Whoever caches the store's bytes elsewhere (the file view's page cache) is told before and after
 * a change that did not come through it. One watcher a store; set before requests flow. */
struct store_watch {
    void (*drop)(void *arg, uint64_t offset, uint64_t length);
    void *arg;
};
void store_set_watch(struct store *store, const struct store_watch *watch); /* NULL: none */
void store_tell_watch(struct store *store, uint64_t offset, uint64_t length);

#endif
