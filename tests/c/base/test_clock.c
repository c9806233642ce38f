/* clock: it goes on, at the rate of the kernel's. */
#include "helper.h"

#include <time.h>

#include "base/clock.h"

static uint64_t kernel_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void it_goes_as_the_kernels_does(void **state)
{
    const struct timespec pause = {.tv_nsec = 50000000};
    uint64_t begun, theirs, passed;

    (void)state;
    clock_prepare();
    clock_prepare();
    theirs = kernel_ns();
    begun = clock_now_ns();
    nanosleep(&pause, NULL);
    passed = clock_now_ns() - begun;
    theirs = kernel_ns() - theirs;
    assert_true(passed >= 49000000);
    assert_true(passed <= theirs + theirs / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_goes_as_the_kernels_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
