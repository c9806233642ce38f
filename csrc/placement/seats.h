/* seats: where the workers of a channel run. See seats.c. */
#ifndef SEATS_H
#define SEATS_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#define WORKERS_MAX 64u /* of a channel */
#define AT_LARGE (-1)   /* where the scheduler wants them */
#define A_CPU_EACH (-2)

/* A CPU, or one of the above, and a scheduling policy (sched(7)). */
struct seat {
    int cpu, policy;
};

struct seats {
    cpu_set_t home; /* where workers may run */
    _Atomic int tid[WORKERS_MAX]; /* 0: no worker */
    _Atomic bool joined;          /* a worker that was not placed yet */
    struct seat seat;             /* of all */
    unsigned cpus; /* of the machine */
};

/* `home` is the caller's affinity. Negative errno: it cannot be had. */
int seats_init(struct seats *seats);
unsigned seats_cpus(const struct seats *seats);
bool seats_may_use(const struct seats *seats, int cpu);
/* A worker joins, on its own thread, and leaves. */
void seats_join(struct seats *seats, unsigned worker);
void seats_leave(struct seats *seats, unsigned worker);
/* Moves all workers; cheap where they are there already. One thread at a time. */
void seats_take(struct seats *seats, struct seat seat);
/* How long all of them were ready to run and did not, ever. */
int64_t seats_waited_ns(const struct seats *seats);
/* Whether all CPUs of the machine have other threads to run than so many of ours. To be asked by a worker. */
bool seats_are_crowded(const struct seats *seats, unsigned ours);

#endif
