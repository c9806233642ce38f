#include "helper.h"

#include "placement/pairs.h"

#define LOOK INT64_C(4000000) /* ns between looks */

struct device {
    struct pairs pairs;
    int64_t now;
    uint32_t seen;
};

static struct device new_device(void)
{
    struct device device = {.seen = 300};

    pairs_init(&device.pairs, 0);
    return device;
}

static enum pairs_step look_at(struct device *device, uint32_t swaps, bool crowded)
{
    device->now += LOOK;
    return pairs_look(&device->pairs, device->now, device->seen, swaps, crowded);
}

static enum pairs_step mixed(struct device *device, bool crowded)
{
    return look_at(device, device->seen / 2, crowded);
}

/* Looks at mixed requests until something is done. */
static unsigned patience(struct device *device)
{
    for (unsigned looks = 1; looks < 1000; looks++)
        if (mixed(device, false) != PAIRS_LEAVE)
            return looks;
    return 0;
}

static void who_is_in_pairs_is_left_alone(void **state)
{
    (void)state;
    struct device device = new_device();
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(look_at(&device, 10, true), PAIRS_LEAVE);
        assert_false(pairs_ask(&device.pairs, device.seen, 10));
    }
}

static void one_mixed_look_is_chance(void **state)
{
    (void)state;
    struct device device = new_device();
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(look_at(&device, i % 2 ? 10 : 200, true), PAIRS_LEAVE);
}

static void a_few_requests_say_nothing(void **state)
{
    (void)state;
    struct device device = new_device();
    device.seen = 15;
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(mixed(&device, true), PAIRS_LEAVE);
    assert_false(pairs_ask(&device.pairs, 15, 15));
}

static void workers_of_clients_that_are_apart_get_a_cpu_each(void **state)
{
    (void)state;
    struct device device = new_device();
    assert_false(pairs_ask(&device.pairs, 300, 150)); /* nothing would be done yet */
    assert_int_equal(mixed(&device, false), PAIRS_LEAVE);
    assert_true(pairs_ask(&device.pairs, 300, 150));
    assert_int_equal(mixed(&device, false), PAIRS_SPLIT);
    assert_int_equal(mixed(&device, false), PAIRS_LEAVE);
}

static void workers_of_a_crowd_go_there_until_it_breaks_up(void **state)
{
    (void)state;
    struct device device = new_device();
    mixed(&device, true);
    assert_int_equal(mixed(&device, true), PAIRS_GATHER);
    assert_true(pairs_ask(&device.pairs, 300, 0)); /* on one CPU, they are paired */
    assert_int_equal(look_at(&device, 0, true), PAIRS_GATHER);
    assert_int_equal(look_at(&device, 0, false), PAIRS_SPLIT);
    assert_int_equal(look_at(&device, 0, false), PAIRS_LEAVE);
}

static void a_crowd_that_stays_is_given_up(void **state)
{
    (void)state;
    struct device device = new_device();
    unsigned looks = 0;
    mixed(&device, true);
    while (mixed(&device, true) == PAIRS_GATHER)
        looks++;
    assert_in_range(looks, 4, 16);
    assert_int_equal(device.pairs.state, SPLIT);
    assert_int_equal(mixed(&device, true), PAIRS_LEAVE);
}

static void what_helps_is_done_again_soon(void **state)
{
    (void)state;
    struct device device = new_device();
    for (unsigned i = 0; i < 5; i++) {
        device.seen = 300;
        assert_int_equal(patience(&device), 2);
        device.seen = 900;
        for (unsigned look = 0; look < 10; look++)
            assert_int_equal(look_at(&device, 10, false), PAIRS_LEAVE);
    }
}

static void what_does_not_help_is_done_ever_more_seldom(void **state)
{
    (void)state;
    struct device device = new_device();
    unsigned before = patience(&device), now = 0;
    for (unsigned i = 0; i < 12; i++) {
        for (unsigned look = 0; look < 3; look++) /* leaves, and measures */
            mixed(&device, false);
        now = patience(&device);
        assert_true(now >= before);
        before = now;
    }
    assert_in_range(now, 200, 300); /* a second */
    pairs_init(&device.pairs, device.now);
    assert_int_equal(patience(&device), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_in_pairs_is_left_alone),
        cmocka_unit_test(one_mixed_look_is_chance),
        cmocka_unit_test(a_few_requests_say_nothing),
        cmocka_unit_test(workers_of_clients_that_are_apart_get_a_cpu_each),
        cmocka_unit_test(workers_of_a_crowd_go_there_until_it_breaks_up),
        cmocka_unit_test(a_crowd_that_stays_is_given_up),
        cmocka_unit_test(what_helps_is_done_again_soon),
        cmocka_unit_test(what_does_not_help_is_done_ever_more_seldom),
    };
    return RUN_ALL(tests);
}
