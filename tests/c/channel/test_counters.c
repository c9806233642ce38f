/* counters: what is answered is counted once, whoever answers it. */
#include "helper.h"

#include <errno.h>
#include <pthread.h>

#include "channel/counters.h"

static uint64_t requests(const struct counted *sum)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < COUNTED_BUCKETS; i++)
        n += sum->latency[i];
    return n;
}

static void what_takes_longer_is_in_a_later_bucket(void **state)
{
    struct counters *counters = counters_new();
    struct counted sum;

    (void)state;
    assert_non_null(counters);
    counters_note(counters, CALL_READ, 0, 5, 0, 1u << 20);
    counters_note(counters, CALL_READ, 0, 7, EIO, UINT64_C(1) << 30);
    counters_note(counters, CALL_READ, 0, 0, 0, UINT64_C(1) << 60);
    counters_sum(counters, CALL_READ, &sum);
    assert_int_equal(sum.bytes, 12);
    assert_int_equal(sum.errors, 1);
    assert_int_equal(requests(&sum), 3);
    assert_int_equal(sum.latency[11], 1); /* not less than 2^20 ns, less than 2^21 */
    assert_int_equal(sum.latency[21], 1);
    assert_int_equal(sum.latency[COUNTED_BUCKETS - 1], 1);
    counters_sum(counters, CALL_WRITE, &sum);
    assert_int_equal(requests(&sum), 0);
    counters_free(counters);
}

static void what_is_no_request_is_not_counted(void **state)
{
    struct counters *counters = counters_new();
    struct counted sum;

    (void)state;
    counters_note(counters, CALL_INTERRUPT, 0, 1, 0, 0);
    counters_note(NULL, CALL_READ, 0, 1, 0, 0); /* nobody counts */
    counters_sum(counters, CALL_INTERRUPT, &sum);
    assert_int_equal(requests(&sum), 0);
    counters_free(counters);
}

static void commands_have_a_slot_each_while_there_are_some(void **state)
{
    struct counters *counters = counters_new();
    struct counted sum;
    uint64_t all = 0;
    uint32_t cmd, found = 0;

    (void)state;
    for (uint32_t i = 0; i < 500; i++)
        counters_note(counters, CALL_IOCTL, UINT32_MAX - i, 1, ENOTTY, 0); /* take none */
    for (uint32_t i = 0; i < 2 * COUNTED_IOCTLS; i++)
        for (uint32_t n = 0; n < 3; n++)
            counters_note(counters, CALL_IOCTL, 64 * i, 1, 0, 0);
    for (uint32_t i = 0; i < COUNTED_IOCTLS; i++) {
        if (!counters_sum_ioctl(counters, i, &cmd, &sum))
            continue;
        found++;
        assert_int_equal(requests(&sum), 3);
        assert_true(cmd < 64 * COUNTED_IOCTLS);
    }
    assert_int_equal(found, COUNTED_IOCTLS);
    assert_false(counters_sum_ioctl(counters, COUNTED_IOCTLS, &cmd, &sum));
    counters_sum(counters, CALL_IOCTL, &sum);
    all = requests(&sum);
    assert_int_equal(all, 500 + 6 * COUNTED_IOCTLS);
    counters_free(counters);
}

static void *count_many(void *arg)
{
    for (unsigned i = 0; i < 20000; i++)
        counters_note(arg, CALL_IOCTL, i % 200, 3, i % 2 ? EIO : 0, 0);
    return NULL;
}

static void threads_lose_nothing(void **state)
{
    enum { THREADS = 20 }; /* more than stripes */
    struct counters *counters = counters_new();
    pthread_t thread[THREADS];
    struct counted sum;

    (void)state;
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, count_many, counters), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    counters_sum(counters, CALL_IOCTL, &sum);
    assert_int_equal(requests(&sum), THREADS * 20000);
    assert_int_equal(sum.bytes, THREADS * 60000);
    assert_int_equal(sum.errors, THREADS * 10000);
    counters_free(counters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_takes_longer_is_in_a_later_bucket),
        cmocka_unit_test(what_is_no_request_is_not_counted),
        cmocka_unit_test(commands_have_a_slot_each_while_there_are_some),
        cmocka_unit_test(threads_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
