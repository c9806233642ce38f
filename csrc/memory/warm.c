/* warm: regions that were freed and keep their memory for a while.
 *
 * A device that is trimmed is often filled again at once. Memory that went to the kernel in between
 * has to be faulted in and cleared once more, which takes longer than the copy into it. So what is
 * freed stays warm for a while, as allocators let it decay (jemalloc(3): dirty_decay_ms); what was
 * never needed for warm_keep_ms goes back.
 *
 * One thread for the process, there only while there is something to look after: an idle server has
 * none. Lock: `lock` guards the list and `running`; of others only an arena's is taken under it. */
#include "memory/warm.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/bits.h"
#include "base/lock.h"
#include "base/thread.h"
#include "memory/arena_private.h"

#define WARM_KEPT_BYTES (8 * MIB) /* of one arena, for good */

#ifdef CUSE_SCULLV_FAULTS
unsigned warm_keep_ms = 1000; /* for tests, some of which cool by hand */
#else
enum { warm_keep_ms = 1000 };
#endif

/* Keeps the first regions of the run warm, as many as there is room for: how many. */
uint32_t warm_keep(struct arena *arena, region_t first, uint32_t count)
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

static void unwarm(struct arena *arena, region_t first, uint32_t count)
{
    for (region_t region = first; region < first + count; region++)
        bits_clear(arena->warm, region);
    arena->warm_count -= count;
    budget_uncharge(arena->budget, BUDGET_WARM, (uint64_t)count * arena->region_bytes);
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

region_t warm_take(struct arena *arena)
{
    LOCKED(&arena->lock);
    if (arena->warm_count == 0)
        return REGION_NONE;
    region_t region = bits_next(arena->warm, arena->warm_first, arena->capacity, true);
    assert(region < arena->capacity);
    unwarm(arena, region, 1);
    arena->warm_first = region + 1;
    if (arena->warm_low > arena->warm_count)
        arena->warm_low = arena->warm_count;
    return region;
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
    unwarm(arena, *first, count);
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
            arena_give_back(arena, first, count);
            given += count;
        }
    }
    arena_sweep(arena);
    return given;
}

/* What was there all the time since the last look, even when the fewest were, was not needed. */
bool warm_cool(struct arena *arena)
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

uint64_t warm_yield(struct arena *arena, uint64_t bytes)
{
    uint64_t regions = bytes / arena->region_bytes + (bytes % arena->region_bytes != 0);
    uint32_t most = regions < arena->capacity ? (uint32_t)regions : arena->capacity;
    return (uint64_t)give_warm(arena, most) * arena->region_bytes;
}

/* --- the thread that looks after it ----------------------------------------------------------------- */

struct watched {
    struct watched *next;
    struct arena *arena; /* held */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct watched *list; /* lock */
static bool running;         /* lock */

static void *keep(void *unused);

/* With the lock held: whether there is a thread that keeps. */
static bool keeps(void)
{
    pthread_t thread;

    if (running)
        return true;
    if (thread_start(&thread, keep, NULL) < 0)
        return false;
    pthread_detach(thread);
    running = true;
    return true;
}

static void cool_now(struct arena *arena)
{
    while (!warm_cool(arena))
        warm_yield(arena, UINT64_MAX);
}

/* Hands the arena to the thread. Where there is none, nothing stays warm. */
static void watch(struct watched *watched)
{
    {
        LOCKED(&lock);
        if (keeps()) {
            watched->next = list;
            list = watched;
            return;
        }
    }
    cool_now(watched->arena);
    arena_drop(watched->arena);
    free(watched);
}

static void cool_all(struct watched *watched)
{
    while (watched) {
        struct watched *next = watched->next;

        if (warm_cool(watched->arena)) {
            arena_drop(watched->arena);
            free(watched);
        } else {
            watch(watched);
        }
        watched = next;
    }
}

static struct watched *take_list(void)
{
    LOCKED(&lock);
    struct watched *watched = list;

    list = NULL;
    return watched;
}

/* The thread ends where nothing is left to look after. */
static bool ends(void)
{
    LOCKED(&lock);
    running = list != NULL;
    return !running;
}

static void *keep(void *unused)
{
    const struct timespec while_warm = {warm_keep_ms / 1000, warm_keep_ms % 1000 * 1000000L};

    (void)unused;
    do {
        nanosleep(&while_warm, NULL);
        cool_all(take_list());
    } while (!ends());
    return NULL;
}

/* To be called after regions were kept, without the lock. */
void warm_watch(struct arena *arena)
{
    if (!to_be_watched(arena))
        return;
    struct watched *watched = malloc(sizeof(*watched));

    if (watched) {
        watched->arena = arena_hold(arena);
        watch(watched);
    } else {
        cool_now(arena);
    }
}

void warm_hurry(const struct budget *budget, uint64_t bytes)
{
    LOCKED(&lock);
    for (struct watched *watched = list; watched && bytes > 0; watched = watched->next) {
        uint64_t given = 0;

        if (arena_budget(watched->arena) == budget)
            given = warm_yield(watched->arena, bytes);
        bytes -= given < bytes ? given : bytes;
    }
}

void warm_close(struct arena *arena)
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
            unwarm(arena, first, count);
        }
        arena_give_back(arena, first, count);
    }
}
