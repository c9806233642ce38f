/* An arena to try, with its limit. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "helper.h"
#include "memory/arena.h"
#include "memory/recycle.h"

#define REGION (64 * KIB)
#define WARM_REGIONS (8 * MIB / REGION)

struct fixture {
    struct budget *budget;
    struct arena *arena;
};

static inline struct fixture make(uint64_t max_bytes, size_t region_bytes)
{
    struct fixture f = {.budget = budget_new(max_bytes)};
    f.arena = arena_new(f.budget, region_bytes);
    assert_non_null(f.arena);
    return f;
}

static inline void unmake(struct fixture *f)
{
    arena_drop(f->arena);
    budget_free(f->budget);
}

/* Takes `n` regions and fills them with `value`. */
static inline void take_many(struct fixture *f, region_t *region, unsigned n, uint8_t value)
{
    for (unsigned i = 0; i < n; i++) {
        bool zeroed;
        region[i] = arena_take(f->arena, &zeroed);
        assert_int_not_equal(region[i], REGION_NONE);
        memset(arena_address(f->arena, region[i]), value, arena_region_bytes(f->arena));
    }
}

#endif
