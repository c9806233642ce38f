/* store: the bytes of one device.
 *
 * Shape. A store is an index (quantum number -> region), an arena that the regions come from, a
 * size and a geometry. The quantum set of a quantum follows from its number, so `qset` is only kept
 * to be told. claim.c gives one writer a quantum, transfer.c moves bytes, extent.c changes what is
 * there without moving any.
 *
 * Invariants. All bytes of a region at or past the size, up to the quantum's end, are zeros. A
 * region that the index names is charged to the budget, every other one is not. A region named by
 * the index is whole, or pinned by the writer who is filling it: so a reader never sees bytes that
 * were there before, nor part of a write within one quantum.
 *
 * Locks. `lock` guards index, arena, geometry and size. It is held to look up and to pin, never to
 * copy, to wait, or to give memory back (but for what does not fit a batch, and a few megabytes of
 * other stores' where the limit is passed). Order: handle's lock, store's lock, warm.c's, arena's.
 * Who holds a write pin waits for nothing, and takes no other pin but a read pin that is free: so
 * every wait ends. */
#include "store/store.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/lock.h"
#include "scullv.h"
#include "store/store_private.h"

#define QUANTUM_MAX (UINT64_C(64) << 20) /* bytes */

/* --- geometry ------------------------------------------------------------------------------------ */

static bool geometry_valid(uint64_t quantum, uint32_t qset)
{
    return quantum >= 1 && quantum <= QUANTUM_MAX && qset >= 1;
}

static size_t region_bytes_of(uint64_t quantum)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (quantum + page - 1) / page * page;
}

/* --- making and unmaking ------------------------------------------------------------------------- */

struct store *store_new(struct budget *budget, uint64_t quantum, uint32_t qset)
{
    if (!geometry_valid(quantum, qset)) {
        errno = EINVAL;
        return NULL;
    }
    struct store *store = fault_here() ? NULL : calloc(1, sizeof *store);
    if (!store) {
        errno = ENOMEM;
        return NULL;
    }
    store->arena = arena_new(budget, region_bytes_of(quantum));
    if (!store->arena) {
        free(store);
        errno = ENOMEM;
        return NULL;
    }
    store->refs = 1;
    store->budget = budget_hold(budget);
    store->quantum = quantum;
    store->qset = qset;
    index_init(&store->index, budget);
    pthread_mutex_init(&store->lock, NULL);
    pthread_rwlock_init(&store->telling, NULL);
    return store;
}

struct store *store_hold(struct store *store)
{
    refs_hold(&store->refs);
    return store;
}

void store_drop(struct store *store)
{
    if (!refs_drop(&store->refs))
        return;
    struct remains remains = {.arena = store->arena, .index = store->index};
    store_bury(&remains, true);
    pthread_rwlock_destroy(&store->telling);
    pthread_mutex_destroy(&store->lock);
    budget_free(store->budget);
    free(store);
}

void store_free(struct store *store)
{
    if (store)
        store_drop(store);
}

/* --- what the other files need -------------------------------------------------------------------- */

void store_wait(struct store *store, region_t region)
{
    struct arena *arena = arena_hold(store->arena);
    pthread_mutex_unlock(&store->lock);
    arena_wait(arena, region);
    arena_drop(arena);
    pthread_mutex_lock(&store->lock);
}

/* By the clock that files' times are taken from: a tick is fine enough. It costs no system call, but
 * in user-mode-linux; so it is for those stores only whose files somebody can see. */
void store_touch(struct store *store)
{
    struct timespec now;
    store->changes++;
    if (!atomic_load_explicit(&store->watch, memory_order_relaxed))
        return;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    store->changed_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void store_grow(struct store *store, uint64_t end)
{
    assert(end <= POSITION_MAX);
    store_touch(store);
    if (store->size < end)
        store->size = end;
}

void store_take_all(struct store *store, struct arena *arena, struct remains *remains)
{
    remains->index = store->index;
    index_init(&store->index, store->budget);
    remains->arena = arena ? store->arena : arena_hold(store->arena);
    if (arena)
        store->arena = arena;
    store->size = 0;
    store->cuts++;
    store_touch(store);
}

static void bury_region(void *batch, region_t region)
{
    arena_batch_retire(batch, region);
}

/* `closing`: the store goes on without this arena. */
void store_bury(struct remains *remains, bool closing)
{
    struct arena_batch batch = {.arena = remains->arena};
    if (closing)
        arena_close(remains->arena);
    index_drop(&remains->index, bury_region, &batch);
    arena_batch_flush(&batch);
    arena_sweep(remains->arena);
    arena_drop(remains->arena);
}

/* --- the whole store ------------------------------------------------------------------------------- */

/* Regions that somebody has pinned stay with him until he is done; all others are free when this
 * returns. The arena is recycled where the size of its regions still fits. */
int store_trim(struct store *store, uint64_t quantum, uint32_t qset)
{
    if (!geometry_valid(quantum, qset))
        return -EINVAL;
    size_t region_bytes = region_bytes_of(quantum);
    struct arena *fresh = NULL;
    pthread_mutex_lock(&store->lock);
    while (!fresh && arena_region_bytes(store->arena) != region_bytes) {
        pthread_mutex_unlock(&store->lock);
        fresh = arena_new(store->budget, region_bytes);
        if (!fresh)
            return -ENOMEM;
        pthread_mutex_lock(&store->lock);
    }
    struct remains remains;
    store_take_all(store, fresh, &remains);
    store->quantum = quantum;
    store->qset = qset;
    pthread_mutex_unlock(&store->lock);
    store_bury(&remains, fresh != NULL);
    return 0;
}

void store_get_info(struct store *store, struct store_info *info)
{
    LOCKED(&store->lock);
    *info = (struct store_info){
        .size = store->size,
        .quantum = store->quantum,
        .region_bytes = arena_region_bytes(store->arena),
        .regions = store->index.count,
        .index_bytes = store->index.bytes,
        .qset = store->qset,
        .changes = store->changes,
        .changed_ns = store->changed_ns,
        .cuts = store->cuts,
    };
}

/* --- the watcher ----------------------------------------------------------------------------------- */

/* When it returns, nobody is in the midst of telling the watcher before. */
void store_set_watch(struct store *store, const struct store_watch *watch)
{
    atomic_store_explicit(&store->watch, watch, memory_order_release);
    pthread_rwlock_wrlock(&store->telling);
    pthread_rwlock_unlock(&store->telling);
}

void store_tell_watch(struct store *store, uint64_t offset, uint64_t length)
{
    const struct store_watch *watch = atomic_load_explicit(&store->watch, memory_order_acquire);
    if (!watch)
        return;
    pthread_rwlock_rdlock(&store->telling);
    watch = atomic_load_explicit(&store->watch, memory_order_acquire);
    if (watch)
        watch->drop(watch->arg, offset, length);
    pthread_rwlock_unlock(&store->telling);
}
