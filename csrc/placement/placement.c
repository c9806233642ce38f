/* placement: on which CPU the workers of a channel run, and how many of them read.
 *
 * A request is a hand-over between two threads, client and worker, of which one runs at a time. On
 * one CPU that costs a context switch and finds the data in the cache; across CPUs it costs an
 * interrupt and a wake-up from idle, several times as much, unless the worker does not sleep.
 *
 * There are several ways to serve (ways.c), which are tried, and the fastest kept (trial.c), for small
 * requests one and for large ones another. A few clients of a device in C, no more than CPUs, are served by
 * the CREW, in pairs (pairs.c). More keep every CPU busy anyway, and a worker is woken where its client is.
 *
 * Workers beyond those that serve are parked: the kernel wakes the one that has slept longest in its
 * read, and each that takes a turn has to be fetched from wherever it slept.
 *
 * The workers only note who called (callers.c); every few milliseconds one of them (`looking`) reads
 * /proc and moves all (seats.c). State but for the atomics and the park belongs to the one who
 * looks. */
#include "placement/placement.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <stdio.h>
#include <time.h>

#include "placement/company.h"
#include "base/lock.h"
#include "placement/pairs.h"
#include "placement/park.h"
#include "placement/seats.h"
#include "base/thread.h"
#include "placement/trial.h"
#include "placement/ways.h"

#define LOOK_NS INT64_C(4000000)
#define IDLE_NS INT64_C(20000000) /* a gap between requests that says nothing about speed */
#define FEW_NS INT64_C(500000)      /* a gap between two requests that may be a wait for a CPU */
#define STARVED_NS INT64_C(1000000) /* more than that is no wait for the client's own turn */
#define SPIN_NS UINT64_C(200000)  /* longer than a client takes between two calls */

static const char *const policy_names[] = {
    [PLACEMENT_NONE] = "none", [PLACEMENT_FOLLOW] = "follow", [PLACEMENT_LIST] = "list"};
/* Which of some ways is in force. */
struct contest {
    const struct way *const *ways;
    struct trial trial;
};

struct placement {
    struct placement *next; /* all_lock */
    int policy;
    const struct plan *plan; /* NULL: nothing is tried */
    struct seats seats;
    struct callers callers;
    _Atomic int64_t next_look;
    atomic_flag looking; /* set for good by the end */
    _Atomic bool ended;
    int64_t waited_ns; /* sum of the workers' run delays at the last look; -1: not looked at */
    _Atomic int64_t looked_at;
    struct company company;
    struct contest one[SIZES], beside, many; /* of the plan */
    enum size size; /* of most requests */
    struct pairs pairs;
    const struct contest *last; /* of them that was looked at; NULL: pairs were */
    _Atomic unsigned clients; /* company.callers, for the other placements */
    _Atomic uint64_t spin_ns; /* how long a worker looks for its next request */
    _Atomic bool wants_many;  /* ONE_A_CPU */
    struct park park;
    _Atomic(const char *) choice; /* the name of the way in force, for people */
};

/* The placements of this process, whose clients are each other's company. */
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf */
static struct placement *all;                                /* all_lock */

/* Whether it is for us to say where workers run. */
static bool places(const struct placement *placement)
{
    return placement->policy == PLACEMENT_FOLLOW;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* --- looking ----------------------------------------------------------------------------------- */

/* How long the workers waited for a CPU since the last look; 0: that is not known, as it is where it did
 * not matter at the last look. */
static int64_t waited_since(struct placement *placement, bool matters)
{
    int64_t before = placement->waited_ns;

    placement->waited_ns = matters ? seats_waited_ns(&placement->seats) : -1;
    return matters && before >= 0 ? placement->waited_ns - before : 0;
}

/* Threads that are ours and run. Of a client and the worker that serves it one runs at a time, but for those
 * that spin. */
static unsigned ours(const struct placement *placement, unsigned clients)
{
    if (!placement->spin_ns)
        return clients;
    return clients + (placement->wants_many ? seats_cpus(&placement->seats) : 1);
}

static bool is_crowded(const struct placement *placement, unsigned clients)
{
    return seats_are_crowded(&placement->seats, ours(placement, clients));
}

/* Of a contest that was not looked at for a while, or of other clients. What was best then may starve now. */
static enum trial_time time_anew(const struct placement *placement, const struct contest *contest,
                                 unsigned clients)
{
    bool resumes = placement->last != contest && !trial_is_on(&contest->trial);

    return resumes && is_crowded(placement, clients) ? TIME_CROWDED : TIME_OTHER;
}

/* What the time of a contest was like since the last look, a while ago. /proc is read only where that
 * matters: before and in trials, and where requests are few. In an emulator it takes longer than one. */
static enum trial_time time_of(struct placement *placement, const struct trial *trial, int64_t now,
                               int64_t gap, uint32_t seen, unsigned clients)
{
    bool on = trial_is_on(trial);
    bool few = gap > (int64_t)seen * FEW_NS;
    int64_t waited = waited_since(placement, on || few);

    if (waited > (int64_t)seen * STARVED_NS)
        return TIME_STARVED;
    if (!on && (few || trial_is_due(trial, now)) && is_crowded(placement, clients))
        return TIME_CROWDED;
    return gap > IDLE_NS && waited < gap / 4 ? TIME_IDLE : TIME_BUSY;
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
    int cpu = thread_cpu(callers_last(&placement->callers));

    return seats_may_use(&placement->seats, cpu) ? cpu : placement->seats.seat.cpu;
}

/* The CPU that all clients share, or AT_LARGE. */
static int crowded_cpu(const struct placement *placement, const struct callers_look *look)
{
    int cpu = thread_cpu(look->pid[0]);

    for (unsigned i = 1; i < look->callers; i++)
        if (thread_cpu(look->pid[i]) != cpu)
            return AT_LARGE;
    return seats_may_use(&placement->seats, cpu) ? cpu : AT_LARGE;
}

static void serve(struct placement *placement, const struct way *way, int cpu)
{
    placement->spin_ns = way->spins ? SPIN_NS : 0;
    placement->wants_many = way->readers == ONE_A_CPU;
    placement->choice = places(placement) ? way->name : policy_names[placement->policy];
    park_want(&placement->park, way->readers == ONE ? 1 : seats_cpus(&placement->seats));
    seats_take(&placement->seats, (struct seat){cpu, way->idle ? SCHED_IDLE : SCHED_OTHER});
}

static void serve_pairs(struct placement *placement, int64_t now, const struct callers_look *look)
{
    struct pairs *pairs = &placement->pairs;
    int at = placement->seats.seat.cpu;
    int cpu = pairs_ask(pairs, look->seen, look->swaps) ? crowded_cpu(placement, look) : AT_LARGE;
    bool crowded = cpu != AT_LARGE && (at == AT_LARGE || at == cpu);

    placement->last = NULL;
    switch (pairs_look(pairs, now, look->seen, look->swaps, crowded)) {
    case PAIRS_LEAVE:
        cpu = AT_LARGE;
        break;
    case PAIRS_SPLIT:
        cpu = A_CPU_EACH;
        break;
    case PAIRS_GATHER:
        break;
    }
    serve(placement, &CREW, cpu);
    placement->choice = "pairs";
}

static void serve_by_trial(struct placement *placement, struct contest *contest, int64_t now,
                           uint32_t seen, enum trial_time time)
{
    const struct way *way;

    placement->last = contest;
    trial_look(&contest->trial, now, seen, time);
    way = contest->ways[contest->trial.way];
    serve(placement, way, way->bound ? cpu_to_follow(placement) : AT_LARGE);
}

/* Where they are mixed it stays what it was. */
static enum size size_of(const struct placement *placement, const struct callers_look *look)
{
    if (4 * look->large < look->seen)
        return SMALL;
    return 4 * look->large > 3 * look->seen ? LARGE : placement->size;
}

/* NULL: pairs are best for so many clients of the process. */
static struct contest *contest_for(struct placement *placement, unsigned clients)
{
    if (!placement->company.several)
        return clients > 1 ? &placement->beside : &placement->one[placement->size];
    if (placement->plan->pairs && clients <= seats_cpus(&placement->seats))
        return NULL;
    return &placement->many;
}

static void look(struct placement *placement, int64_t now)
{
    struct callers_look look = callers_take(&placement->callers);
    bool other = company_judge(&placement->company, &look) || look.left;
    unsigned many = clients(placement, now);
    int64_t gap = now - placement->looked_at;
    struct contest *contest;
    enum trial_time time;

    placement->size = size_of(placement, &look);
    contest = contest_for(placement, many);
    placement->looked_at = now;
    placement->clients = placement->company.callers;
    if (other)
        pairs_init(&placement->pairs, now);
    if (!contest) {
        serve_pairs(placement, now, &look);
        return;
    }
    time = time_of(placement, &contest->trial, now, gap, look.seen, many);
    if (other || placement->last != contest)
        time = time_anew(placement, contest, many);
    serve_by_trial(placement, contest, now, look.seen, time);
}

void placement_see(struct placement *placement, unsigned worker, const struct seen *seen)
{
    int64_t now;

    if (!placement->plan)
        return;
    callers_note(&placement->callers, worker, seen);
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

bool placement_wants_many(const struct placement *placement)
{
    return atomic_load_explicit(&placement->wants_many, memory_order_relaxed);
}

const char *placement_choice(const struct placement *placement)
{
    return atomic_load_explicit(&placement->choice, memory_order_relaxed);
}

/* --- life -------------------------------------------------------------------------------------- */

static const struct plan *plan_of(const struct placement *placement, bool runs_python)
{
    if (places(placement))
        return runs_python ? &PLAN_PYTHON : &PLAN_DATA;
    return runs_python ? &PLAN_ANYWHERE : NULL;
}

static void contest_init(struct contest *contest, const struct ways *ways, bool may_spin)
{
    unsigned n = ways->n;

    while (!may_spin && ways->way[n - 1]->spins)
        n--;
    contest->ways = ways->way;
    trial_init(&contest->trial, now_ns(), n, ways->first < n ? ways->first : 0, ways->calm,
               ways->yields);
}

static int find_policy(struct placement *placement, const struct channel_options *options)
{
    if (seats_init(&placement->seats) < 0)
        return PLACEMENT_NONE;
    if (options->placement == PLACEMENT_LIST) {
        CPU_ZERO(&placement->seats.home);
        for (uint32_t i = 0; i < options->cpus; i++)
            CPU_SET(options->cpu[i], &placement->seats.home);
    }
    if (options->placement == PLACEMENT_FOLLOW &&
        (seats_cpus(&placement->seats) < 2 || !thread_may_leave_idle()))
        return PLACEMENT_NONE;
    return (int)options->placement;
}

struct placement *placement_new(const struct channel_options *options, bool runs_python)
{
    struct placement *placement = calloc(1, sizeof(*placement));

    if (!placement)
        return NULL;
    placement->company.callers = 1;
    placement->clients = 1;
    placement->waited_ns = -1;
    park_init(&placement->park);
    pairs_init(&placement->pairs, now_ns());
    atomic_flag_clear(&placement->looking);
    placement->policy = find_policy(placement, options);
    placement->plan = plan_of(placement, runs_python);
    if (placement->plan) {
        for (unsigned size = 0; size < SIZES; size++)
            contest_init(&placement->one[size], &placement->plan->one[size],
                         options->spin_us != 0);
        contest_init(&placement->beside, &placement->plan->beside, options->spin_us != 0);
        contest_init(&placement->many, &placement->plan->many, options->spin_us != 0);
    }
    placement->choice = policy_names[placement->policy];
    LOCKED(&all_lock);
    placement->next = all;
    all = placement;
    return placement;
}

/* A new process knows no trials, and begins with what is best for a client alone. Beside busy threads that
 * would have the clients wait for a worker in SCHED_IDLE, a second and more in an emulator. */
void placement_follow_death(struct placement *placement)
{
    for (unsigned size = 0; size < SIZES; size++)
        trial_be_calm(&placement->one[size].trial, now_ns());
    trial_be_calm(&placement->beside.trial, now_ns());
    trial_be_calm(&placement->many.trial, now_ns());
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
    if (placement->policy == PLACEMENT_LIST)
        sched_setaffinity(0, sizeof(placement->seats.home), &placement->seats.home);
    seats_join(&placement->seats, worker);
}

void placement_leave(struct placement *placement, unsigned worker)
{
    seats_leave(&placement->seats, worker);
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
    if (!placement->plan)
        return;
    for (unsigned tries = 0; atomic_flag_test_and_set(&placement->looking); tries++) {
        if (placement->ended || tries == 100)
            return;
        nanosleep(&nap, NULL);
    }
    placement->ended = true; /* and nobody looks any more */
    placement->spin_ns = 0;
    seats_take(&placement->seats, (struct seat){AT_LARGE, SCHED_OTHER});
}
