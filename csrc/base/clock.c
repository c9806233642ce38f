/* clock: the time, as cheaply as it can be had.
 *
 * clock_gettime(2) is answered in user space (vdso(7)) where the kernel's clock source can be read there.
 * Elsewhere (user-mode-linux; a machine whose clock source is hpet or acpi_pm) it is a system call, which
 * may cost half as much as a small request. There the processor's time stamp counter is taken, where it
 * says of itself that it runs at one rate, whatever the CPU does (invariant TSC: CPUID 80000007H, EDX bit
 * 8); its rate is measured once. */
#include "base/clock.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#define DEAR_NS 300u        /* of one look at the kernel's clock */
#define MEASURE_NS 4000000u /* how long the counter's rate is measured */

static uint64_t rate; /* nanoseconds a tick, times 2^32; 0: the kernel is asked. Set once */
static uint64_t first_tick;

static uint64_t kernel_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#if defined(__x86_64__)
static bool is_dear(void)
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < 8; i++) { /* the best: others may have had the CPU */
        uint64_t begun = kernel_ns(), took = kernel_ns() - begun;

        best = took < best ? took : best;
    }
    return best > DEAR_NS;
}

static bool is_invariant(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && d & 1u << 8;
}

struct moment {
    uint64_t tick, ns;
};

/* Of some tries the one between whose two ticks least has passed. */
static struct moment look(void)
{
    struct moment moment = {0};
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t before = __rdtsc(), ns = kernel_ns(), after = __rdtsc();

        if (after - before >= best)
            continue;
        best = after - before;
        moment = (struct moment){before + best / 2, ns};
    }
    return moment;
}

static void measure(void)
{
    const struct timespec pause = {.tv_nsec = MEASURE_NS};
    struct moment first, last;

    if (!is_dear() || !is_invariant())
        return;
    first = look();
    nanosleep(&pause, NULL);
    last = look();
    if (last.tick <= first.tick || last.ns <= first.ns)
        return;
    first_tick = first.tick;
    rate = (uint64_t)(((unsigned __int128)(last.ns - first.ns) << 32) / (last.tick - first.tick));
}

uint64_t clock_now_ns(void)
{
    if (!rate)
        return kernel_ns();
    return (uint64_t)((unsigned __int128)(__rdtsc() - first_tick) * rate >> 32);
}
#else
static void measure(void)
{
    (void)rate, (void)first_tick;
}

uint64_t clock_now_ns(void)
{
    return kernel_ns();
}
#endif

void clock_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, measure);
}
