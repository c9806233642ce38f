#include "helper.h"

#include "memory/budget.h"

static void a_charge_past_the_allowance_fails_and_changes_nothing(void **state)
{
    (void)state;
    struct budget *budget = budget_new(1000);
    assert_true(budget_charge(budget, BUDGET_REGIONS, 600));
    assert_false(budget_charge(budget, BUDGET_REGIONS, 401));
    assert_int_equal(budget_used(budget), 600);
    assert_true(budget_charge(budget, BUDGET_REGIONS, 400));
    assert_false(budget_charge(budget, BUDGET_REGIONS, 1));
    budget_uncharge(budget, BUDGET_REGIONS, 1000);
    assert_int_equal(budget_used(budget), 0);
    assert_false(budget_charge(budget, BUDGET_REGIONS, UINT64_MAX));
    budget_free(budget);
}

static void kinds_do_not_share_their_allowance(void **state)
{
    (void)state;
    struct budget *budget = budget_new(MIB);
    assert_true(budget_charge(budget, BUDGET_REGIONS, MIB));
    assert_true(budget_charge(budget, BUDGET_INDEX, 1));
    assert_true(budget_charge(budget, BUDGET_WARM, 1));
    assert_int_equal(budget_used(budget), MIB);
    budget_free(budget);
}

static void the_index_has_a_floor_and_a_share(void **state)
{
    (void)state;
    struct budget *none = budget_new(0);
    assert_true(budget_charge(none, BUDGET_INDEX, 4 * MIB));
    assert_false(budget_charge(none, BUDGET_INDEX, 1));
    budget_free(none);
    struct budget *large = budget_new(8 * GIB);
    assert_true(budget_charge(large, BUDGET_INDEX, GIB + 4 * MIB));
    assert_false(budget_charge(large, BUDGET_INDEX, 1));
    budget_free(large);
}

static void warm_memory_has_the_limit_and_a_ceiling(void **state)
{
    (void)state;
    const uint64_t limits[][2] = {{MIB, MIB}, {128 * MIB, 128 * MIB}, {UINT64_MAX, GIB}};
    for (unsigned i = 0; i < 3; i++) {
        struct budget *budget = budget_new(limits[i][0]);
        assert_true(budget_charge(budget, BUDGET_WARM, limits[i][1]));
        assert_false(budget_charge(budget, BUDGET_WARM, 1));
        budget_free(budget);
    }
}

static void it_lives_as_long_as_somebody_holds_it(void **state)
{
    (void)state;
    struct budget *budget = budget_new(5);
    budget_hold(budget);
    budget_free(budget);
    assert_int_equal(budget_max(budget), 5);
    budget_free(budget);
    budget_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_charge_past_the_allowance_fails_and_changes_nothing),
        cmocka_unit_test(kinds_do_not_share_their_allowance),
        cmocka_unit_test(the_index_has_a_floor_and_a_share),
        cmocka_unit_test(warm_memory_has_the_limit_and_a_ceiling),
        cmocka_unit_test(it_lives_as_long_as_somebody_holds_it),
    };
    return RUN_ALL(tests);
}
