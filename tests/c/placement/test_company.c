#include "helper.h"

#include "placement/company.h"

static bool judge(struct company *company, uint32_t seen, uint32_t turns, bool left)
{
    return company_judge(company,
                         &(struct callers_look){.seen = seen, .turns = turns, .left = left});
}

static void one_caller_is_no_company(void **state)
{
    (void)state;
    struct company company = {0};
    for (unsigned look = 0; look < 1000; look++)
        assert_false(judge(&company, 100, look == 0, false));
    assert_false(company.several);
}

static void callers_who_take_turns_are_several_at_once(void **state)
{
    (void)state;
    struct company company = {0};
    assert_true(judge(&company, 100, 50, false));
    assert_true(company.several);
    assert_false(judge(&company, 100, 50, false));
}

static void a_parent_s_few_calls_are_no_company(void **state)
{
    (void)state;
    struct company company = {0};
    for (unsigned look = 0; look < 100; look++)
        assert_false(judge(&company, 100, 2, false));
}

static void few_requests_are_added_up_before_they_are_judged(void **state)
{
    (void)state;
    struct company company = {0};
    for (unsigned look = 0; look < 15; look++)
        assert_false(judge(&company, 1, 1, false));
    assert_true(judge(&company, 1, 1, false));
}

static void a_client_without_a_turn_for_a_while_is_not_forgotten(void **state)
{
    (void)state;
    struct company company = {0};
    unsigned looks = 0;
    judge(&company, 100, 50, false);
    while (!judge(&company, 100, 0, false))
        looks++;
    assert_false(company.several);
    assert_in_range(looks, 50, 100);
}

static void who_closes_a_file_may_have_been_the_company(void **state)
{
    (void)state;
    struct company company = {0};
    judge(&company, 100, 50, false);
    assert_false(judge(&company, 100, 50, true));
    assert_false(judge(&company, 100, 50, false)); /* others are left */
    assert_false(judge(&company, 100, 50, true));
    assert_true(judge(&company, 100, 1, false));
    assert_false(company.several);
    assert_false(judge(&company, 100, 50, true)); /* he was there, and is not any more */
}

static unsigned callers_after(struct company *company, unsigned callers)
{
    company_judge(company, &(struct callers_look){.seen = 100, .turns = 50, .callers = callers});
    return company->callers;
}

static void callers_are_as_many_as_were_seen_lately(void **state)
{
    (void)state;
    struct company company = {0};
    assert_int_equal(callers_after(&company, 4), 4);
    for (unsigned look = 0; look < 16; look++)
        assert_int_equal(callers_after(&company, 3), 4);
    assert_int_equal(callers_after(&company, 3), 3);
    assert_int_equal(callers_after(&company, 5), 5);
}

static void who_left_is_not_counted(void **state)
{
    (void)state;
    struct company company = {0};
    assert_int_equal(callers_after(&company, 4), 4);
    judge(&company, 100, 50, true);
    assert_int_equal(company.callers, 2);
    assert_int_equal(callers_after(&company, 3), 3);
}

static void one_caller_counts_one(void **state)
{
    (void)state;
    struct company company = {0};
    assert_int_equal(callers_after(&company, 4), 4);
    judge(&company, 100, 1, true);
    judge(&company, 100, 1, false);
    assert_int_equal(company.callers, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_caller_is_no_company),
        cmocka_unit_test(callers_who_take_turns_are_several_at_once),
        cmocka_unit_test(a_parent_s_few_calls_are_no_company),
        cmocka_unit_test(few_requests_are_added_up_before_they_are_judged),
        cmocka_unit_test(a_client_without_a_turn_for_a_while_is_not_forgotten),
        cmocka_unit_test(who_closes_a_file_may_have_been_the_company),
        cmocka_unit_test(callers_are_as_many_as_were_seen_lately),
        cmocka_unit_test(who_left_is_not_counted),
        cmocka_unit_test(one_caller_counts_one),
    };
    return RUN_ALL(tests);
}
