/* anon: a store in memory of its own, quanta anywhere: an index (quantum number -> region) and an
 * arena that the regions come from. The quantum set of a quantum follows from its number, so `qset`
 * is only kept to be told. claim.c gives one writer a quantum, transfer.c moves bytes, extent.c
 * changes what is there without moving any. */
#include <errno.h>

#include "base/lock.h"
#include "store/extent.h"
#include "store/quanta.h"
#include "store/transfer.h"

/* Regions that somebody has pinned stay with him until he is done; all others are free when this
 * returns. The arena is recycled where the size of its regions still fits. */
static int anon_trim(struct store *store, uint64_t quantum, uint32_t qset)
{
    size_t region_bytes = store_region_bytes(quantum);
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
    quanta_take_all(store, fresh, &remains);
    store->quantum = quantum;
    store->qset = qset;
    pthread_mutex_unlock(&store->lock);
    quanta_bury(&remains, fresh != NULL);
    return 0;
}

static uint64_t anon_count(struct store *store)
{
    LOCKED(&store->lock);
    return store->index.count;
}

/* With the lock held. */
static void anon_get_info(struct store *store, struct store_info *info)
{
    info->size = store->size;
    info->resident = store->index.count * info->region_bytes;
    info->changes = store->changes;
    info->changed_ns = store->changed_ns;
}

static void anon_unmake(struct store *store)
{
    struct remains remains = {.arena = store->arena, .index = store->index};
    quanta_bury(&remains, true);
}

static const struct backing anon = {
    .plan_read = transfer_plan_read,
    .read = transfer_read,
    .write = transfer_write,
    .trim = anon_trim,
    .punch = extent_punch,
    .resize = extent_resize,
    .allocate = extent_allocate,
    .seek_extent = extent_seek,
    .next_quantum = extent_next_quantum,
    .count_quanta = anon_count,
    .get_info = anon_get_info,
    .unmake = anon_unmake,
    .adopts = true,
};

struct store *store_new(struct budget *budget, uint64_t quantum, uint32_t qset)
{
    struct store *store = store_make(&anon, budget, quantum, qset);
    if (!store)
        return NULL;
    store->arena = arena_new(budget, store_region_bytes(quantum));
    if (!store->arena) {
        store_discard(store);
        errno = ENOMEM;
        return NULL;
    }
    index_init(&store->index, budget);
    return store;
}
