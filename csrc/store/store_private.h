/* store_private: what the files that work on a store share. */
#ifndef STORE_PRIVATE_H
#define STORE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/index.h"
#include "base/refs.h"
#include "store/store.h"

#define POSITION_MAX ((uint64_t)INT64_MAX) /* bytes; a store is no larger */

struct store {
    refs_t refs;
    struct budget *budget; /* held */
    _Atomic(const struct store_watch *) watch;
    pthread_rwlock_t telling; /* held, for reading, while the watch is told */

    pthread_mutex_t lock;
    /* Changed under `lock`. The first two are also read without it, as hints. */
    _Atomic(struct arena *) arena; /* held */
    _Atomic uint64_t quantum;      /* bytes */
    uint32_t qset;
    uint64_t size;  /* bytes */
    uint64_t cuts;  /* how often the store became shorter (trim, resize) */
    uint64_t changes, changed_ns; /* as in struct store_info */
    struct index index;
};

/* With the lock held; released meanwhile: waits for the pin on `region`. */
void store_wait(struct store *store, region_t region);
/* With the lock held: the store is changed now. */
void store_touch(struct store *store);
/* With the lock held: what was written up to `end` counts. */
void store_grow(struct store *store, uint64_t end);

/* Everything that a store held, taken from it under the lock and given back without it. */
struct remains {
    struct arena *arena; /* a reference */
    struct index index;
};
/* With the lock held. `arena`: the one that follows, its reference is the store's now; NULL: the
 * store keeps the one it has. */
void store_take_all(struct store *store, struct arena *arena, struct remains *remains);
void store_bury(struct remains *remains, bool closing);

#endif
