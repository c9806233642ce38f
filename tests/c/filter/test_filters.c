/* Filters: what they make of requests, in which order, by which chance; and who waits for them. */
#include "helper.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>

#include "base/fault.h"
#include "filter/filters.h"
#include "filter/flip.h"

#define READ_WRITE (1u << CALL_READ | 1u << CALL_WRITE)
#define MS UINT64_C(1000000)

static const struct filter_spec always = {.ops = READ_WRITE, .chance = CHANCE_ALWAYS};

static struct filter_spec spec_of(enum filter_kind kind)
{
    struct filter_spec spec = always;

    spec.kind = kind;
    spec.error = EIO;
    return spec;
}

static struct filters *with(const struct filter_spec *spec)
{
    struct filters *filters = filters_new(-1, 0);

    assert_non_null(filters);
    assert_int_equal(filters_add(filters, spec), 1);
    return filters;
}

static struct verdict judge(struct filters *filters, enum call_kind kind, uint64_t bytes)
{
    const struct filtered request = {.kind = kind, .bytes = bytes};
    struct verdict verdict;

    filters_judge(filters, &request, &verdict);
    return verdict;
}

static struct filter_seen seen_of(struct filters *filters, uint64_t number)
{
    struct filter_seen seen;

    assert_true(filters_next(filters, number - 1, &seen));
    assert_int_equal(seen.number, number);
    return seen;
}

static unsigned errors_of(struct filters *filters, unsigned requests)
{
    unsigned errors = 0;

    for (unsigned i = 0; i < requests; i++)
        errors += judge(filters, CALL_READ, 1000).error != 0;
    return errors;
}

/* --- when ---------------------------------------------------------------------------------------- */

static void test_chance_is_kept_and_comes_of_the_seed(void **state)
{
    struct filter_spec spec = spec_of(FILTER_ERROR);
    unsigned first = 0, again, other;

    (void)state;
    spec.chance = CHANCE_ALWAYS / 10;
    for (unsigned turn = 0; turn < 3; turn++) {
        struct filters *filters;

        spec.seed = turn < 2 ? 1 : 2;
        filters = with(&spec);
        *(turn == 0 ? &first : turn == 1 ? &again : &other) = errors_of(filters, 10000);
        assert_int_equal(seen_of(filters, 1).seen, 10000);
        filters_free(filters);
    }
    assert_int_equal(first, again);
    assert_int_not_equal(first, other);
    assert_in_range(first, 850, 1150); /* 5 standard deviations of 30 */
    assert_in_range(other, 850, 1150);
}

static void test_it_acts_so_often_and_after_so_much(void **state)
{
    struct filter_spec spec = spec_of(FILTER_ERROR);
    struct filters *filters;

    (void)state;
    spec.count = 3;
    spec.after_bytes = 5000;
    filters = with(&spec);
    assert_int_equal(errors_of(filters, 5), 0);
    assert_int_equal(errors_of(filters, 3), 3);
    assert_int_equal(errors_of(filters, 100), 0);
    assert_int_equal(seen_of(filters, 1).acted, 3);
    assert_int_equal(seen_of(filters, 1).seen, 108);
    filters_free(filters);
}

static void test_it_waits_for_its_time(void **state)
{
    struct filter_spec spec = spec_of(FILTER_ERROR);
    struct filters *filters;

    (void)state;
    spec.after_ns = 20 * MS;
    filters = with(&spec);
    assert_int_equal(errors_of(filters, 1), 0);
    usleep(21000);
    assert_int_equal(errors_of(filters, 1), 1);
    filters_free(filters);
}

static void test_it_acts_while_its_file_is_there(void **state)
{
    struct filter_spec spec = spec_of(FILTER_ERROR);
    struct filters *filters;
    int fd;

    (void)state;
    snprintf(spec.file, sizeof(spec.file), "/tmp/test_filters.%d", (int)getpid());
    filters = with(&spec);
    assert_int_equal(errors_of(filters, 2), 0);
    fd = open(spec.file, O_CREAT | O_WRONLY | O_EXCL, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(errors_of(filters, 2), 2);
    assert_int_equal(unlink(spec.file), 0);
    assert_int_equal(errors_of(filters, 2), 0);
    filters_free(filters);
}

/* --- what ---------------------------------------------------------------------------------------- */

static void test_a_filter_concerns_its_operations_only(void **state)
{
    struct filter_spec spec = spec_of(FILTER_ERROR);
    struct filters *filters;

    (void)state;
    spec.ops = 1u << CALL_WRITE;
    filters = with(&spec);
    assert_int_equal(judge(filters, CALL_READ, 10).error, 0);
    assert_int_equal(judge(filters, CALL_WRITE, 10).error, EIO);
    assert_int_equal(seen_of(filters, 1).seen, 1);
    filters_free(filters);
}

static void test_filters_act_in_order_until_one_ends_it(void **state)
{
    struct filter_spec delay = spec_of(FILTER_DELAY), error = spec_of(FILTER_ERROR);
    struct filters *filters;
    struct verdict verdict;

    (void)state;
    delay.delay_ns = 5 * MS;
    filters = with(&delay);
    assert_int_equal(filters_add(filters, &delay), 2);
    assert_int_equal(filters_add(filters, &error), 3);
    assert_int_equal(filters_add(filters, &delay), 4);
    verdict = judge(filters, CALL_READ, 10);
    assert_int_equal(verdict.delay_ns, 10 * MS);
    assert_int_equal(verdict.error, EIO);
    assert_int_equal(seen_of(filters, 4).seen, 0);
    assert_int_equal(filters_remove(filters, 3), 0);
    verdict = judge(filters, CALL_READ, 10);
    assert_int_equal(verdict.delay_ns, 15 * MS);
    assert_int_equal(verdict.error, 0);
    filters_free(filters);
}

static void test_jitter_lies_on_both_sides(void **state)
{
    struct filter_spec spec = spec_of(FILTER_DELAY);
    struct filters *filters;
    uint64_t least = UINT64_MAX, most = 0;

    (void)state;
    spec.delay_ns = 5 * MS;
    spec.jitter_ns = 2 * MS;
    filters = with(&spec);
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t delay = judge(filters, CALL_READ, 10).delay_ns;

        assert_in_range(delay, 3 * MS, 7 * MS);
        least = delay < least ? delay : least;
        most = delay > most ? delay : most;
    }
    assert_true(least < 31 * MS / 10);
    assert_true(most > 69 * MS / 10);
    filters_free(filters);
}

static void test_a_rate_adds_up(void **state)
{
    struct filter_spec spec = spec_of(FILTER_RATE);
    struct filters *filters;
    uint64_t delay = 0;

    (void)state;
    spec.bytes = 1000000;
    filters = with(&spec);
    for (unsigned i = 0; i < 10; i++)
        delay = judge(filters, CALL_WRITE, 100000).delay_ns;
    assert_in_range(delay, 900 * MS, 1000 * MS); /* less what the loop took */
    filters_free(filters);
}

static void test_something_is_left_of_a_short_one(void **state)
{
    struct filter_spec spec = spec_of(FILTER_SHORT);
    struct filters *filters = with(&spec);

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        assert_in_range(judge(filters, CALL_READ, 1 + i % 7).bytes, 1, i % 7 ? i % 7 : 1);
    filters_free(filters);
}

static void test_readonly_refuses_writers_alone(void **state)
{
    struct filter_spec spec = spec_of(FILTER_READONLY);
    struct filters *filters;

    (void)state;
    spec.ops = 1u << CALL_OPEN | 1u << CALL_WRITE;
    spec.error = EROFS;
    filters = with(&spec);
    for (int mode = O_RDONLY; mode <= O_ACCMODE; mode++) {
        const struct filtered open = {.kind = CALL_OPEN, .flags = mode | O_NONBLOCK};
        struct verdict verdict;

        filters_judge(filters, &open, &verdict);
        assert_int_equal(verdict.error, mode == O_WRONLY || mode == O_RDWR ? EROFS : 0);
    }
    assert_int_equal(judge(filters, CALL_WRITE, 1).error, EROFS);
    filters_free(filters);
}

static void test_what_hung_up_stays_so(void **state)
{
    struct filter_spec spec = spec_of(FILTER_HANGUP);
    struct filters *filters;
    struct verdict verdict;

    (void)state;
    spec.ops |= 1u << CALL_POLL;
    spec.after_bytes = 2000;
    filters = with(&spec);
    assert_int_equal(errors_of(filters, 2), 0);
    assert_int_equal(errors_of(filters, 5), 5);
    verdict = judge(filters, CALL_POLL, 0);
    assert_true(verdict.hung);
    filters_free(filters);
}

static void test_bits_flip_where_they_can(void **state)
{
    uint8_t data[16] = {0};
    unsigned set = 0;

    (void)state;
    flip_all(data, sizeof(data), 1, 99);
    for (unsigned i = 0; i < sizeof(data); i++)
        set += (unsigned)__builtin_popcount(data[i]);
    assert_int_equal(set, 1);
    flip_all(data, sizeof(data), 1, 99);
    assert_all(data, sizeof(data), 0);
    flip_all(data, 0, 5, 99);
    flip_all(data, 1, 8, 99);
    assert_all(data + 1, sizeof(data) - 1, 0);
}

/* A request that a worker before had taken: chance had its say, but what lasts does so. */
static void test_what_comes_again_is_judged_by_what_lasts(void **state)
{
    struct filter_spec error = spec_of(FILTER_ERROR), readonly = spec_of(FILTER_READONLY);
    const struct filtered request = {.kind = CALL_WRITE, .bytes = 1, .again = true};
    struct filters *filters = with(&error);
    struct verdict verdict;

    (void)state;
    filters_judge(filters, &request, &verdict);
    assert_int_equal(verdict.error, 0);
    readonly.error = EROFS;
    filters_add(filters, &readonly);
    filters_judge(filters, &request, &verdict);
    assert_int_equal(verdict.error, EROFS);
    filters_free(filters);
}

/* --- changes ------------------------------------------------------------------------------------- */

static void test_numbers_are_given_once_and_places_again(void **state)
{
    struct filter_spec spec = spec_of(FILTER_ERROR);
    struct filters *filters = filters_new(-1, 0);
    struct filter_seen seen;

    (void)state;
    assert_false(filters_are_on(filters));
    for (unsigned i = 1; i <= FILTERS_MAX; i++)
        assert_int_equal(filters_add(filters, &spec), i);
    assert_int_equal(filters_add(filters, &spec), -ENOSPC);
    assert_int_equal(filters_remove(filters, 3), 0);
    assert_int_equal(filters_remove(filters, 3), -ENOENT);
    assert_int_equal(filters_add(filters, &spec), FILTERS_MAX + 1);
    assert_int_equal(seen_of(filters, 2).number, 2);
    assert_true(filters_next(filters, 2, &seen));
    assert_int_equal(seen.number, 4);
    assert_int_equal(seen_of(filters, FILTERS_MAX + 1).number, FILTERS_MAX + 1);
    assert_false(filters_next(filters, FILTERS_MAX + 1, &seen));
    for (unsigned i = 1; i <= FILTERS_MAX + 1; i++)
        filters_remove(filters, i);
    assert_false(filters_are_on(filters));
    filters_free(filters);
}

static void test_they_outlive_who_made_them(void **state)
{
    int fd = state_create(2, 2);
    struct filter_spec spec = spec_of(FILTER_ERROR);
    struct filters *filters = filters_new(fd, 1), *later, *other, *spare;

    (void)state;
    spec.count = 5;
    spec.chance = CHANCE_ALWAYS / 2;
    strcpy(spec.text, "error");
    assert_int_equal(filters_add(filters, &spec), 1);
    unsigned errors = errors_of(filters, 6);
    filters_free(filters);
    later = filters_new(fd, 1);
    other = filters_new(fd, 0);
    assert_false(filters_are_on(other));
    assert_true(filters_are_on(later));
    assert_string_equal(seen_of(later, 1).text, "error");
    assert_int_equal(seen_of(later, 1).acted, errors);
    assert_int_equal(errors + errors_of(later, 100), 5);
    spare = filters_new(fd, 1);
    assert_int_equal(filters_add(later, &spec), 2);
    filters_begin(spare);
    assert_int_equal(seen_of(spare, 2).acted, 0);
    filters_free(spare);
    filters_free(later);
    filters_free(other);
    close(fd);
}

/* What a worker of another program finds in the state: another layout needs another version. */
static void test_the_table_is_laid_out_so(void **state)
{
    (void)state;
    assert_int_equal(state_version(), 2);
    assert_int_equal(sizeof(struct filter_spec), 16 + 8 * 8 + 256 + 480);
    assert_int_equal(offsetof(struct filter, spec), 8);
    assert_int_equal(sizeof(struct filter), 8 + sizeof(struct filter_spec) + 7 * 8);
    assert_int_equal(offsetof(struct filters_table, filter), 8);
}

static void test_no_memory_is_said(void **state)
{
    (void)state;
    for (unsigned nth = 1; nth <= 2; nth++) {
        fault_arm(nth);
        assert_null(filters_new(-1, 0));
        assert_true(fault_fired());
    }
    fault_arm(0);
}

/* --- waiting ------------------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct waiter {
    struct filters *filters;
    _Atomic bool stopping, waits;
    struct wait wait;
    enum wait_end end;
    pthread_t thread;
};

static void *wait_long(void *arg)
{
    struct waiter *waiter = arg;

    waiter->waits = true;
    waiter->end = filters_wait(waiter->filters, &waiter->wait, now_ns() + 60000 * MS);
    return NULL;
}

static void begin(struct waiter *waiter, struct filters *filters, uint64_t unique)
{
    *waiter = (struct waiter){.filters = filters};
    waiter->wait = (struct wait){
        .owner = waiter,
        .unique = unique,
        .stopping = &waiter->stopping,
        .changes = judge(filters, CALL_IOCTL, 0).changes,
    };
    pthread_create(&waiter->thread, NULL, wait_long, waiter);
    while (!waiter->waits)
        usleep(100);
    usleep(1000);
}

static enum wait_end end_of(struct waiter *waiter)
{
    pthread_join(waiter->thread, NULL);
    return waiter->end;
}

static void test_who_waits_is_interrupted_released_or_stopped(void **state)
{
    struct filter_spec spec = spec_of(FILTER_ERROR);
    struct filters *filters = with(&spec);
    static struct waiter waiter[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        begin(&waiter[i], filters, 2 * i + 2);
    assert_false(filters_interrupt(filters, &waiter[1], 2)); /* another channel's 2 */
    while (!filters_interrupt(filters, &waiter[0], 2))
        usleep(100);
    assert_int_equal(end_of(&waiter[0]), WAIT_INTERRUPTED);
    waiter[1].stopping = true;
    filters_stop(filters, 5);
    assert_int_equal(end_of(&waiter[1]), WAIT_STOPPED);
    filters_remove(filters, 1);
    assert_int_equal(end_of(&waiter[2]), WAIT_OVER);
    waiter[2].waits = false;
    wait_long(&waiter[2]); /* it was judged before that change */
    assert_int_equal(waiter[2].end, WAIT_OVER);
    filters_free(filters);
}

static void test_an_interrupt_may_come_first(void **state)
{
    struct filters *filters = filters_new(-1, 0);
    _Atomic bool stopping = false;
    struct wait wait = {.owner = filters, .unique = 8, .stopping = &stopping};

    (void)state;
    assert_false(filters_interrupt(filters, filters, 8));
    assert_int_equal(filters_wait(filters, &wait, now_ns() + 60000 * MS), WAIT_INTERRUPTED);
    assert_int_equal(filters_wait(filters, &wait, now_ns() + MS), WAIT_OVER);
    filters_free(filters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chance_is_kept_and_comes_of_the_seed),
        cmocka_unit_test(test_it_acts_so_often_and_after_so_much),
        cmocka_unit_test(test_it_waits_for_its_time),
        cmocka_unit_test(test_it_acts_while_its_file_is_there),
        cmocka_unit_test(test_a_filter_concerns_its_operations_only),
        cmocka_unit_test(test_filters_act_in_order_until_one_ends_it),
        cmocka_unit_test(test_jitter_lies_on_both_sides),
        cmocka_unit_test(test_a_rate_adds_up),
        cmocka_unit_test(test_something_is_left_of_a_short_one),
        cmocka_unit_test(test_readonly_refuses_writers_alone),
        cmocka_unit_test(test_what_hung_up_stays_so),
        cmocka_unit_test(test_bits_flip_where_they_can),
        cmocka_unit_test(test_what_comes_again_is_judged_by_what_lasts),
        cmocka_unit_test(test_numbers_are_given_once_and_places_again),
        cmocka_unit_test(test_they_outlive_who_made_them),
        cmocka_unit_test(test_the_table_is_laid_out_so),
        cmocka_unit_test(test_no_memory_is_said),
        cmocka_unit_test(test_who_waits_is_interrupted_released_or_stopped),
        cmocka_unit_test(test_an_interrupt_may_come_first),
    };

    return RUN_ALL(tests);
}
