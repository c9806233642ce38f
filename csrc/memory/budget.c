/* budget: a limit in bytes that stores share.
 *
 * Three counters, each with its own allowance: the regions have the limit itself; the index has a
 * part of it and a floor, generous enough for positions far apart at the smallest quantum; what is
 * kept warm for reuse, most of it for a moment only (warm.c), has as much as the limit, with a
 * ceiling. A counter never exceeds its allowance, not even for a moment, so that a charge fails only
 * where the limit is really reached.
 *
 * No locks: each counter is an atomic, and nothing else follows from it. */
#include "memory/budget.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/refs.h"

#define INDEX_SHARE 8u                /* of the limit, one part in so many, … */
#define INDEX_FLOOR (UINT64_C(4) << 20) /* … and this many bytes besides */
#define WARM_CEILING (UINT64_C(1) << 30) /* bytes */

struct budget {
    refs_t refs;
    uint64_t allowance[BUDGET_KINDS]; /* bytes; constant */
    _Atomic uint64_t used[BUDGET_KINDS];
    int file_system; /* a descriptor of the one that keeps the limit; -1: we do */
};

struct budget *budget_new(uint64_t max_bytes)
{
    struct budget *budget = fault_here() ? NULL : calloc(1, sizeof *budget);
    if (!budget)
        return NULL;
    budget->refs = 1;
    budget->file_system = -1;
    budget->allowance[BUDGET_REGIONS] = max_bytes;
    budget->allowance[BUDGET_INDEX] = max_bytes / INDEX_SHARE + INDEX_FLOOR;
    budget->allowance[BUDGET_WARM] = max_bytes < WARM_CEILING ? max_bytes : WARM_CEILING;
    return budget;
}

struct budget *budget_hold(struct budget *budget)
{
    refs_hold(&budget->refs);
    return budget;
}

void budget_free(struct budget *budget)
{
    if (!budget || !refs_drop(&budget->refs))
        return;
    if (budget->file_system >= 0)
        close(budget->file_system);
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

bool budget_over(const struct budget *budget)
{
    return atomic_load_explicit(&budget->used[BUDGET_WARM], memory_order_relaxed) >
           budget->allowance[BUDGET_REGIONS] - budget_used(budget);
}

void budget_follow(struct budget *budget, int fd)
{
    budget->file_system = fd;
}

/* Bytes of the file system, and of those the ones in use. */
static bool ask_file_system(const struct budget *budget, uint64_t *most, uint64_t *used)
{
    struct statvfs st;

    if (budget->file_system < 0 || fstatvfs(budget->file_system, &st) < 0)
        return false;
    *used = (uint64_t)(st.f_blocks - st.f_bfree) * st.f_frsize;
    *most = *used + (uint64_t)st.f_bavail * st.f_frsize;
    return true;
}

uint64_t budget_max(const struct budget *budget)
{
    uint64_t most, used;

    return ask_file_system(budget, &most, &used) ? most : budget->allowance[BUDGET_REGIONS];
}

uint64_t budget_used(const struct budget *budget)
{
    uint64_t most, used;

    return ask_file_system(budget, &most, &used)
               ? used
               : atomic_load_explicit(&budget->used[BUDGET_REGIONS], memory_order_relaxed);
}
