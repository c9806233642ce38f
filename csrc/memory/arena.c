/* arena: page-granular regions of one size, cut out of one reserved mapping.
 *
 * Shape. One mapping is reserved without access rights, large enough for the budget's limit and a
 * slack for what is not charged: spares, regions kept warm, regions that left the index while
 * somebody reads them. It is opened for access chunk by chunk from its start, as regions are taken,
 * so that only what is open counts as committed memory. Regions are numbered from 0 and taken
 * lowest first, which keeps what is in use together and lets huge pages back it.
 *
 * A region is free, warm or out. Free: its bit in `taken` is clear, the kernel has its memory, it
 * reads as zeros. Warm: its bit in `warm` is set, with its memory and its old bytes; taken first. Out:
 * somebody's. What is warm beyond a few megabytes cools down when nobody needs it: warm.c.
 *
 * Beside the regions lies a word for each with its pins (pin.c). That of a free or warm region is
 * zero. A retired region is recycled by who takes the last pin off it.
 *
 * Locks. `lock` guards what is free and what is warm; no other lock is taken under it. Slots are
 * atomics. Giving memory back to the kernel happens without the lock, while the region is still
 * out; only arena_sweep, for which there is next to nothing left to do, keeps the lock.
 *
 * Counted references: the store, its plans and targets, and spares hold the arena. */
#include "memory/arena_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/fault.h"
#include "base/lock.h"

#define CHUNK_BYTES (16 * MIB) /* opened at once */
#define SLACK_BYTES (64 * MIB)
#define SLACK_REGIONS 128u
#define RESERVE_MAX (UINT64_C(4) << 40) /* bytes; address space is for all the stores */

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
    size_t pins_bytes = arena->capacity * sizeof *arena->pins;
    size_t bits = arena->capacity / 8;
    arena->table_bytes = pins_bytes + 2 * bits;
    arena->table = map_lazily(arena->table_bytes, PROT_READ | PROT_WRITE);
    if (!arena->table) {
        munmap(arena->reserved, arena->reserved_bytes);
        return -ENOMEM;
    }
    arena->base = (uint8_t *)round_up((uintptr_t)arena->reserved, HUGE_BYTES);
    arena->pins = arena->table;
    arena->taken = (uint64_t *)((uint8_t *)arena->table + pins_bytes);
    arena->warm = (uint64_t *)((uint8_t *)arena->table + pins_bytes + bits);
    /* Refused where the kernel was built without; no matter. */
    (void)madvise(arena->base, arena->base_bytes, MADV_HUGEPAGE);
    return 0;
}

struct arena *arena_new(struct budget *budget, size_t region_bytes)
{
    struct arena *arena = fault_here() ? NULL : calloc(1, sizeof *arena);
    if (!arena) {
        errno = ENOMEM;
        return NULL;
    }
    uint64_t slack = SLACK_BYTES / region_bytes + SLACK_REGIONS;
    uint64_t limit = budget_max(budget);
    uint64_t regions = (limit < RESERVE_MAX ? limit : RESERVE_MAX) / region_bytes + slack;
    arena->region_bytes = region_bytes;
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

const struct budget *arena_budget(const struct arena *arena)
{
    return arena->budget;
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

/* --- free regions -------------------------------------------------------------- */

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

region_t arena_take_free(struct arena *arena)
{
    LOCKED(&arena->lock);
    region_t region = bits_next(arena->taken, arena->low, arena->capacity, false);
    arena->low = region;
    if (region == arena->capacity || !open_upto(arena, arena_offset(arena, region) +
                                                           arena->region_bytes))
        return REGION_NONE;
    bits_set(arena->taken, region);
    if (arena->top <= region)
        arena->top = region + 1;
    return region;
}

void arena_give_back(struct arena *arena, region_t first, uint32_t count)
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
