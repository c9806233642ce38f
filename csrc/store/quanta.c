/* quanta: what is done with all quanta of a store at once, and waiting for one of them.
 *
 * Invariants. All bytes of a region at or past the size, up to the quantum's end, are zeros. A
 * region that the index names is charged to the budget, every other one is not. A region named by
 * the index is whole, or pinned by the writer who is filling it: so a reader never sees bytes that
 * were there before, nor part of a write within one quantum.
 *
 * Who holds a write pin waits for nothing, and takes no other pin but a read pin that is free: so
 * every wait ends. */
#include "store/quanta.h"

#include <assert.h>

void quanta_wait(struct store *store, region_t region)
{
    struct arena *arena = arena_hold(store->arena);
    pthread_mutex_unlock(&store->lock);
    arena_wait(arena, region);
    arena_drop(arena);
    pthread_mutex_lock(&store->lock);
}

void quanta_grow(struct store *store, uint64_t end)
{
    assert(end <= POSITION_MAX);
    store_touch(store);
    if (store->size < end)
        store->size = end;
}

void quanta_take_all(struct store *store, struct arena *arena, struct remains *remains)
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

void quanta_bury(struct remains *remains, bool closing)
{
    struct arena_batch batch = {.arena = remains->arena};
    if (closing)
        arena_close(remains->arena);
    index_drop(&remains->index, bury_region, &batch);
    arena_batch_flush(&batch);
    arena_sweep(remains->arena);
    arena_drop(remains->arena);
}
