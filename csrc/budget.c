/* budget: a limit in bytes that stores share.
 *
 * Three counters, each with its own allowance: the regions have the limit itself; the index has a
 * part of it and a floor, generous enough for positions far apart at the smallest quantum; what is
 * kept warm for reuse, most of it for a moment only (keeper.c), a part with a floor and a ceiling. A counter never exceeds its allowance, not even for a
 * moment, so that a charge fails only where the limit is really reached.
 *
 * No locks: each counter is an atomic, and nothing else follows from it. */
#include "budget.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fault.h"
#include "refs.h"

#define INDEX_SHARE 8u                /* of the limit, one part in so many, … */
#define INDEX_FLOOR (UINT64_C(4) << 20) /* … and this many bytes besides */
#define WARM_SHARE 8u
#define WARM_FLOOR (UINT64_C(8) << 20)    /* bytes, where the limit is that large */
#define WARM_CEILING (UINT64_C(512) << 20)

struct budget {
    refs_t refs;
    uint64_t allowance[BUDGET_KINDS]; /* bytes; constant */
    _Atomic uint64_t used[BUDGET_KINDS];
};

static uint64_t warm_allowance(uint64_t limit)
{
    uint64_t share = limit / WARM_SHARE;
    if (share < WARM_FLOOR)
        return limit < WARM_FLOOR ? limit : WARM_FLOOR;
    return share < WARM_CEILING ? share : WARM_CEILING;
}

struct budget *budget_new(uint64_t max_bytes)
{
    struct budget *budget = fault_here() ? NULL : calloc(1, sizeof *budget);
    if (!budget)
        return NULL;
    budget->refs = 1;
    budget->allowance[BUDGET_REGIONS] = max_bytes;
    budget->allowance[BUDGET_INDEX] = max_bytes / INDEX_SHARE + INDEX_FLOOR;
    budget->allowance[BUDGET_WARM] = warm_allowance(max_bytes);
    return budget;
}

struct budget *budget_hold(struct budget *budget)
{
    refs_hold(&budget->refs);
    return budget;
}

void budget_free(struct budget *budget)
{
    if (budget && refs_drop(&budget->refs))
        free(budget);
}

bool budget_charge(struct budget *budget, enum budget_kind kind, uint64_t bytes)
{
    uint64_t allowance = budget->allowance[kind];
    uint64_t used = atomic_load_explicit(&budget->used[kind], memory_order_relaxed);
    do {
        if (bytes > allowance - used)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->used[kind], &used, used + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void budget_uncharge(struct budget *budget, enum budget_kind kind, uint64_t bytes)
{
    uint64_t before =
        atomic_fetch_sub_explicit(&budget->used[kind], bytes, memory_order_relaxed);
    assert(before >= bytes);
    (void)before;
}

uint64_t budget_max(const struct budget *budget)
{
    return budget->allowance[BUDGET_REGIONS];
}

uint64_t budget_used(const struct budget *budget)
{
    return atomic_load_explicit(&budget->used[BUDGET_REGIONS], memory_order_relaxed);
}
