/* placement: on which CPU the workers of a channel run, and how many of them read.
 *
 * A request is a hand-over between two threads, client and worker, of which one runs at a time. On
 * one CPU that costs a context switch and finds the data in the cache; across CPUs it costs an
 * interrupt and a wake-up from idle, several times as much, unless the worker does not sleep.
 *
 * How to serve (`ways`) is tried and the fastest kept (trial.c). One client (company.c) is served
 *
 * - FOLLOW: by one worker, bound to the client's CPU and in SCHED_IDLE. Bound alone is not enough:
 *   when a bound worker replies, its CPU counts as busy and the scheduler wakes the client
 *   elsewhere; a CPU that runs nothing but SCHED_IDLE counts as idle (kernel/sched/fair.c:
 *   available_idle_cpu, sched_idle_cpu), so the client stays.
 * - SPIN: by one worker, which looks for the next request for a while before it sleeps. Best where
 *   an interrupt to another CPU is dear and a system call cheap: in emulators.
 * - CREW: by a worker for each CPU, where the scheduler wants them. Best beside CPU hogs.
 *
 * Several keep every CPU busy, so that a worker is woken where its client is. A few are served
 *
 * - by the CREW,
 * - by ALL: some more are ready to be woken while others still reply.
 *
 * and more clients than CPUs
 *
 * - by the CREW,
 * - by IDLERS, a CREW in SCHED_IDLE: clients bring several requests before it runs. With fewer
 *   clients that looks fast at first, until they come to share a CPU.
 *
 * Workers beyond those that serve are parked: the kernel wakes the one that has slept longest in its
 * read, and each that takes a turn has to be fetched from wherever it slept.
 *
 * The workers only note the caller's thread at each request; every few milliseconds one of them
 * (`looking`) reads /proc and moves all. State but for the atomics and the park belongs to the one
 * who looks. */
#include "placement.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "company.h"
#include "lock.h"
#include "park.h"
#include "thread.h"
#include "trial.h"

#define WORKERS_MAX 64
#define LOOK_NS INT64_C(4000000)
#define IDLE_NS INT64_C(20000000) /* a gap between requests that says nothing about speed */
#define FEW_NS INT64_C(500000)      /* a gap between two requests that may be a wait for a CPU */
#define STARVED_NS INT64_C(1000000) /* more than that is no wait for the client's own turn */
#define SPIN_NS UINT64_C(200000)  /* longer than a client takes between two calls */
#define AT_LARGE (-1)

struct way {
    enum { ONE, ONE_A_CPU, EVERY } readers; /* workers that read */
    bool idle;  /* in SCHED_IDLE */
    bool bound; /* to the client's CPU */
    bool spins;
};
static const struct way
    FOLLOW = {.readers = ONE, .idle = true, .bound = true},
    SPIN = {.readers = ONE, .spins = true},
    CREW = {.readers = ONE_A_CPU},
    IDLERS = {.readers = ONE_A_CPU, .idle = true},
    ALL = {.readers = EVERY};
/* The first is what is done before the first trial; CREW is the calm one (trial.h). A channel beside
 * others that are busy leaves the last one out: who spins takes a CPU from them. */
static const struct way *const ways_one[] = {&FOLLOW, &CREW, &SPIN};
static const struct way *const ways_few[] = {&CREW, &ALL};
static const struct way *const ways_crowd[] = {&CREW, &IDLERS};
#define CALM_ONE 1
#define CALM_SEVERAL 0

#define CALLERS 16u /* told apart, by chance fewer */

/* Where workers run: a CPU or AT_LARGE, and a scheduling policy. */
struct post {
    int cpu, policy;
};

struct placement {
    struct placement *next; /* all_lock */
    int policy;
    cpu_set_t home; /* where workers may run when they are at large */
    _Atomic int tid[WORKERS_MAX]; /* 0: no worker */
    _Atomic uint32_t pid;         /* the last caller */
    _Atomic uint32_t turns;       /* changes of caller since the last look */
    _Atomic uint32_t caller[CALLERS]; /* who made them, by pid % CALLERS; 0: nobody */
    _Atomic uint32_t seen;        /* requests since the last look */
    _Atomic bool left;            /* somebody closed a file since the last look */
    _Atomic int64_t next_look;
    atomic_flag looking;          /* set for good by the end */
    _Atomic bool ended;
    struct post post;
    int64_t waited_ns; /* sum of the workers' run delays at the last look; -1: not looked at */
    _Atomic int64_t looked_at;
    struct company company;
    struct trial one, beside, few, crowd;
    const struct trial *last;  /* of them that was looked at */
    _Atomic unsigned clients;  /* company.callers, for the other placements */
    _Atomic bool joined;       /* a worker that was not placed yet */
    _Atomic uint64_t spin_ns; /* how long a worker looks for its next request */

    struct park park;
};

/* The placements of this process, whose clients are each other's company. */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static struct placement *all;                                /* all_lock */

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int64_t waited_by_all(const struct placement *placement)
{
    int64_t sum = 0;

    for (int i = 0; i < WORKERS_MAX; i++)
        if (placement->tid[i])
            sum += thread_run_delay_ns(placement->tid[i]);
    return sum;
}

/* --- moving ------------------------------------------------------------------------------------ */

static void place(const struct placement *placement, int tid)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    if (placement->post.cpu != AT_LARGE)
        CPU_SET(placement->post.cpu, &one);
    thread_move(tid, placement->post.policy, placement->post.cpu == AT_LARGE ? &placement->home : &one);
}

static void place_all(struct placement *placement, struct post post)
{
    bool joined = atomic_exchange(&placement->joined, false);

    if (!joined && placement->post.cpu == post.cpu && placement->post.policy == post.policy)
        return;
    placement->post = post;
    for (int i = 0; i < WORKERS_MAX; i++)
        if (placement->tid[i])
            place(placement, placement->tid[i]);
}

/* --- looking ----------------------------------------------------------------------------------- */

/* How long the workers waited for a CPU since the last look; 0: that is not known. /proc is read only
 * where requests are so few that it matters, so it takes two such looks in a row. */
static int64_t waited_since(struct placement *placement, bool few)
{
    int64_t before = placement->waited_ns;

    placement->waited_ns = few ? waited_by_all(placement) : -1;
    return few && before >= 0 ? placement->waited_ns - before : 0;
}

/* What the time since the last look was like. */
static enum trial_time time_of(struct placement *placement, int64_t now, uint32_t seen, bool other)
{
    int64_t gap = now - placement->looked_at;
    int64_t waited = waited_since(placement, gap > (int64_t)seen * FEW_NS);

    placement->looked_at = now;
    if (other)
        return TIME_OTHER;
    if (waited > (int64_t)seen * STARVED_NS)
        return TIME_STARVED;
    return gap > IDLE_NS && waited < gap / 4 ? TIME_IDLE : TIME_BUSY;
}

static struct company_look company_look(struct placement *placement)
{
    struct company_look look = {
        .seen = atomic_exchange(&placement->seen, 0),
        .turns = atomic_exchange(&placement->turns, 0),
        .left = atomic_exchange(&placement->left, false),
    };

    for (unsigned i = 0; i < CALLERS; i++)
        look.callers += atomic_exchange(&placement->caller[i], 0) != 0;
    return look;
}

/* Clients of the process, as far as their channels are busy; this one's is. */
static unsigned clients(const struct placement *placement, int64_t now)
{
    unsigned sum = placement->company.callers;

    LOCKED(&all_lock);
    for (const struct placement *other = all; other; other = other->next)
        if (other != placement && now - other->looked_at < IDLE_NS)
            sum += other->clients;
    return sum;
}

/* Where the client is, if that is a CPU for us; else where the workers are. */
static int cpu_to_follow(const struct placement *placement)
{
    int cpu = thread_cpu(placement->pid);

    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &placement->home) ? cpu
                                                                             : placement->post.cpu;
}

static unsigned readers_of(const struct placement *placement, const struct way *way)
{
    switch (way->readers) {
    case ONE:
        return 1;
    case ONE_A_CPU:
        return (unsigned)CPU_COUNT(&placement->home);
    default:
        return PARK_NOBODY;
    }
}

static void serve(struct placement *placement, const struct way *way)
{
    struct post post = {way->bound ? cpu_to_follow(placement) : AT_LARGE,
                        way->idle ? SCHED_IDLE : SCHED_OTHER};

    placement->spin_ns = way->spins ? SPIN_NS : 0;
    park_want(&placement->park, readers_of(placement, way));
    place_all(placement, post);
}

static unsigned try(struct placement *placement, struct trial *trial, int64_t now, uint32_t seen,
                    enum trial_time time)
{
    if (placement->last != trial)
        time = TIME_OTHER; /* it has not been looked at for a while */
    placement->last = trial;
    trial_look(trial, now, seen, time);
    return trial->way;
}

/* Which way is best now. */
static const struct way *choose(struct placement *placement, int64_t now, uint32_t seen,
                                enum trial_time time)
{
    unsigned many = clients(placement, now);

    if (!placement->company.several)
        return ways_one[try(placement, many > 1 ? &placement->beside : &placement->one, now, seen,
                            time)];
    if (many <= (unsigned)CPU_COUNT(&placement->home))
        return ways_few[try(placement, &placement->few, now, seen, time)];
    return ways_crowd[try(placement, &placement->crowd, now, seen, time)];
}

static void look(struct placement *placement, int64_t now)
{
    struct company_look look = company_look(placement);
    bool other = company_judge(&placement->company, &look) || look.left;
    enum trial_time time = time_of(placement, now, look.seen, other);

    placement->clients = placement->company.callers;
    serve(placement, choose(placement, now, look.seen, time));
}

/* Some requests have no caller (a write-back, a close): 0. */
static void note_caller(struct placement *placement, uint32_t pid)
{
    if (!pid || atomic_load_explicit(&placement->pid, memory_order_relaxed) == pid)
        return;
    atomic_store_explicit(&placement->pid, pid, memory_order_relaxed);
    atomic_fetch_add_explicit(&placement->turns, 1, memory_order_relaxed);
    atomic_store_explicit(&placement->caller[pid % CALLERS], pid, memory_order_relaxed);
}

void placement_see(struct placement *placement, uint32_t pid, bool left)
{
    int64_t now;

    if (placement->policy != PLACEMENT_FOLLOW)
        return;
    atomic_fetch_add_explicit(&placement->seen, 1, memory_order_relaxed);
    if (left)
        atomic_store_explicit(&placement->left, true, memory_order_relaxed);
    note_caller(placement, pid);
    now = now_ns();
    if (now < atomic_load_explicit(&placement->next_look, memory_order_relaxed) ||
        atomic_flag_test_and_set(&placement->looking))
        return;
    atomic_store_explicit(&placement->next_look, now + LOOK_NS, memory_order_relaxed);
    look(placement, now);
    atomic_flag_clear(&placement->looking);
}

uint64_t placement_spin_ns(const struct placement *placement)
{
    return atomic_load_explicit(&placement->spin_ns, memory_order_relaxed);
}

/* --- life -------------------------------------------------------------------------------------- */

struct placement *placement_new(const struct channel_options *options)
{
    struct placement *placement = calloc(1, sizeof(*placement));

    if (!placement)
        return NULL;
    placement->policy = options->placement;
    placement->company.callers = placement->clients = 1;
    placement->waited_ns = -1;
    placement->post = (struct post){AT_LARGE, SCHED_OTHER};
    park_init(&placement->park);
    trial_init(&placement->one, now_ns(), options->spin_us == 0 ? 2 : 3, CALM_ONE);
    trial_init(&placement->beside, now_ns(), 2, CALM_ONE);
    trial_init(&placement->few, now_ns(), 2, CALM_SEVERAL);
    trial_init(&placement->crowd, now_ns(), 2, CALM_SEVERAL);
    atomic_flag_clear(&placement->looking);
    if (sched_getaffinity(0, sizeof(placement->home), &placement->home) < 0)
        placement->policy = PLACEMENT_NONE;
    if (options->placement == PLACEMENT_LIST) {
        CPU_ZERO(&placement->home);
        for (uint32_t i = 0; i < options->cpus; i++)
            CPU_SET(options->cpu[i], &placement->home);
    }
    if (placement->policy == PLACEMENT_FOLLOW &&
        (CPU_COUNT(&placement->home) < 2 || !thread_may_leave_idle()))
        placement->policy = PLACEMENT_NONE;
    LOCKED(&all_lock);
    placement->next = all;
    all = placement;
    return placement;
}

void placement_free(struct placement *placement)
{
    if (!placement)
        return;
    {
        struct placement **at = &all;

        LOCKED(&all_lock);
        while (*at != placement)
            at = &(*at)->next;
        *at = placement->next;
    }
    park_destroy(&placement->park);
    free(placement);
}

void placement_join(struct placement *placement, unsigned worker)
{
    int tid = (int)syscall(SYS_gettid);

    if (placement->policy == PLACEMENT_LIST)
        sched_setaffinity(0, sizeof(placement->home), &placement->home);
    if (worker < WORKERS_MAX)
        placement->tid[worker] = tid;
    placement->joined = true;
}

void placement_leave(struct placement *placement, unsigned worker)
{
    if (worker < WORKERS_MAX)
        placement->tid[worker] = 0;
}

void placement_park(struct placement *placement, unsigned reader)
{
    park_wait(&placement->park, reader);
}

/* A look that is under way is waited for, unless it has been overtaken by everything else. */
void placement_end(struct placement *placement)
{
    const struct timespec nap = {.tv_nsec = 1000000};

    park_close(&placement->park);
    if (placement->policy != PLACEMENT_FOLLOW)
        return;
    for (unsigned tries = 0; atomic_flag_test_and_set(&placement->looking); tries++) {
        if (placement->ended || tries == 100)
            return;
        nanosleep(&nap, NULL);
    }
    placement->ended = true; /* and nobody looks any more */
    placement->spin_ns = 0;
    place_all(placement, (struct post){AT_LARGE, SCHED_OTHER});
}
