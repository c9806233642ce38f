#include "helper.h"

#include "placement/callers.h"

static struct callers_look after(const uint32_t (*calls)[2], size_t count)
{
    static struct callers callers;

    callers = (struct callers){0};
    for (size_t i = 0; i < count; i++)
        callers_note(&callers, calls[i][0], &(struct seen){.pid = calls[i][1]});
    return callers_take(&callers);
}
#define AFTER(...)                                                                       \
    after((const uint32_t[][2]){__VA_ARGS__},                                            \
          sizeof((const uint32_t[][2]){__VA_ARGS__}) / sizeof(const uint32_t[2]))

static void one_caller_comes_once(void **state)
{
    (void)state;
    struct callers_look look = AFTER({1, 7}, {1, 7}, {1, 7});
    assert_int_equal(look.seen, 3);
    assert_int_equal(look.turns, 1);
    assert_int_equal(look.callers, 1);
    assert_int_equal(look.pid[0], 7);
    assert_false(look.left);
}

static void callers_in_pairs_take_turns_and_do_not_swap(void **state)
{
    (void)state;
    struct callers_look look = AFTER({1, 7}, {2, 8}, {1, 7}, {2, 8}, {1, 7}, {2, 8});
    assert_int_equal(look.turns, 6);
    assert_int_equal(look.swaps, 2);
    assert_int_equal(look.callers, 2);
}

static void callers_of_any_worker_swap(void **state)
{
    (void)state;
    struct callers_look look = AFTER({1, 7}, {2, 8}, {2, 7}, {1, 8}, {1, 7}, {2, 8});
    assert_int_equal(look.swaps, 6);
}

static void a_request_without_a_caller_is_no_turn(void **state)
{
    (void)state;
    struct callers_look look = AFTER({1, 7}, {1, 0}, {1, 7});
    assert_int_equal(look.seen, 3);
    assert_int_equal(look.turns, 1);
    assert_int_equal(look.swaps, 1);
}

static void workers_beyond_those_that_are_placed_do_not_swap(void **state)
{
    (void)state;
    struct callers_look look = AFTER({WORKERS_MAX, 7}, {UINT32_MAX, 8});
    assert_int_equal(look.turns, 2);
    assert_int_equal(look.swaps, 0);
}

static void large_requests_are_counted(void **state)
{
    (void)state;
    struct callers callers = {0};
    const ssize_t bytes[] = {-28, 0, 512, 32767, 32768, 1 << 20};
    for (unsigned i = 0; i < sizeof(bytes) / sizeof(*bytes); i++)
        callers_note(&callers, 1, &(struct seen){.pid = 7, .bytes = bytes[i]});
    struct callers_look look = callers_take(&callers);
    assert_int_equal(look.seen, 6);
    assert_int_equal(look.large, 2);
    assert_int_equal(callers_take(&callers).large, 0);
}

static void a_look_begins_anew(void **state)
{
    (void)state;
    struct callers callers = {0};
    callers_note(&callers, 1, &(struct seen){.pid = 7, .left = true});
    assert_true(callers_take(&callers).left);
    struct callers_look look = callers_take(&callers);
    assert_false(look.left);
    assert_int_equal(look.seen + look.turns + look.swaps + look.callers, 0);
    assert_int_equal(callers_last(&callers), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_caller_comes_once),
        cmocka_unit_test(callers_in_pairs_take_turns_and_do_not_swap),
        cmocka_unit_test(callers_of_any_worker_swap),
        cmocka_unit_test(a_request_without_a_caller_is_no_turn),
        cmocka_unit_test(workers_beyond_those_that_are_placed_do_not_swap),
        cmocka_unit_test(large_requests_are_counted),
        cmocka_unit_test(a_look_begins_anew),
    };
    return RUN_ALL(tests);
}
