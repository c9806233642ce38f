/* recycle: what becomes of an arena's regions that nobody needs any more.
 *
 * They stay warm, as far as the allowances go, and are taken again first; or their memory goes back
 * to the kernel and they read as zeros. What is warm beyond WARM_KEPT_BYTES cools down when nobody
 * needs it (warm.c). Locks: as in arena.c. */
#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/arena_private.h"
#include "base/bits.h"
#include "memory/warm.h"
#include "base/lock.h"

#define WARM_KEPT_BYTES (8 * MIB) /* of one arena, for good */

/* Keeps the first regions of the run warm, as many as there is room for: how many. */
static uint32_t keep_warm(struct arena *arena, region_t first, uint32_t count)
{
    LOCKED(&arena->lock);
    uint32_t warm = arena->closed ? 0 : count;
    while (warm > 0 && !budget_charge(arena->budget, BUDGET_WARM,
                                      (uint64_t)warm * arena->region_bytes))
        warm /= 2;
    for (uint32_t i = 0; i < warm; i++)
        bits_set(arena->warm, first + i);
    if (warm > 0 && arena->warm_first > first)
        arena->warm_first = first;
    arena->warm_count += warm;
    return warm;
}

void arena_unwarm(struct arena *arena, region_t first, uint32_t count)
{
    for (region_t region = first; region < first + count; region++)
        bits_clear(arena->warm, region);
    arena->warm_count -= count;
    budget_uncharge(arena->budget, BUDGET_WARM, (uint64_t)count * arena->region_bytes);
}

static void give_back(struct arena *arena, region_t first, uint32_t count)
{
    size_t bytes = (size_t)count * arena->region_bytes;
    /* Refused for locked memory (mlockall): cleared by hand, it is as good to the next taker. */
    if (madvise(arena_address(arena, first), bytes, MADV_DONTNEED) != 0)
        memset(arena_address(arena, first), 0, bytes);
    LOCKED(&arena->lock);
    for (region_t region = first; region < first + count; region++) {
        assert(bits_get(arena->taken, region));
        bits_clear(arena->taken, region);
    }
    if (arena->low > first)
        arena->low = first;
    arena->gave = true;
}

/* Regions that are kept warm for good. */
static uint32_t kept(const struct arena *arena)
{
    return (uint32_t)(WARM_KEPT_BYTES / arena->region_bytes);
}

/* Whether there is more warm than is kept for good, and nobody looks after it yet. */
static bool to_be_watched(struct arena *arena)
{
    LOCKED(&arena->lock);
    if (arena->watched || arena->warm_count <= kept(arena))
        return false;
    arena->warm_low = arena->warm_count;
    arena->watched = true;
    return true;
}

void arena_recycle(struct arena *arena, region_t first, uint32_t count)
{
    uint32_t warm = keep_warm(arena, first, count);
    if (warm < count)
        give_back(arena, first + warm, count - warm);
    if (to_be_watched(arena))
        warm_watch(arena);
}

/* Regions of a huge page. */
static uint32_t huge_regions(const struct arena *arena)
{
    bool fits = arena->region_bytes < HUGE_BYTES && HUGE_BYTES % arena->region_bytes == 0;
    return fits ? (uint32_t)(HUGE_BYTES / arena->region_bytes) : 1;
}

static bool all_warm(const struct arena *arena, region_t first, region_t end)
{
    return bits_next(arena->warm, first, end, false) == end;
}

/* Takes the last run of neighbours below `end` off the warm regions, in units of so many, about
 * `most` and not those that are kept: how many; 0: there are none. */
static uint32_t pop_warm(struct arena *arena, uint32_t most, uint32_t unit, region_t end,
                         region_t *first)
{
    LOCKED(&arena->lock);
    if (arena->warm_count <= kept(arena))
        return 0;
    end = (end < arena->top ? end : arena->top) / unit * unit;
    while (end >= unit && !all_warm(arena, end - unit, end))
        end -= unit;
    if (end < unit)
        return 0;
    if (most > arena->warm_count - kept(arena))
        most = arena->warm_count - kept(arena);
    uint32_t count = unit;
    while (count + unit <= most && count + unit <= end &&
           all_warm(arena, end - count - unit, end - count))
        count += unit;
    *first = end - count;
    arena_unwarm(arena, *first, count);
    return count;
}

/* Gives back so many warm regions, as far as there are: how many it gave. Whole huge pages first:
 * one that is given back in parts comes again in small pages, and is a third slower. */
static uint32_t give_warm(struct arena *arena, uint32_t most)
{
    const uint32_t unit[] = {huge_regions(arena), 1};
    uint32_t given = 0, count;
    for (unsigned pass = 0; pass < 2; pass++) {
        region_t first = arena->capacity;
        while (given < most &&
               (count = pop_warm(arena, most - given, unit[pass], first, &first)) > 0) {
            give_back(arena, first, count);
            given += count;
        }
    }
    arena_sweep(arena);
    return given;
}

/* What was there all the time since the last look, even when the fewest were, was not needed. */
bool arena_cool(struct arena *arena)
{
    uint32_t unneeded;
    {
        LOCKED(&arena->lock);
        unneeded = arena->warm_low > kept(arena) ? arena->warm_low - kept(arena) : 0;
    }
    give_warm(arena, unneeded);
    LOCKED(&arena->lock);
    arena->warm_low = arena->warm_count;
    arena->watched = arena->warm_count > kept(arena);
    return !arena->watched;
}

uint64_t arena_yield(struct arena *arena, uint64_t bytes)
{
    uint64_t regions = bytes / arena->region_bytes + (bytes % arena->region_bytes != 0);
    uint32_t most = regions < arena->capacity ? (uint32_t)regions : arena->capacity;
    return (uint64_t)give_warm(arena, most) * arena->region_bytes;
}

void arena_give_spare(struct arena *arena, region_t region)
{
    if (pin_retire(&arena->pins[region]))
        arena_recycle(arena, region, 1);
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
        arena_recycle(batch->arena, batch->run[i].first, batch->run[i].count);
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

void arena_sweep(struct arena *arena)
{
    LOCKED(&arena->lock);
    if (!arena->gave)
        return;
    arena->gave = false;
    uint32_t top = 0;
    for (uint32_t free = bits_next(arena->taken, 0, arena->top, false); free < arena->top;
         free = bits_next(arena->taken, top, arena->top, false)) {
        top = bits_next(arena->taken, free, arena->top, true);
        uint64_t from = (uint64_t)free * arena->region_bytes;
        uint64_t end = (uint64_t)top * arena->region_bytes;
        if (top == arena->top) {
            /* Nothing is in use from here on, so neither is the rest of the last huge page. */
            end = round_up(end, HUGE_BYTES);
            end = end < arena->open_bytes ? end : arena->open_bytes;
            arena->top = top = free;
        }
        (void)madvise(arena->base + from, end - from, MADV_DONTNEED);
    }
}

void arena_close(struct arena *arena)
{
    for (;;) {
        region_t first;
        uint32_t count;
        {
            LOCKED(&arena->lock);
            arena->closed = true;
            if (arena->warm_count == 0)
                return;
            first = bits_next(arena->warm, arena->warm_first, arena->capacity, true);
            count = bits_next(arena->warm, first, arena->capacity, false) - first;
            arena_unwarm(arena, first, count);
        }
        give_back(arena, first, count);
    }
}
