/* placement: on which CPU the workers of a channel run.
 *
 * A request is a hand-over between two threads, client and worker, of which one runs at a time. On
 * one CPU that costs a context switch and finds the data in the cache; across CPUs it costs an
 * interrupt and a wake-up from idle, several times as much. So the workers follow their client.
 *
 * How: all workers of the channel are bound to the client's CPU and put into SCHED_IDLE. Bound
 * alone is not enough: when a bound worker replies, its CPU counts as busy and the scheduler wakes
 * the client elsewhere; a CPU that runs nothing but SCHED_IDLE counts as idle (kernel/sched/fair.c:
 * available_idle_cpu, sched_idle_cpu), so the client stays. All workers move at once: one that is
 * left behind takes the next request and draws the client away.
 *
 * When not: several clients take turns (workers at large then use every CPU); a CPU hog runs where
 * the client runs (SCHED_IDLE would starve; seen by the time the workers waited for the CPU, per
 * request); there is one CPU; or the process may not leave SCHED_IDLE again (RLIMIT_NICE). After
 * starving, following is tried again ever more rarely.
 *
 * The workers only note the caller's thread at each request; every few milliseconds one of them
 * (`looking`) reads /proc and moves all. State but for the atomics belongs to the one who looks. */
#include "placement.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WORKERS_MAX 64
#define LOOK_NS INT64_C(4000000)
/* A mean wait for the CPU above this is another's time slice, not the client's own work between
 * two requests. */
#define STARVED_NS INT64_C(1500000)
#define BACK_OFF_FIRST_NS INT64_C(500000000)
#define BACK_OFF_MOST_NS INT64_C(32000000000)
/* Of the requests between two looks, the share from other threads that makes "several"; and how
 * long it stays so, as a window in which one of them got no turn looks like a single client. */
#define SEVERAL_SHARE 8
#define SEVERAL_NS INT64_C(250000000)
#define AT_LARGE (-1)

struct placement {
    int policy;
    cpu_set_t home; /* where workers may run when they are at large */
    _Atomic int tid[WORKERS_MAX]; /* 0: no worker */
    _Atomic uint32_t pid;     /* the last caller */
    _Atomic uint32_t turns;   /* changes of caller since the last look */
    _Atomic uint32_t seen;    /* requests since the last look */
    _Atomic int64_t next_look;
    atomic_flag looking;
    int cpu; /* where the workers are bound, or AT_LARGE */
    int64_t waited_ns;   /* sum of the workers' run delays at the last look */
    int64_t shared_until; /* several clients: follow nobody before this */
    int64_t calm_at;     /* starved: the same */
    int64_t back_off_ns; /* the next pause */
};

/* --- what the kernel tells --------------------------------------------------------------------- */

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static ssize_t read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -1;
    n = read(fd, text, size - 1);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return n;
}

/* The CPU a thread last ran on, or -1 (proc(5): /proc/pid/stat, field 39). */
static int cpu_of(uint32_t pid)
{
    char path[48], text[1024], *field;

    snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    if (!pid || read_file(path, text, sizeof(text)) <= 0)
        return -1;
    field = strrchr(text, ')'); /* field 2 may have spaces; 3 follows */
    for (int i = 2; field && i < 39; i++)
        field = strchr(field + 1, ' ');
    return field ? atoi(field) : -1;
}

/* How long a thread was ready to run and did not, ever (Documentation/scheduler/sched-stats). */
static int64_t run_delay_ns(int tid)
{
    char path[64], text[128];
    long long ran, waited;

    snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", tid);
    if (read_file(path, text, sizeof(text)) <= 0 || sscanf(text, "%lld %lld", &ran, &waited) != 2)
        return 0;
    return waited;
}

static int64_t waited_by_all(const struct placement *placement)
{
    int64_t sum = 0;

    for (int i = 0; i < WORKERS_MAX; i++)
        if (placement->tid[i])
            sum += run_delay_ns(placement->tid[i]);
    return sum;
}

/* --- moving ------------------------------------------------------------------------------------ */

static int move(int tid, int policy, const cpu_set_t *cpus)
{
    struct sched_param none = {0};

    if (sched_setscheduler(tid, policy, &none) < 0 ||
        sched_setaffinity(tid, sizeof(*cpus), cpus) < 0)
        return -errno;
    return 0;
}

static void place(const struct placement *placement, int tid)
{
    cpu_set_t one;

    if (placement->cpu == AT_LARGE) {
        move(tid, SCHED_OTHER, &placement->home);
        return;
    }
    CPU_ZERO(&one);
    CPU_SET(placement->cpu, &one);
    move(tid, SCHED_IDLE, &one);
}

static void place_all(struct placement *placement, int cpu)
{
    if (placement->cpu == cpu)
        return;
    placement->cpu = cpu;
    for (int i = 0; i < WORKERS_MAX; i++)
        if (placement->tid[i])
            place(placement, placement->tid[i]);
}

/* A thread that ends with the question: may SCHED_IDLE be left again? (sched(7), RLIMIT_NICE) */
static void *try_leaving(void *answer)
{
    struct sched_param none = {0};

    *(bool *)answer = sched_setscheduler(0, SCHED_IDLE, &none) == 0 &&
                      sched_setscheduler(0, SCHED_OTHER, &none) == 0;
    return NULL;
}

static bool may_leave_idle(void)
{
    bool may = false;
    pthread_t thread;

    if (pthread_create(&thread, NULL, try_leaving, &may) != 0)
        return false;
    pthread_join(thread, NULL);
    return may;
}

/* --- looking ----------------------------------------------------------------------------------- */

static void look(struct placement *placement, int64_t now)
{
    uint32_t seen = atomic_exchange(&placement->seen, 0);
    uint32_t turns = atomic_exchange(&placement->turns, 0);
    int64_t waited = waited_by_all(placement), delay = waited - placement->waited_ns;
    int cpu;

    placement->waited_ns = waited;
    if (placement->cpu != AT_LARGE && delay > STARVED_NS * (int64_t)(seen ? seen : 1)) {
        placement->calm_at = now + placement->back_off_ns;
        placement->back_off_ns *= 2;
        if (placement->back_off_ns > BACK_OFF_MOST_NS)
            placement->back_off_ns = BACK_OFF_MOST_NS;
        place_all(placement, AT_LARGE);
        return;
    }
    if (turns * SEVERAL_SHARE > seen && turns > 1) {
        placement->shared_until = now + SEVERAL_NS;
        place_all(placement, AT_LARGE);
        return;
    }
    if (now < placement->calm_at || now < placement->shared_until)
        return;
    if (now > placement->calm_at + 2 * placement->back_off_ns)
        placement->back_off_ns = BACK_OFF_FIRST_NS;
    cpu = cpu_of(placement->pid);
    if (cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &placement->home))
        place_all(placement, cpu);
}

void placement_see(struct placement *placement, uint32_t pid)
{
    int64_t now;

    if (placement->policy != PLACEMENT_FOLLOW)
        return;
    atomic_fetch_add_explicit(&placement->seen, 1, memory_order_relaxed);
    if (atomic_load_explicit(&placement->pid, memory_order_relaxed) != pid) {
        atomic_store_explicit(&placement->pid, pid, memory_order_relaxed);
        atomic_fetch_add_explicit(&placement->turns, 1, memory_order_relaxed);
    }
    now = now_ns();
    if (now < atomic_load_explicit(&placement->next_look, memory_order_relaxed) ||
        atomic_flag_test_and_set(&placement->looking))
        return;
    atomic_store_explicit(&placement->next_look, now + LOOK_NS, memory_order_relaxed);
    look(placement, now);
    atomic_flag_clear(&placement->looking);
}

/* --- life -------------------------------------------------------------------------------------- */

struct placement *placement_new(const struct channel_options *options)
{
    struct placement *placement = calloc(1, sizeof(*placement));

    if (!placement)
        return NULL;
    placement->policy = options->placement;
    placement->cpu = AT_LARGE;
    placement->back_off_ns = BACK_OFF_FIRST_NS;
    atomic_flag_clear(&placement->looking);
    if (sched_getaffinity(0, sizeof(placement->home), &placement->home) < 0)
        placement->policy = PLACEMENT_NONE;
    if (options->placement == PLACEMENT_LIST) {
        CPU_ZERO(&placement->home);
        for (uint32_t i = 0; i < options->cpus; i++)
            CPU_SET(options->cpu[i], &placement->home);
    }
    if (placement->policy == PLACEMENT_FOLLOW &&
        (CPU_COUNT(&placement->home) < 2 || !may_leave_idle()))
        placement->policy = PLACEMENT_NONE;
    return placement;
}

void placement_free(struct placement *placement)
{
    free(placement);
}

void placement_join(struct placement *placement, unsigned worker)
{
    int tid = (int)syscall(SYS_gettid);

    if (placement->policy == PLACEMENT_LIST)
        sched_setaffinity(0, sizeof(placement->home), &placement->home);
    if (worker < WORKERS_MAX)
        placement->tid[worker] = tid;
}

void placement_leave(struct placement *placement, unsigned worker)
{
    if (worker < WORKERS_MAX)
        placement->tid[worker] = 0;
}
