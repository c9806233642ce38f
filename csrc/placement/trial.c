/* trial: which of some ways to serve is the fastest here.
 *
 * What is best depends on the processor, the hypervisor, the scheduler and on what else runs. Rather
 * than knowing all that, each way is tried now and then for a few milliseconds, and the one that
 * answers more requests a second is kept.
 *
 * A trial goes through the ways twice and takes the better window of each: on a shared machine a
 * disturbance makes a window slower, never faster. What is in force is given up only for something
 * clearly better; what is hopeless is tried once. A trial takes a small part of the time, however long
 * it turns out to be, and comes the more seldom the more often nothing else won. A way in which workers
 * starve is not tried twice; where that can be told before, nothing is tried at all: one request can take
 * half a second.
 *
 * Pure: no clock, no system call, no lock. */
#include "placement/trial.h"

#define WINDOW_NS INT64_C(8000000) /* at least: two ticks of the clock that is looked at */
#define PASSES 2
#define HOLD_FIRST_NS INT64_C(60000000)
#define HOLD_MOST_NS INT64_C(4000000000)
#define HOLD_CALM_NS INT64_C(1000000000)
#define HOLD_CROWDED_NS INT64_C(250000000) /* then it is looked again; a moment's crowd costs no more */
#define TRIAL_SHARE 32 /* what won is held so many times what the trial took, at least */
#define CLEARLY 1.2
#define HOPELESS 1.5 /* times slower in the first pass: not tried twice, unless it is in force */

static void hold(struct trial *trial, unsigned best, int64_t now, int64_t length)
{
    trial->best = trial->way = best;
    trial->window = -1;
    trial->until = now + length;
}

void trial_init(struct trial *trial, int64_t now, unsigned ways, unsigned first, unsigned calm,
                bool yields)
{
    *trial = (struct trial){.ways = ways, .calm = calm, .yields = yields, .hold_ns = HOLD_FIRST_NS};
    hold(trial, first, now, HOLD_FIRST_NS);
}

void trial_be_calm(struct trial *trial, int64_t now)
{
    hold(trial, trial->calm, now, HOLD_CALM_NS);
}

static bool has(uint32_t bits, unsigned way)
{
    return bits >> way & 1;
}

/* The first window of a pass is the best's: so a way is measured before it is compared. */
static unsigned way_of(const struct trial *trial, int window)
{
    return (trial->best + (unsigned)window) % trial->ways;
}

static void open_window(struct trial *trial, int window, int64_t now)
{
    trial->way = way_of(trial, window);
    trial->window = window;
    trial->since = now;
    trial->requests = 0;
    trial->settles = true;
}

static void begin(struct trial *trial, int64_t now)
{
    for (unsigned way = 0; way < trial->ways; way++)
        trial->rate[way] = 0;
    trial->began = now;
    open_window(trial, 0, now);
}

static unsigned fastest(const struct trial *trial)
{
    unsigned fastest = 0;

    for (unsigned way = 1; way < trial->ways; way++)
        if (trial->rate[way] > trial->rate[fastest])
            fastest = way;
    return fastest;
}

static unsigned winner(const struct trial *trial)
{
    unsigned way = fastest(trial);

    return trial->rate[way] > trial->rate[trial->best] * CLEARLY ? way : trial->best;
}

static void decide(struct trial *trial, int64_t now)
{
    unsigned best = winner(trial);
    int64_t share = (now - trial->began) * TRIAL_SHARE;

    trial->hold_ns = best == trial->best ? 2 * trial->hold_ns : HOLD_FIRST_NS;
    if (trial->hold_ns > HOLD_MOST_NS)
        trial->hold_ns = HOLD_MOST_NS;
    hold(trial, best, now, share > trial->hold_ns ? share : trial->hold_ns);
}

/* Whether the way is not worth another window. */
static bool is_out(const struct trial *trial, int window)
{
    unsigned way = way_of(trial, window);

    return has(trial->left_out, way) ||
           (window >= (int)trial->ways && way != trial->best &&
            trial->rate[way] * HOPELESS < trial->rate[fastest(trial)]);
}

static void close_window(struct trial *trial, int64_t now)
{
    double rate = (double)trial->requests / (double)(now - trial->since);
    const int windows = (int)(PASSES * trial->ways);
    int next = trial->window + 1;

    if (rate > trial->rate[trial->way])
        trial->rate[trial->way] = rate;
    while (next < windows && is_out(trial, next))
        next++;
    if (next < windows)
        open_window(trial, next, now);
    else
        decide(trial, now);
}

/* The first look of a window sees the change from one way to another. */
static void settle(struct trial *trial, int64_t now)
{
    trial->since = now;
    trial->settles = false;
}

static void look_at_window(struct trial *trial, int64_t now, uint32_t requests,
                           enum trial_time time)
{
    switch (time) {
    case TIME_OTHER: /* may be faster or slower than those before */
        begin(trial, now);
        break;
    case TIME_IDLE:
        open_window(trial, trial->window, now);
        break;
    case TIME_STARVED:
        trial->left_out |= 1u << trial->way;
        trial->settles = false;
        /* fall through */
    case TIME_BUSY:
    case TIME_CROWDED:
        if (trial->settles) {
            settle(trial, now);
            break;
        }
        trial->requests += requests;
        if (now - trial->since >= WINDOW_NS)
            close_window(trial, now);
    }
}

bool trial_is_on(const struct trial *trial)
{
    return trial->window >= 0;
}

bool trial_is_due(const struct trial *trial, int64_t now)
{
    return !trial_is_on(trial) && now >= trial->until;
}

void trial_look(struct trial *trial, int64_t now, uint32_t requests, enum trial_time time)
{
    if (trial_is_on(trial)) {
        look_at_window(trial, now, requests, time);
    } else if (time == TIME_CROWDED && trial->yields) {
        hold(trial, trial->calm, now, HOLD_CROWDED_NS);
    } else if (time == TIME_STARVED && trial->best != trial->calm) {
        trial->hold_ns = HOLD_FIRST_NS;
        hold(trial, trial->calm, now, HOLD_FIRST_NS);
    } else if (trial_is_due(trial, now) && (time == TIME_BUSY || time == TIME_CROWDED)) {
        trial->left_out = 0;
        begin(trial, now);
    }
}
