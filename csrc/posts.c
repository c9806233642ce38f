/* posts: where the workers of a channel run, and in which scheduling policy. */
#include "posts.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thread.h"

int posts_init(struct posts *posts)
{
    posts->post = (struct post){AT_LARGE, SCHED_OTHER};
    return sched_getaffinity(0, sizeof(posts->home), &posts->home) < 0 ? -errno : 0;
}

unsigned posts_cpus(const struct posts *posts)
{
    return (unsigned)CPU_COUNT(&posts->home);
}

bool posts_may_use(const struct posts *posts, int cpu)
{
    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &posts->home);
}

void posts_join(struct posts *posts, unsigned worker)
{
    if (worker < WORKERS_MAX)
        posts->tid[worker] = (int)syscall(SYS_gettid);
    posts->joined = true;
}

void posts_leave(struct posts *posts, unsigned worker)
{
    if (worker < WORKERS_MAX)
        posts->tid[worker] = 0;
}

/* The n-th CPU of the home, round and round. */
static int nth_cpu(const struct posts *posts, unsigned n)
{
    int cpu = 0;

    n %= posts_cpus(posts);
    while (!CPU_ISSET(cpu, &posts->home) || n-- > 0)
        cpu++;
    return cpu;
}

static void place(const struct posts *posts, unsigned worker, int tid)
{
    int cpu = posts->post.cpu == A_CPU_EACH ? nth_cpu(posts, worker) : posts->post.cpu;
    cpu_set_t one;

    CPU_ZERO(&one);
    if (cpu != AT_LARGE)
        CPU_SET(cpu, &one);
    thread_move(tid, posts->post.policy, cpu == AT_LARGE ? &posts->home : &one);
}

void posts_take(struct posts *posts, struct post post)
{
    bool joined = atomic_exchange(&posts->joined, false);

    if (!joined && posts->post.cpu == post.cpu && posts->post.policy == post.policy)
        return;
    posts->post = post;
    for (unsigned worker = 0; worker < WORKERS_MAX; worker++) {
        int tid = posts->tid[worker];

        if (tid)
            place(posts, worker, tid);
    }
}

int64_t posts_waited_ns(const struct posts *posts)
{
    int64_t sum = 0;

    for (unsigned worker = 0; worker < WORKERS_MAX; worker++) {
        int tid = posts->tid[worker];

        if (tid)
            sum += thread_run_delay_ns(tid);
    }
    return sum;
}
