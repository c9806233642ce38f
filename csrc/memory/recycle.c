/* recycle: the life of an arena's regions: taken, pinned, retired, and taken again.
 *
 * What nobody needs any more stays warm, as far as the allowances go, and is taken again first
 * (warm.c); or its memory goes back to the kernel and it reads as zeros. A retired region is
 * recycled by who takes the last pin off it. Locks: as in arena.c. */
#include "memory/recycle.h"

#include <assert.h>

#include "base/fault.h"
#include "memory/arena_private.h"
#include "memory/pin.h"
#include "memory/warm.h"

#define HURRY_BYTES (16 * MIB) /* others give back at once, where the limit is passed: soon done */

/* --- taken --------------------------------------------------------------------------------------- */

region_t arena_take_spare(struct arena *arena, bool *zeroed)
{
    if (fault_here())
        return REGION_NONE;
    region_t region = warm_take(arena);
    *zeroed = region == REGION_NONE;
    if (!*zeroed)
        return region;
    if (budget_over(arena->budget))
        warm_hurry(arena->budget, HURRY_BYTES);
    return arena_take_free(arena);
}

region_t arena_take(struct arena *arena, bool *zeroed)
{
    if (!budget_charge(arena->budget, BUDGET_REGIONS, arena->region_bytes))
        return REGION_NONE;
    region_t region = arena_take_spare(arena, zeroed);
    if (region == REGION_NONE)
        budget_uncharge(arena->budget, BUDGET_REGIONS, arena->region_bytes);
    return region;
}

bool arena_keep(struct arena *arena, region_t region)
{
    assert(region < arena->capacity);
    (void)region;
    return budget_charge(arena->budget, BUDGET_REGIONS, arena->region_bytes);
}

void arena_unkeep(struct arena *arena, region_t region)
{
    assert(region < arena->capacity);
    (void)region;
    budget_uncharge(arena->budget, BUDGET_REGIONS, arena->region_bytes);
}

/* Regions that are out, unpinned and nobody's any more. */
static void recycle(struct arena *arena, region_t first, uint32_t count)
{
    uint32_t warm = warm_keep(arena, first, count);
    if (warm < count)
        arena_give_back(arena, first + warm, count - warm);
    warm_watch(arena);
}

/* --- pins --------------------------------------------------------------------------------------- */

bool arena_pin_read(struct arena *arena, region_t region)
{
    return pin_read(&arena->pins[region]);
}

bool arena_pin_write(struct arena *arena, region_t region)
{
    return pin_write(&arena->pins[region]);
}

void arena_unpin_read(struct arena *arena, region_t region)
{
    if (pin_end_read(&arena->pins[region]))
        recycle(arena, region, 1);
}

void arena_unpin_write(struct arena *arena, region_t region)
{
    if (pin_end_write(&arena->pins[region]))
        recycle(arena, region, 1);
}

bool arena_idle(const struct arena *arena, region_t region)
{
    return pin_idle(&arena->pins[region]);
}

void arena_wait(struct arena *arena, region_t region)
{
    pin_wait(&arena->pins[region]);
}

/* --- retired ------------------------------------------------------------------------------------- */

void arena_give_spare(struct arena *arena, region_t region)
{
    if (pin_retire(&arena->pins[region]))
        recycle(arena, region, 1);
}

void arena_retire(struct arena *arena, region_t region)
{
    arena_unkeep(arena, region);
    arena_give_spare(arena, region);
}

/* Uncharged first: what is kept warm is charged as that. */
void arena_batch_flush(struct arena_batch *batch)
{
    budget_uncharge(batch->arena->budget, BUDGET_REGIONS,
                    batch->charged * batch->arena->region_bytes);
    batch->charged = 0;
    for (unsigned i = 0; i < batch->runs; i++)
        recycle(batch->arena, batch->run[i].first, batch->run[i].count);
    batch->runs = 0;
}

void arena_batch_retire(struct arena_batch *batch, region_t region)
{
    batch->charged++;
    if (!pin_retire(&batch->arena->pins[region]))
        return;
    struct arena_run *last = batch->runs > 0 ? &batch->run[batch->runs - 1] : NULL;
    if (last && last->first + last->count == region) {
        last->count++;
    } else if (last && region + 1 == last->first) {
        last->first--;
        last->count++;
    } else {
        if (batch->runs == ARENA_RUNS)
            arena_batch_flush(batch);
        batch->run[batch->runs++] = (struct arena_run){.first = region, .count = 1};
    }
}

void arena_close(struct arena *arena)
{
    warm_close(arena);
}
