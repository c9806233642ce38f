/* What is freed and stays warm. Cooled by hand: a busy machine may take longer than a second between
 * two lines, and the thread that cools would be in time. */
#include "memory/fixture.h"

#include "memory/warm.h"

extern unsigned warm_keep_ms;

static void what_was_needed_lately_stays_warm(void **state)
{
    (void)state;
    struct fixture f = make(64 * MIB, REGION);
    const unsigned n = 64 * MIB / REGION, kept = 8 * MIB / REGION;
    region_t *region = calloc(n, sizeof *region);
    take_many(&f, region, n, 1);
    struct arena_batch batch = {.arena = f.arena};
    for (unsigned i = 0; i < n; i++)
        arena_batch_retire(&batch, region[i]);
    arena_batch_flush(&batch);
    take_many(&f, region, n / 2, 2);
    for (unsigned i = 0; i < n / 2; i++)
        arena_retire(f.arena, region[i]);
    assert_false(budget_charge(f.budget, BUDGET_WARM, 1));
    assert_false(warm_cool(f.arena)); /* half of them was there all the time */
    uint64_t gone = (uint64_t)(n / 2 - kept) * REGION;
    assert_true(budget_charge(f.budget, BUDGET_WARM, gone));
    assert_false(budget_charge(f.budget, BUDGET_WARM, 1));
    budget_uncharge(f.budget, BUDGET_WARM, gone);
    assert_true(warm_cool(f.arena));
    assert_true(budget_charge(f.budget, BUDGET_WARM, (uint64_t)(n - kept) * REGION));
    assert_false(budget_charge(f.budget, BUDGET_WARM, 1));
    budget_uncharge(f.budget, BUDGET_WARM, (uint64_t)(n - kept) * REGION);
    free(region);
    unmake(&f);
}

static void what_is_warm_makes_room_for_other_arenas(void **state)
{
    (void)state;
    struct fixture f = make(64 * MIB, REGION);
    const unsigned n = 64 * MIB / REGION, kept = 8 * MIB / REGION;
    region_t *region = calloc(n, sizeof *region);
    struct fixture other = {f.budget, arena_new(f.budget, REGION)};
    take_many(&f, region, n, 1);
    for (unsigned i = 0; i < n; i++)
        arena_retire(f.arena, region[i]);
    take_many(&other, region, kept + 1, 2);
    /* A part went at each take, and only that: together they are within the limit. */
    assert_true(budget_charge(f.budget, BUDGET_WARM, (uint64_t)(kept + 1) * REGION));
    assert_false(budget_charge(f.budget, BUDGET_WARM, 32 * MIB));
    budget_uncharge(f.budget, BUDGET_WARM, (uint64_t)(kept + 1) * REGION);
    for (unsigned i = 0; i < kept + 1; i++)
        arena_retire(other.arena, region[i]);
    arena_drop(other.arena);
    free(region);
    unmake(&f);
}

static void what_is_warm_is_uncharged_with_the_arena(void **state)
{
    (void)state;
    struct budget *budget = budget_new(8 * MIB);
    for (unsigned closing = 0; closing < 2; closing++) {
        struct fixture f = {budget, arena_new(budget, REGION)};
        region_t region[4];
        take_many(&f, region, 4, 1);
        for (unsigned i = 0; i < 4; i++)
            arena_retire(f.arena, region[i]);
        assert_false(budget_charge(budget, BUDGET_WARM, 8 * MIB));
        if (closing)
            arena_close(f.arena);
        else
            arena_drop(f.arena);
        assert_true(budget_charge(budget, BUDGET_WARM, 8 * MIB));
        budget_uncharge(budget, BUDGET_WARM, 8 * MIB);
        if (closing) {
            take_many(&f, region, 1, 1);
            arena_retire(f.arena, region[0]);
            assert_true(budget_charge(budget, BUDGET_WARM, 8 * MIB));
            arena_drop(f.arena);
        }
    }
    budget_free(budget);
}

int main(void)
{
    warm_keep_ms = 600000;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_needed_lately_stays_warm),
        cmocka_unit_test(what_is_warm_makes_room_for_other_arenas),
        cmocka_unit_test(what_is_warm_is_uncharged_with_the_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
