/* spares: regions laid out to receive a write before its position is known. */
#include <unistd.h>

#include "store/store_private.h"

/* How many quanta a write of `bytes` can have adopted: they are whole pages, and fit. */
static unsigned spares_for(uint64_t quantum, size_t bytes)
{
    if (quantum > bytes || quantum % (size_t)sysconf(_SC_PAGESIZE) != 0)
        return 0;
    return bytes / quantum < SPARES_MAX ? (unsigned)(bytes / quantum) : SPARES_MAX;
}

bool store_adopts(struct store *store, uint64_t pos, size_t len)
{
    uint64_t quantum = atomic_load_explicit(&store->quantum, memory_order_relaxed);
    return store->backing->adopts && spares_for(quantum, len) > 0 && pos % quantum == 0;
}

/* Asked before every message, so where nothing has changed it takes no lock. The arena that the
 * spares hold cannot be mistaken for another; a quantum that changes just now is found out when the
 * spares are used. */
void store_fill_spares(struct store *store, struct spares *spares, size_t bytes)
{
    struct arena *arena = atomic_load_explicit(&store->arena, memory_order_relaxed);
    uint64_t quantum = atomic_load_explicit(&store->quantum, memory_order_relaxed);
    unsigned wanted = spares_for(quantum, bytes);
    if (spares->count == wanted && spares->arena == (wanted > 0 ? arena : NULL))
        return;
    pthread_mutex_lock(&store->lock);
    arena = arena_hold(store->arena);
    wanted = spares_for(store->quantum, bytes);
    pthread_mutex_unlock(&store->lock);
    if (spares->arena != arena || wanted == 0)
        store_drop_spares(spares);
    if (wanted > 0 && !spares->arena)
        spares->arena = arena;
    else
        arena_drop(arena);
    while (spares->count > wanted)
        arena_give_spare(spares->arena, spares->region[--spares->count]);
    while (spares->count < wanted) {
        bool zeroed;
        region_t region = arena_take_spare(spares->arena, &zeroed);
        if (region == REGION_NONE)
            break;
        spares->region[spares->count++] = region;
    }
}

void store_drop_spares(struct spares *spares)
{
    if (!spares->arena)
        return;
    while (spares->count > 0)
        arena_give_spare(spares->arena, spares->region[--spares->count]);
    arena_drop(spares->arena);
    spares->arena = NULL;
}
