/* posts: where the workers of a channel run. See posts.c. */
#ifndef POSTS_H
#define POSTS_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#define WORKERS_MAX 64u /* of a channel */
#define AT_LARGE (-1)   /* where the scheduler wants them */
#define A_CPU_EACH (-2)

/* A CPU, or one of the above, and a scheduling policy (sched(7)). */
struct post {
    int cpu, policy;
};

struct posts {
    cpu_set_t home; /* where workers may run */
    _Atomic int tid[WORKERS_MAX]; /* 0: no worker */
    _Atomic bool joined;          /* a worker that was not placed yet */
    struct post post;             /* of all */
};

/* `home` is the caller's affinity. Negative errno: it cannot be had. */
int posts_init(struct posts *posts);
unsigned posts_cpus(const struct posts *posts);
bool posts_may_use(const struct posts *posts, int cpu);
/* A worker joins, on its own thread, and leaves. */
void posts_join(struct posts *posts, unsigned worker);
void posts_leave(struct posts *posts, unsigned worker);
/* Moves all workers; cheap where they are there already. One thread at a time. */
void posts_take(struct posts *posts, struct post post);
/* How long all of them were ready to run and did not, ever. */
int64_t posts_waited_ns(const struct posts *posts);

#endif
