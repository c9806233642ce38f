#include "helper.h"

#include "placement/trial.h"

#define MS INT64_C(1000000)
#define LOOK (4 * MS)

/* A machine on which way `i` answers speed[i] requests a look. */
struct machine {
    struct trial trial;
    int64_t now;
    uint32_t speed[TRIAL_WAYS];
    uint64_t answered, looks[TRIAL_WAYS];
};

static struct machine machine(unsigned ways, uint32_t first, uint32_t second, uint32_t third)
{
    struct machine m = {.now = 1000 * MS, .speed = {first, second, third}};
    trial_init(&m.trial, m.now, ways, 0, 1, true);
    return m;
}

static void pass(struct machine *m, enum trial_time time)
{
    uint32_t requests = m->speed[m->trial.way];
    m->answered += requests;
    m->looks[m->trial.way]++;
    m->now += LOOK;
    trial_look(&m->trial, m->now, requests, time);
}

static void pass_ms(struct machine *m, int64_t ms)
{
    for (int64_t until = m->now + ms * MS; m->now < until;)
        pass(m, TIME_BUSY);
}

/* Until a trial begins. */
static void pass_hold(struct machine *m)
{
    while (m->trial.window < 0)
        pass(m, TIME_BUSY);
}

/* What is left of the trial that is on. */
static void pass_trial(struct machine *m)
{
    while (m->trial.window >= 0)
        pass(m, TIME_BUSY);
}

static void it_begins_with_the_first_way(void **state)
{
    (void)state;
    struct machine m = machine(3, 1, 1, 1);
    assert_int_equal(m.trial.way, 0);
}

static void the_fastest_way_is_found_and_kept(void **state)
{
    (void)state;
    for (unsigned fastest = 0; fastest < 3; fastest++) {
        struct machine m = machine(3, 100, 100, 100);
        m.speed[fastest] = 200;
        pass_ms(&m, 300);
        assert_int_equal(m.trial.best, fastest);
        m.answered = 0;
        pass_ms(&m, 20000);
        /* What trials cost, once the way is found. */
        assert_in_range(m.answered, 20000 / 4 * 200 * 97 / 100, 20000 / 4 * 200);
    }
}

static void a_slightly_faster_way_is_not_worth_a_change(void **state)
{
    (void)state;
    struct machine m = machine(3, 100, 105, 104);
    pass_ms(&m, 10000);
    assert_int_equal(m.trial.best, 0);
    assert_true(m.looks[1] > 0 && m.looks[2] > 0);
}

static void one_disturbed_window_decides_nothing(void **state)
{
    (void)state;
    struct machine m = machine(2, 100, 60, 0);
    while (m.trial.window != 0)
        pass(&m, TIME_BUSY);
    m.speed[0] = 10;
    while (m.trial.window == 0)
        pass(&m, TIME_BUSY);
    m.speed[0] = 100;
    pass_trial(&m);
    assert_int_equal(m.trial.best, 0);
}

static void what_is_hopeless_is_tried_once_in_a_trial(void **state)
{
    (void)state;
    struct machine m = machine(3, 100, 60, 90);
    pass_hold(&m);
    m.looks[1] = m.looks[2] = 0;
    pass_trial(&m);
    assert_int_equal(m.looks[2], 2 * m.looks[1]);
    assert_int_equal(m.trial.best, 0);
}

/* As workers have to wake up, or to move. */
static void the_change_to_another_way_does_not_count(void **state)
{
    (void)state;
    struct machine m = machine(2, 100, 150, 0);
    pass_hold(&m);
    while (m.trial.window >= 0) {
        m.speed[1] = m.trial.settles ? 10 : 150;
        pass(&m, TIME_BUSY);
    }
    assert_int_equal(m.trial.best, 1);
}

static void what_becomes_slow_is_given_up(void **state)
{
    (void)state;
    struct machine m = machine(3, 200, 100, 100);
    pass_ms(&m, 10000);
    m.speed[0] = 10;
    pass_ms(&m, 10000);
    assert_int_not_equal(m.trial.best, 0);
}

static void idle_time_tries_nothing(void **state)
{
    (void)state;
    struct machine m = machine(3, 100, 200, 200);
    for (unsigned look = 0; look < 1000; look++)
        pass(&m, TIME_IDLE);
    assert_int_equal(m.looks[0], 1000);
}

static void a_window_with_idle_time_begins_again(void **state)
{
    (void)state;
    struct machine m = machine(2, 100, 10, 0);
    while (m.trial.window != 1)
        pass(&m, TIME_BUSY);
    m.speed[1] = 100000; /* would win */
    pass(&m, TIME_IDLE);
    m.speed[1] = 10;
    pass_trial(&m);
    assert_int_equal(m.trial.best, 0);
}

static void another_client_begins_the_trial_again(void **state)
{
    (void)state;
    struct machine m = machine(2, 100, 100, 0);
    while (m.trial.window != 2)
        pass(&m, TIME_BUSY);
    pass(&m, TIME_OTHER);
    assert_int_equal(m.trial.window, 0);
    assert_true(m.trial.rate[0] == 0 && m.trial.rate[1] == 0);
}

static void who_starves_gets_the_calm_way_at_once(void **state)
{
    (void)state;
    struct machine m = machine(3, 100, 100, 100);
    pass(&m, TIME_STARVED);
    assert_int_equal(m.trial.way, 1);
    pass(&m, TIME_STARVED);
    assert_int_equal(m.trial.way, 1);
    pass_ms(&m, 10000); /* and what is best is found again */
    assert_int_equal(m.trial.best, 1);
    assert_true(m.looks[0] > 1);
}

static void where_it_is_crowded_nothing_is_tried(void **state)
{
    (void)state;
    struct machine m = machine(3, 100, 50, 200);
    for (unsigned look = 0; look < 1000; look++)
        pass(&m, TIME_CROWDED);
    assert_int_equal(m.looks[1], 999);
    pass_ms(&m, 10000); /* and it is where there is room */
    assert_int_equal(m.trial.best, 2);
}

static void a_moment_s_crowd_is_soon_forgotten(void **state)
{
    (void)state;
    struct machine m = machine(3, 200, 100, 100);
    pass(&m, TIME_CROWDED);
    pass_ms(&m, 400);
    assert_int_equal(m.trial.best, 0);
}

static void a_contest_that_does_not_yield_goes_on_in_a_crowd(void **state)
{
    (void)state;
    struct machine m = machine(2, 100, 200, 0);
    m.trial.yields = false;
    for (unsigned look = 0; look < 1000; look++)
        pass(&m, TIME_CROWDED);
    assert_int_equal(m.trial.best, 1);
}

static void what_was_best_is_given_up_where_it_gets_crowded(void **state)
{
    (void)state;
    struct machine m = machine(3, 100, 50, 200);
    pass_ms(&m, 1000);
    assert_int_equal(m.trial.way, 2);
    pass(&m, TIME_CROWDED);
    assert_int_equal(m.trial.way, 1);
}

static void who_starves_in_a_trial_is_not_tried_twice(void **state)
{
    (void)state;
    struct machine m = machine(2, 100, 1, 0);
    pass_hold(&m);
    m.looks[1] = 0;
    while (m.trial.window >= 0) {
        bool second = m.trial.way == 1;
        m.now += second ? 500 * MS : 0;
        pass(&m, second ? TIME_STARVED : TIME_BUSY);
    }
    assert_int_equal(m.looks[1], 1);
    assert_int_equal(m.trial.best, 0);
}

static void who_follows_a_death_is_calm_first(void **state)
{
    (void)state;
    struct machine m = machine(3, 200, 100, 100);
    trial_be_calm(&m.trial, m.now);
    pass_ms(&m, 900);
    assert_int_equal(m.looks[1], 900 / 4);
    pass_ms(&m, 500); /* and what is best is found then */
    assert_int_equal(m.trial.best, 0);
}

static void slow_trials_are_rare(void **state)
{
    (void)state;
    struct machine m = machine(2, 100, 1, 0);
    int64_t began = m.now, in_trial = 0;
    while (m.now - began < 100000 * MS) {
        /* The second way lets a look wait for half a second. */
        m.now += m.trial.way == 1 ? 500 * MS : 0;
        in_trial += m.trial.way == 1 ? 500 * MS : 0;
        pass(&m, TIME_BUSY);
    }
    assert_in_range(in_trial, 1, (m.now - began) / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_with_the_first_way),
        cmocka_unit_test(the_fastest_way_is_found_and_kept),
        cmocka_unit_test(a_slightly_faster_way_is_not_worth_a_change),
        cmocka_unit_test(one_disturbed_window_decides_nothing),
        cmocka_unit_test(what_is_hopeless_is_tried_once_in_a_trial),
        cmocka_unit_test(the_change_to_another_way_does_not_count),
        cmocka_unit_test(what_becomes_slow_is_given_up),
        cmocka_unit_test(idle_time_tries_nothing),
        cmocka_unit_test(a_window_with_idle_time_begins_again),
        cmocka_unit_test(another_client_begins_the_trial_again),
        cmocka_unit_test(who_starves_gets_the_calm_way_at_once),
        cmocka_unit_test(where_it_is_crowded_nothing_is_tried),
        cmocka_unit_test(a_moment_s_crowd_is_soon_forgotten),
        cmocka_unit_test(a_contest_that_does_not_yield_goes_on_in_a_crowd),
        cmocka_unit_test(what_was_best_is_given_up_where_it_gets_crowded),
        cmocka_unit_test(who_starves_in_a_trial_is_not_tried_twice),
        cmocka_unit_test(who_follows_a_death_is_calm_first),
        cmocka_unit_test(slow_trials_are_rare),
    };
    return RUN_ALL(tests);
}
