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
 * When: as long as it is faster. Several clients want every CPU, a CPU hog starves SCHED_IDLE, and
 * in an emulator a wake-up across CPUs is cheap; rather than knowing all that, the other way is
 * tried now and then for a few milliseconds, and the one that answers more requests a second is
 * kept. A trial takes a small part of the time, however long it turns out to be. Where the callers
 * become several, or one, the way that is likelier right is taken at once. Nothing is tried where there is one CPU, or where the process may not leave SCHED_IDLE again (RLIMIT_NICE).
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
#define TRIAL_NS INT64_C(12000000)       /* a rate is measured over so long, at least */
#define HOLD_FIRST_NS INT64_C(100000000) /* what won is kept so long, then twice that, … */
#define HOLD_MOST_NS INT64_C(2000000000)
#define TRIAL_SHARE 32  /* … and so many times what the trial took */
#define CLEARLY 1.05    /* what is in force is given up for this much more */
#define IDLE_NS INT64_C(20000000) /* a gap between requests that says nothing about speed */
/* Of so many requests, one in SEVERAL_SHARE from another thread than the one before makes
 * "several"; so many judgements without make "one" again, as some client may get no turn for a
 * while. */
#define COMPANY_REQUESTS 16
#define SEVERAL_SHARE 8
#define ONE_LOOKS 8
#define AT_LARGE (-1)

/* HOLD what won; MEASURE it once more; TRY the other way; and hold what won. */
enum phase { HOLD, MEASURE, TRY };

struct placement {
    int policy;
    cpu_set_t home; /* where workers may run when they are at large */
    _Atomic int tid[WORKERS_MAX]; /* 0: no worker */
    _Atomic uint32_t pid;         /* the last caller */
    _Atomic uint32_t turns;       /* changes of caller since the last look */
    _Atomic uint32_t seen;        /* requests since the last look */
    _Atomic int64_t next_look;
    atomic_flag looking;
    int cpu;           /* where the workers are bound, or AT_LARGE */
    int64_t waited_ns; /* sum of the workers' run delays at the last look */
    int64_t looked_at;
    uint32_t company_seen, company_turns; /* since the last judgement */
    bool several;             /* callers take turns */
    unsigned looks_without;   /* … and have not for so many judgements */
    bool following;           /* or trying to */
    enum phase phase;
    int64_t since, until; /* of the phase */
    uint64_t requests;    /* in the phase */
    double rate;          /* requests a nanosecond of what is in force, from MEASURE */
    int64_t hold_ns;      /* how long the next HOLD is */
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

static void begin(struct placement *placement, enum phase phase, int64_t now, int64_t length)
{
    placement->phase = phase;
    placement->since = now;
    placement->until = now + length;
    placement->requests = 0;
}

/* The trial is over: keeps the better way, and stays with it the longer the more often it won. */
static void decide(struct placement *placement, int64_t now)
{
    int64_t took = now - placement->since;
    double rate = (double)placement->requests / (double)took;

    if (rate > placement->rate * CLEARLY) {
        placement->hold_ns = HOLD_FIRST_NS;
    } else {
        placement->following = !placement->following;
        placement->hold_ns *= 2;
    }
    if (placement->hold_ns > HOLD_MOST_NS)
        placement->hold_ns = HOLD_MOST_NS;
    begin(placement, HOLD, now,
          placement->hold_ns > took * TRIAL_SHARE ? placement->hold_ns : took * TRIAL_SHARE);
}

static void next_phase(struct placement *placement, int64_t now)
{
    switch (placement->phase) {
    case HOLD:
        begin(placement, MEASURE, now, TRIAL_NS);
        break;
    case MEASURE:
        placement->rate = (double)placement->requests / (double)(now - placement->since);
        placement->following = !placement->following;
        begin(placement, TRY, now, TRIAL_NS);
        break;
    case TRY:
        decide(placement, now);
        break;
    }
}

/* Whether the clients were away since the last look: requests came late, and no worker waited. */
static bool was_idle(struct placement *placement, int64_t now)
{
    int64_t waited = waited_by_all(placement), delay = waited - placement->waited_ns;
    int64_t gap = now - placement->looked_at;

    placement->waited_ns = waited;
    placement->looked_at = now;
    return gap > IDLE_NS && delay < gap / 4;
}

/* Whether there is another answer now to: is there more than one client? */
static bool company_changed(struct placement *placement, uint32_t seen, uint32_t turns)
{
    bool several = placement->several;

    placement->company_seen += seen;
    placement->company_turns += turns;
    if (placement->company_seen < COMPANY_REQUESTS)
        return false;
    if (placement->company_turns * SEVERAL_SHARE > placement->company_seen) {
        placement->looks_without = 0;
        several = true;
    } else if (++placement->looks_without >= ONE_LOOKS) {
        several = false;
    }
    placement->company_seen = placement->company_turns = 0;
    if (several == placement->several)
        return false;
    placement->several = several;
    return true;
}

static void look(struct placement *placement, int64_t now)
{
    uint32_t seen = atomic_exchange(&placement->seen, 0);
    uint32_t turns = atomic_exchange(&placement->turns, 0);

    if (company_changed(placement, seen, turns)) {
        placement->following = !placement->several;
        placement->hold_ns = HOLD_FIRST_NS;
        begin(placement, MEASURE, now, TRIAL_NS);
    }
    if (was_idle(placement, now)) {
        if (placement->phase != HOLD)
            begin(placement, placement->phase, now, TRIAL_NS);
    } else {
        placement->requests += seen;
        if (now >= placement->until)
            next_phase(placement, now);
    }
    if (placement->following) {
        int cpu = cpu_of(placement->pid);

        if (cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &placement->home))
            place_all(placement, cpu);
    } else {
        place_all(placement, AT_LARGE);
    }
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
    placement->following = true; /* what a single client wants */
    placement->hold_ns = HOLD_FIRST_NS;
    begin(placement, HOLD, now_ns(), HOLD_FIRST_NS);
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
