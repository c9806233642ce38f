#include "helper.h"

#include <stdatomic.h>

#include "placement/park.h"

struct worker {
    struct park *park;
    pthread_t thread;
    unsigned number;
    _Atomic bool passed;
};

static void *arrive(void *arg)
{
    struct worker *worker = arg;
    park_wait(worker->park, worker->number);
    worker->passed = true;
    return NULL;
}

static void start(struct worker *worker, struct park *park, unsigned number)
{
    *worker = (struct worker){.park = park, .number = number};
    assert_int_equal(pthread_create(&worker->thread, NULL, arrive, worker), 0);
}

static bool passes(struct worker *worker)
{
    for (unsigned tries = 0; tries < 3000 && !worker->passed; tries++)
        usleep(10000);
    return worker->passed;
}

static void all_are_wanted_at_first(void **state)
{
    (void)state;
    struct park park;
    park_init(&park);
    park_wait(&park, 0);
    park_wait(&park, 63);
    park_destroy(&park);
}

static void who_is_not_wanted_waits_until_he_is(void **state)
{
    (void)state;
    struct park park;
    struct worker second, third;
    park_init(&park);
    park_want(&park, 1);
    park_wait(&park, 0);
    start(&second, &park, 1);
    start(&third, &park, 2);
    usleep(50000);
    assert_false(second.passed || third.passed);
    park_want(&park, 2);
    assert_true(passes(&second));
    usleep(50000);
    assert_false(third.passed);
    park_want(&park, PARK_NOBODY);
    assert_true(passes(&third));
    pthread_join(second.thread, NULL);
    pthread_join(third.thread, NULL);
    park_destroy(&park);
}

static void nobody_waits_after_the_close(void **state)
{
    (void)state;
    struct park park;
    struct worker worker;
    park_init(&park);
    park_want(&park, 1);
    start(&worker, &park, 1);
    park_close(&park);
    assert_true(passes(&worker));
    park_want(&park, 1); /* a look that was under way */
    park_wait(&park, 1);
    pthread_join(worker.thread, NULL);
    park_destroy(&park);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_wanted_at_first),
        cmocka_unit_test(who_is_not_wanted_waits_until_he_is),
        cmocka_unit_test(nobody_waits_after_the_close),
    };
    return RUN_ALL(tests);
}
