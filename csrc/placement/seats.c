/* seats: where the workers of a channel run, and in which scheduling policy. */
#include "placement/seats.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/thread.h"

int seats_init(struct seats *seats)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    seats->seat = (struct seat){AT_LARGE, SCHED_OTHER};
    seats->cpus = cpus > 0 ? (unsigned)cpus : 1;
    return sched_getaffinity(0, sizeof(seats->home), &seats->home) < 0 ? -errno : 0;
}

unsigned seats_cpus(const struct seats *seats)
{
    return (unsigned)CPU_COUNT(&seats->home);
}

bool seats_may_use(const struct seats *seats, int cpu)
{
    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &seats->home);
}

void seats_join(struct seats *seats, unsigned worker)
{
    if (worker < WORKERS_MAX)
        seats->tid[worker] = (int)syscall(SYS_gettid);
    seats->joined = true;
}

void seats_leave(struct seats *seats, unsigned worker)
{
    if (worker < WORKERS_MAX)
        seats->tid[worker] = 0;
}

/* The n-th CPU of the home, round and round. */
static int nth_cpu(const struct seats *seats, unsigned n)
{
    int cpu = 0;

    n %= seats_cpus(seats);
    while (!CPU_ISSET(cpu, &seats->home) || n-- > 0)
        cpu++;
    return cpu;
}

static void place(const struct seats *seats, unsigned worker, int tid)
{
    int cpu = seats->seat.cpu == A_CPU_EACH ? nth_cpu(seats, worker) : seats->seat.cpu;
    cpu_set_t one;

    CPU_ZERO(&one);
    if (cpu != AT_LARGE)
        CPU_SET(cpu, &one);
    thread_move(tid, seats->seat.policy, cpu == AT_LARGE ? &seats->home : &one);
}

void seats_take(struct seats *seats, struct seat seat)
{
    bool joined = atomic_exchange(&seats->joined, false);

    if (!joined && seats->seat.cpu == seat.cpu && seats->seat.policy == seat.policy)
        return;
    seats->seat = seat;
    for (unsigned worker = 0; worker < WORKERS_MAX; worker++) {
        int tid = seats->tid[worker];

        if (tid)
            place(seats, worker, tid);
    }
}

int64_t seats_waited_ns(const struct seats *seats)
{
    int64_t sum = 0;

    for (unsigned worker = 0; worker < WORKERS_MAX; worker++) {
        int tid = seats->tid[worker];

        if (tid)
            sum += thread_run_delay_ns(tid);
    }
    return sum;
}

bool seats_are_crowded(const struct seats *seats, unsigned ours)
{
    return threads_runnable() >= ours + seats->cpus;
}
