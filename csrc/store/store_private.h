/* store_private: what the files that work on a store share. */
#ifndef STORE_PRIVATE_H
#define STORE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/refs.h"
#include "recover/state.h"
#include "scullv.h"
#include "store/backing.h"
#include "store/index.h"
#include "store/store.h"

#define POSITION_MAX ((uint64_t)INT64_MAX) /* bytes; a store is no larger */

struct store {
    refs_t refs;
    const struct backing *backing;
    struct budget *budget; /* held */
    _Atomic(const struct store_watch *) watch;
    pthread_rwlock_t telling; /* held, for reading, while the watch is told */

    pthread_mutex_t lock;
    /* Changed under `lock`. The quantum is also read without it, as a hint. */
    _Atomic uint64_t quantum; /* bytes */
    uint32_t qset;
    struct state_device *kept; /* where the geometry outlives this process; NULL: nowhere */
    uint64_t cuts;  /* how often the store became shorter (trim, resize) */
    uint64_t changes, changed_ns; /* as in struct store_info */

    /* The backing's own, under `lock` too: anon.c has these … */
    _Atomic(struct arena *) arena; /* held; also read without the lock, as a hint */
    struct index index;
    uint64_t size; /* bytes */
    /* … and linear.c this. */
    struct image *image;
};

bool store_geometry_valid(uint64_t quantum, uint32_t qset);
size_t store_region_bytes(uint64_t quantum); /* a quantum rounded up to pages */
/* NULL with errno set: EINVAL, ENOMEM. The backing's own is zeros. */
struct store *store_make(const struct backing *backing, struct budget *budget, uint64_t quantum,
                         uint32_t qset);
/* Of one that store_make returned, where making the rest failed. */
void store_discard(struct store *store);
/* With the lock held: puts the geometry in force. */
void store_set_geometry(struct store *store, uint64_t quantum, uint32_t qset);
/* With the lock held: the store is changed now. */
void store_touch(struct store *store);

#endif
