#include "memory/fixture.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include "memory/warm.h"

static void regions_are_apart_and_read_as_zeros(void **state)
{
    (void)state;
    struct fixture f = make(MIB, 4096);
    for (unsigned i = 0; i < 256; i++) {
        bool zeroed = false;
        region_t region = arena_take(f.arena, &zeroed);
        assert_int_equal(region, i); /* lowest first */
        assert_true(zeroed);
        uint8_t *at = arena_address(f.arena, region);
        assert_int_equal((uintptr_t)at % 4096, 0);
        assert_int_equal(arena_offset(f.arena, region), i * 4096);
        assert_all(at, 4096, 0);
        memset(at, 0xee, 4096);
    }
    assert_int_equal(budget_used(f.budget), MIB);
    unmake(&f);
}

static void the_limit_holds_and_retiring_makes_room(void **state)
{
    (void)state;
    struct fixture f = make(3 * REGION + 1, REGION);
    region_t region[3];
    bool zeroed;
    take_many(&f, region, 3, 1);
    assert_int_equal(arena_take(f.arena, &zeroed), REGION_NONE);
    assert_int_equal(budget_used(f.budget), 3 * REGION);
    arena_retire(f.arena, region[1]);
    assert_int_equal(budget_used(f.budget), 2 * REGION);
    assert_int_equal(arena_take(f.arena, &zeroed), region[1]);
    unmake(&f);
}

static void spares_are_charged_only_when_kept(void **state)
{
    (void)state;
    struct fixture f = make(REGION, REGION);
    bool zeroed;
    region_t one = arena_take_spare(f.arena, &zeroed);
    region_t two = arena_take_spare(f.arena, &zeroed);
    assert_int_not_equal(one, REGION_NONE);
    assert_int_not_equal(two, REGION_NONE);
    assert_int_equal(budget_used(f.budget), 0);
    assert_true(arena_keep(f.arena, one));
    assert_false(arena_keep(f.arena, two));
    arena_unkeep(f.arena, one);
    assert_true(arena_keep(f.arena, two));
    assert_int_equal(budget_used(f.budget), REGION);
    arena_give_spare(f.arena, one);
    arena_retire(f.arena, two);
    assert_int_equal(budget_used(f.budget), 0);
    unmake(&f);
}

static void a_region_called_zeroed_never_shows_old_bytes(void **state)
{
    (void)state;
    struct fixture f = make(32 * MIB, REGION);
    const unsigned n = 32 * MIB / REGION;
    region_t *region = calloc(n, sizeof *region);
    for (unsigned round = 0; round < 3; round++) {
        unsigned clean = 0;
        take_many(&f, region, n, 0xaa);
        for (unsigned i = 0; i < n; i++) /* in no order */
            arena_retire(f.arena, region[i * 37 % n]);
        assert_in_range(warm_yield(f.arena, UINT64_MAX), 0, 24 * MIB);
        for (unsigned i = 0; i < n; i++) {
            bool zeroed;
            region[i] = arena_take(f.arena, &zeroed);
            clean += zeroed;
            if (zeroed)
                assert_all(arena_address(f.arena, region[i]), REGION, 0);
        }
        assert_int_equal(clean, n - WARM_REGIONS);
        for (unsigned i = 0; i < n; i++)
            arena_retire(f.arena, region[i]);
    }
    free(region);
    unmake(&f);
}

static void a_pinned_region_is_recycled_when_the_last_pin_goes(void **state)
{
    (void)state;
    struct fixture f = make(4 * REGION, REGION);
    region_t region;
    bool zeroed;
    take_many(&f, &region, 1, 0x55);
    assert_true(arena_pin_read(f.arena, region));
    assert_true(arena_pin_read(f.arena, region));
    arena_retire(f.arena, region);
    assert_int_equal(budget_used(f.budget), 0);
    arena_unpin_read(f.arena, region);
    assert_int_not_equal(arena_take(f.arena, &zeroed), region);
    assert_all(arena_address(f.arena, region), REGION, 0x55);
    arena_unpin_read(f.arena, region);
    assert_int_equal(arena_take(f.arena, &zeroed), region);
    unmake(&f);
}

static void memory_goes_back_but_for_what_is_kept_warm(void **state)
{
    (void)state;
    struct fixture f = make(128 * MIB, REGION);
    const unsigned n = 128 * MIB / REGION;
    region_t *region = calloc(n, sizeof *region);
    take_many(&f, region, n, 1);
    uint64_t full = resident();
    struct arena_batch batch = {.arena = f.arena};
    for (unsigned i = 0; i < n; i++)
        arena_batch_retire(&batch, region[i]);
    assert_int_equal(batch.runs, 1);
    arena_batch_flush(&batch);
    arena_sweep(f.arena);
    assert_int_equal(budget_used(f.budget), 0);
    assert_true(falls_to(full - 118 * MIB));
    free(region);
    unmake(&f);
}

static void a_batch_takes_regions_in_any_order(void **state)
{
    (void)state;
    struct fixture f = make(40 * MIB, 4096);
    const unsigned n = 40 * MIB / 4096;
    region_t *region = calloc(n, sizeof *region);
    take_many(&f, region, n, 3);
    struct arena_batch batch = {.arena = f.arena};
    for (unsigned i = 0; i < n; i++)
        arena_batch_retire(&batch, region[i * 1031 % n]);
    arena_batch_flush(&batch);
    assert_int_equal(budget_used(f.budget), 0);
    arena_sweep(f.arena);
    take_many(&f, region, n, 4); /* every one is there again, once */
    uint8_t *seen = calloc(n, 1);
    for (unsigned i = 0; i < n; i++) {
        assert_in_range(region[i], 0, n - 1);
        assert_int_equal(seen[region[i]]++, 0);
    }
    free(seen);
    free(region);
    unmake(&f);
}

static void a_sweep_leaves_what_is_in_use(void **state)
{
    (void)state;
    struct fixture f = make(64 * MIB, REGION);
    const unsigned n = 64 * MIB / REGION;
    region_t *region = calloc(n, sizeof *region);
    take_many(&f, region, n, 7);
    for (unsigned i = 0; i < n; i++)
        if (i % 3 != 0)
            arena_retire(f.arena, region[i]);
    arena_sweep(f.arena);
    for (unsigned i = 0; i < n; i += 3)
        assert_all(arena_address(f.arena, region[i]), REGION, 7);
    free(region);
    unmake(&f);
}

static void any_limit_and_any_region_size_make_an_arena(void **state)
{
    (void)state;
    const uint64_t limits[] = {0, 1, MIB, UINT64_C(1) << 50, UINT64_MAX};
    const size_t sizes[] = {4096, 3 * 4096, 64 * KIB, 64 * MIB};
    for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++)
        for (unsigned j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            struct fixture f = make(limits[i], sizes[j]);
            bool zeroed;
            region_t region = arena_take_spare(f.arena, &zeroed);
            assert_int_not_equal(region, REGION_NONE);
            arena_address(f.arena, region)[sizes[j] - 1] = 1;
            unmake(&f);
        }
}

static void an_arena_makes_do_with_less_address_space(void **state)
{
    (void)state;
    if (SANITIZED)
        skip(); /* sanitizers need address space themselves */
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {GIB, GIB};
        bool zeroed;
        setrlimit(RLIMIT_AS, &limit);
        struct arena *arena = arena_new(budget_new(64 * GIB), REGION);
        region_t region = arena ? arena_take(arena, &zeroed) : REGION_NONE;
        _exit(region == REGION_NONE ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_are_apart_and_read_as_zeros),
        cmocka_unit_test(the_limit_holds_and_retiring_makes_room),
        cmocka_unit_test(spares_are_charged_only_when_kept),
        cmocka_unit_test(a_region_called_zeroed_never_shows_old_bytes),
        cmocka_unit_test(a_pinned_region_is_recycled_when_the_last_pin_goes),
        cmocka_unit_test(memory_goes_back_but_for_what_is_kept_warm),
        cmocka_unit_test(a_batch_takes_regions_in_any_order),
        cmocka_unit_test(a_sweep_leaves_what_is_in_use),
        cmocka_unit_test(any_limit_and_any_region_size_make_an_arena),
        cmocka_unit_test(an_arena_makes_do_with_less_address_space),
    };
    return RUN_ALL(tests);
}
