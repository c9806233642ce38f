/* Threads that stand by: who reads while a handler runs, and when. The test is the thread that reads. */
#include "helper.h"
#include "channel/standin.h"

#include <pthread.h>
#include <unistd.h>

#include "base/lock.h"

#define LONG_MS 5000u
#define MOMENT_US 100000u /* much longer than it takes to see that a handler lasts */

/* No call gets that far here. */
void python_call(void *owner, struct call *call)
{
    (void)owner, (void)call;
    fail();
}

static unsigned started;

static int start_one(struct workers *workers, enum start how)
{
    assert_int_equal(how, READ_FIRST);
    started++;
    workers->reading++;
    return 0;
}

static int start_none(struct workers *workers, enum start how)
{
    (void)workers, (void)how;
    return -EAGAIN;
}

static struct workers *make(void)
{
    static const struct channel_options options = {.threads = 1, .callers = 1};
    struct workers *workers = calloc(1, sizeof(*workers));

    assert_non_null(workers);
    queue_init(&workers->queue, 1);
    standins_init(&workers->standins);
    workers->placement = placement_new(&options, true);
    assert_non_null(workers->placement);
    workers->start = start_one;
    workers->reading = 1;
    started = 0;
    return workers;
}

static void unmake(struct workers *workers)
{
    placement_free(workers->placement);
    standins_destroy(&workers->standins);
    queue_destroy(&workers->queue);
    free(workers);
}

static void *stand_by(void *arg)
{
    struct workers *workers = arg;

    LOCKED(&workers->queue.lock);
    workers->reading++;
    standin_wait(workers);
    return NULL;
}

static unsigned standing(struct workers *workers)
{
    LOCKED(&workers->queue.lock);
    return workers->standins.standing;
}

static void wait_for_standing(struct workers *workers, unsigned n)
{
    for (unsigned ms = 0; standing(workers) != n; ms++) {
        assert_true(ms < LONG_MS);
        usleep(1000);
    }
}

static pthread_t one_stands_by(struct workers *workers)
{
    const unsigned before = standing(workers);
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, stand_by, workers), 0);
    wait_for_standing(workers, before + 1);
    return thread;
}

static void leave(struct workers *workers, bool for_long)
{
    LOCKED(&workers->queue.lock);
    assert_true(standin_leave(workers, for_long));
}

/* The handler has ended. */
static void come_back(struct workers *workers)
{
    LOCKED(&workers->queue.lock);
    workers->reading++;
}

static void end(struct workers *workers)
{
    LOCKED(&workers->queue.lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->standins.changed);
}

static void test_one_reads_where_a_handler_lasts(void **state)
{
    struct workers *workers = make();
    pthread_t thread = one_stands_by(workers);

    (void)state;
    leave(workers, false);
    pthread_join(thread, NULL);
    assert_int_equal(workers->reading, 1);
    assert_int_equal(started, 0);
    unmake(workers);
}

static void test_one_reads_at_once_where_it_will_be_long(void **state)
{
    struct workers *workers = make();
    pthread_t thread = one_stands_by(workers);

    (void)state;
    leave(workers, true);
    assert_int_equal(workers->reading, 1); /* it counts as reading from the call on */
    pthread_join(thread, NULL);
    assert_int_equal(workers->reading, 1);
    unmake(workers);
}

static void test_a_handler_that_waits_calls_one(void **state)
{
    struct workers *workers = make();
    pthread_t thread = one_stands_by(workers);

    (void)state;
    leave(workers, false);
    {
        LOCKED(&workers->queue.lock);
        if (!workers->reading)
            standin_call(workers);
        assert_int_equal(workers->reading, 1);
    }
    pthread_join(thread, NULL);
    assert_int_equal(workers->standins.standing, 0);
    unmake(workers);
}

static void test_handlers_that_end_soon_call_nobody(void **state)
{
    struct workers *workers = make();
    pthread_t thread = one_stands_by(workers);

    (void)state;
    for (unsigned i = 0; i < MOMENT_US / 100; i++) {
        leave(workers, false);
        come_back(workers);
        usleep(100);
    }
    assert_int_equal(standing(workers), 1);
    assert_int_equal(workers->reading, 1);
    end(workers);
    pthread_join(thread, NULL);
    unmake(workers);
}

static void test_who_dozes_wakes_for_a_handler_that_lasts(void **state)
{
    struct workers *workers = make();
    pthread_t thread = one_stands_by(workers), other = one_stands_by(workers);
    bool dozes = false;

    (void)state;
    for (unsigned ms = 0; !dozes; ms++) {
        assert_true(ms < LONG_MS);
        usleep(1000);
        LOCKED(&workers->queue.lock);
        dozes = workers->standins.dozes;
    }
    leave(workers, false);
    wait_for_standing(workers, 1);
    leave(workers, false); /* and so does the next one */
    pthread_join(thread, NULL);
    pthread_join(other, NULL);
    assert_int_equal(workers->reading, 1);
    unmake(workers);
}

static void test_one_is_made_where_none_stands_by(void **state)
{
    struct workers *workers = make();

    (void)state;
    leave(workers, false);
    assert_int_equal(started, 1);
    assert_int_equal(workers->reading, 1);
    unmake(workers);
}

static void test_nobody_leaves_where_none_can_be_made(void **state)
{
    struct workers *workers = make();

    (void)state;
    workers->start = start_none;
    assert_false(standin_leave(workers, true));
    assert_int_equal(workers->reading, 1);
    unmake(workers);
}

static void test_the_end_wakes_all(void **state)
{
    struct workers *workers = make();
    pthread_t thread[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        thread[i] = one_stands_by(workers);
    end(workers);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(workers->reading, 4);
    assert_int_equal(workers->standins.standing, 0);
    unmake(workers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_reads_where_a_handler_lasts),
        cmocka_unit_test(test_one_reads_at_once_where_it_will_be_long),
        cmocka_unit_test(test_a_handler_that_waits_calls_one),
        cmocka_unit_test(test_handlers_that_end_soon_call_nobody),
        cmocka_unit_test(test_who_dozes_wakes_for_a_handler_that_lasts),
        cmocka_unit_test(test_one_is_made_where_none_stands_by),
        cmocka_unit_test(test_nobody_leaves_where_none_can_be_made),
        cmocka_unit_test(test_the_end_wakes_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
