/* arena: page-granular regions of one size, cut out of one reserved mapping.
 *
 * Shape. One mapping is reserved without access rights, large enough for the budget's limit and a
 * slack for what is not charged: spares, regions kept warm, regions that left the index while
 * somebody reads them. It is opened for access chunk by chunk from its start, as regions are taken,
 * so that only what is open counts as committed memory. Regions are numbered from 0 and taken
 * lowest first, which keeps what is in use together and lets huge pages back it.
 *
 * A region is free, warm or out. Free: its bit in `taken` is clear, the kernel has its memory, it
 * reads as zeros. Warm: in the stack `warm`, with its memory and its old bytes; taken first. Out:
 * somebody's.
 *
 * Beside the regions lies a slot for each (slot.c): its pins. The slot of a free or warm region is
 * zero. A retired region is recycled by who takes the last pin off it.
 *
 * Locks. `lock` guards what is free and what is warm; no other lock is taken under it. Slots are
 * atomics. Giving memory back to the kernel happens without the lock, while the region is still
 * out; only arena_sweep, for which there is next to nothing left to do, keeps the lock.
 *
 * Counted references: the store, its plans and targets, and spares hold the arena. */
#include "arena.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bits.h"
#include "fault.h"
#include "lock.h"
#include "refs.h"
#include "slot.h"

#define MIB (UINT64_C(1) << 20)
#define HUGE_BYTES (2 * MIB)
#define CHUNK_BYTES (16 * MIB) /* opened at once */
#define SLACK_BYTES (64 * MIB)
#define SLACK_REGIONS 128u
#define RESERVE_MAX (UINT64_C(4) << 40) /* bytes; address space is for all the stores */
#define WARM_BYTES (8 * MIB)            /* at most, of one arena; the budget says how much in all */

struct arena {
    refs_t refs;
    uint32_t capacity; /* regions, a multiple of BITS_WORD */
    size_t region_bytes;
    struct budget *budget; /* held */
    void *reserved;        /* the mapping as it was made; `base` is aligned within it */
    size_t reserved_bytes;
    uint8_t *base;
    size_t base_bytes; /* all regions, rounded up to huge pages */
    void *table;       /* the mapping of `slot` and `taken` */
    size_t table_bytes;
    slot_t *slot; /* one a region */

    pthread_mutex_t lock; /* guards all below */
    uint64_t *taken;      /* bits: 1 for a region that is out or warm */
    size_t open_bytes;    /* from `base`, may be touched; a multiple of HUGE_BYTES */
    uint32_t low;         /* no region before this one is free */
    uint32_t top;         /* regions from here on are free, and were since the last sweep */
    bool gave;            /* memory was given back since the last sweep */
    uint32_t warm_max, warm_count;
    region_t warm[];
};

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* --- making and unmaking ---------------------------------------------------------------------- */

static void *map_lazily(size_t bytes, int access)
{
    if (fault_here()) {
        errno = ENOMEM;
        return NULL;
    }
    void *at =
        mmap(NULL, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

/* Maps for arena->capacity regions. */
static int arena_map(struct arena *arena)
{
    arena->base_bytes = round_up(arena->capacity * (uint64_t)arena->region_bytes, HUGE_BYTES);
    arena->reserved_bytes = arena->base_bytes + HUGE_BYTES;
    arena->reserved = map_lazily(arena->reserved_bytes, PROT_NONE);
    if (!arena->reserved)
        return -ENOMEM;
    size_t slots = arena->capacity * sizeof *arena->slot;
    arena->table_bytes = slots + arena->capacity / 8;
    arena->table = map_lazily(arena->table_bytes, PROT_READ | PROT_WRITE);
    if (!arena->table) {
        munmap(arena->reserved, arena->reserved_bytes);
        return -ENOMEM;
    }
    arena->base = (uint8_t *)round_up((uintptr_t)arena->reserved, HUGE_BYTES);
    arena->slot = arena->table;
    arena->taken = (uint64_t *)((uint8_t *)arena->table + slots);
    /* Refused where the kernel was built without; no matter. */
    (void)madvise(arena->base, arena->base_bytes, MADV_HUGEPAGE);
    return 0;
}

struct arena *arena_new(struct budget *budget, size_t region_bytes)
{
    uint32_t warm_max = (uint32_t)(WARM_BYTES / region_bytes);
    struct arena *arena =
        fault_here() ? NULL : calloc(1, sizeof *arena + warm_max * sizeof arena->warm[0]);
    if (!arena) {
        errno = ENOMEM;
        return NULL;
    }
    uint64_t slack = SLACK_BYTES / region_bytes + SLACK_REGIONS;
    uint64_t limit = budget_max(budget);
    uint64_t regions = (limit < RESERVE_MAX ? limit : RESERVE_MAX) / region_bytes + slack;
    arena->region_bytes = region_bytes;
    arena->warm_max = warm_max;
    /* Address space may be limited (RLIMIT_AS, other arenas): less of it still serves. */
    for (;;) {
        arena->capacity = (uint32_t)round_up(regions, BITS_WORD);
        if (arena_map(arena) == 0)
            break;
        if (regions <= slack) {
            free(arena);
            errno = ENOMEM;
            return NULL;
        }
        regions = regions / 2 > slack ? regions / 2 : slack;
    }
    arena->refs = 1;
    arena->budget = budget_hold(budget);
    pthread_mutex_init(&arena->lock, NULL);
    return arena;
}

struct arena *arena_hold(struct arena *arena)
{
    refs_hold(&arena->refs);
    return arena;
}

void arena_drop(struct arena *arena)
{
    if (!refs_drop(&arena->refs))
        return;
    budget_uncharge(arena->budget, BUDGET_WARM,
                    (uint64_t)arena->warm_count * arena->region_bytes);
    munmap(arena->table, arena->table_bytes);
    munmap(arena->reserved, arena->reserved_bytes);
    pthread_mutex_destroy(&arena->lock);
    budget_free(arena->budget);
    free(arena);
}

size_t arena_region_bytes(const struct arena *arena)
{
    return arena->region_bytes;
}

uint64_t arena_offset(const struct arena *arena, region_t region)
{
    assert(region < arena->capacity);
    return (uint64_t)region * arena->region_bytes;
}

uint8_t *arena_address(const struct arena *arena, region_t region)
{
    return arena->base + arena_offset(arena, region);
}

/* --- free regions: under the lock -------------------------------------------------------------- */

/* Makes [base, base + bytes) accessible. */
static bool open_upto(struct arena *arena, uint64_t bytes)
{
    if (bytes <= arena->open_bytes)
        return true;
    uint64_t upto = round_up(bytes, CHUNK_BYTES);
    if (upto > arena->base_bytes)
        upto = arena->base_bytes;
    if (fault_here() || mprotect(arena->base + arena->open_bytes, upto - arena->open_bytes,
                                 PROT_READ | PROT_WRITE) != 0)
        return false;
    arena->open_bytes = upto;
    return true;
}

region_t arena_take_spare(struct arena *arena, bool *zeroed)
{
    if (fault_here())
        return REGION_NONE;
    LOCKED(&arena->lock);
    *zeroed = false;
    if (arena->warm_count > 0) {
        budget_uncharge(arena->budget, BUDGET_WARM, arena->region_bytes);
        return arena->warm[--arena->warm_count];
    }
    region_t region = bits_next(arena->taken, arena->low, arena->capacity, false);
    arena->low = region;
    if (region == arena->capacity || !open_upto(arena, arena_offset(arena, region) +
                                                           arena->region_bytes))
        return REGION_NONE;
    bits_set(arena->taken, region);
    if (arena->top <= region)
        arena->top = region + 1;
    *zeroed = true;
    return region;
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

/* --- giving back ------------------------------------------------------------------------------- */

/* Keeps the first regions of the run warm, as many as there is room for: how many. Those are
 * pushed last to first, so that they are taken in their order. */
static uint32_t keep_warm(struct arena *arena, region_t first, uint32_t count)
{
    LOCKED(&arena->lock);
    uint32_t room = arena->warm_max > arena->warm_count ? arena->warm_max - arena->warm_count : 0;
    uint32_t warm = count < room ? count : room;
    while (warm > 0 && !budget_charge(arena->budget, BUDGET_WARM,
                                      (uint64_t)warm * arena->region_bytes))
        warm /= 2;
    for (uint32_t i = warm; i-- > 0;)
        arena->warm[arena->warm_count++] = first + i;
    return warm;
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

/* Regions that are out, unpinned, and nobody's any more. */
static void recycle(struct arena *arena, region_t first, uint32_t count)
{
    uint32_t warm = keep_warm(arena, first, count);
    if (warm < count)
        give_back(arena, first + warm, count - warm);
}

void arena_give_spare(struct arena *arena, region_t region)
{
    if (slot_retire(&arena->slot[region]))
        recycle(arena, region, 1);
}

void arena_retire(struct arena *arena, region_t region)
{
    arena_unkeep(arena, region);
    arena_give_spare(arena, region);
}

static void batch_recycle(struct arena_batch *batch)
{
    for (unsigned i = 0; i < batch->runs; i++)
        recycle(batch->arena, batch->run[i].first, batch->run[i].count);
    batch->runs = 0;
}

void arena_batch_retire(struct arena_batch *batch, region_t region)
{
    batch->charged++;
    if (!slot_retire(&batch->arena->slot[region]))
        return;
    struct arena_run *last = batch->runs > 0 ? &batch->run[batch->runs - 1] : NULL;
    if (last && last->first + last->count == region) {
        last->count++;
    } else if (last && region + 1 == last->first) {
        last->first--;
        last->count++;
    } else {
        if (batch->runs == ARENA_RUNS)
            batch_recycle(batch);
        batch->run[batch->runs++] = (struct arena_run){.first = region, .count = 1};
    }
}

void arena_batch_flush(struct arena_batch *batch)
{
    batch_recycle(batch);
    budget_uncharge(batch->arena->budget, BUDGET_REGIONS,
                    batch->charged * batch->arena->region_bytes);
    batch->charged = 0;
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
        region_t region;
        {
            LOCKED(&arena->lock);
            arena->warm_max = 0;
            if (arena->warm_count == 0)
                return;
            region = arena->warm[--arena->warm_count];
            budget_uncharge(arena->budget, BUDGET_WARM, arena->region_bytes);
        }
        give_back(arena, region, 1);
    }
}

/* --- pins --------------------------------------------------------------------------------------- */

bool arena_pin_read(struct arena *arena, region_t region)
{
    return slot_pin_read(&arena->slot[region]);
}

bool arena_pin_write(struct arena *arena, region_t region)
{
    return slot_pin_write(&arena->slot[region]);
}

void arena_unpin_read(struct arena *arena, region_t region)
{
    if (slot_unpin_read(&arena->slot[region]))
        recycle(arena, region, 1);
}

void arena_unpin_write(struct arena *arena, region_t region)
{
    if (slot_unpin_write(&arena->slot[region]))
        recycle(arena, region, 1);
}

bool arena_idle(const struct arena *arena, region_t region)
{
    return slot_idle(&arena->slot[region]);
}

void arena_wait(struct arena *arena, region_t region)
{
    slot_wait(&arena->slot[region]);
}
