/* trial: which of some ways to serve is the fastest here.
 *
 * What is best depends on the processor, the hypervisor, the scheduler and on what else runs. Rather
 * than knowing all that, each way is tried now and then for a few milliseconds, and the one that
 * answers more requests a second is kept.
 *
 * A trial goes through the ways twice and takes the better window of each: on a shared machine a
 * disturbance makes a window slower, never faster. What is in force is given up only for something
 * clearly better. A trial takes a small part of the time, however long it turns out to be, and
 * comes the more seldom the more often nothing else won.
 *
 * Pure: no clock, no system call, no lock. */
#include "placement/trial.h"

#define WINDOW_NS INT64_C(8000000) /* at least: two ticks of the clock that is looked at */
#define PASSES 2
#define HOLD_FIRST_NS INT64_C(60000000)
#define HOLD_MOST_NS INT64_C(4000000000)
#define HOLD_CALM_NS INT64_C(1000000000)
#define TRIAL_SHARE 32 /* what won is held so many times what the trial took, at least */
#define CLEARLY 1.2

static void hold(struct trial *trial, unsigned best, int64_t now, int64_t length)
{
    trial->best = trial->way = best;
    trial->window = -1;
    trial->until = now + length;
}

void trial_init(struct trial *trial, int64_t now, unsigned ways, unsigned first, unsigned calm)
{
    *trial = (struct trial){.ways = ways, .calm = calm, .hold_ns = HOLD_FIRST_NS};
    hold(trial, first, now, HOLD_FIRST_NS);
}

void trial_be_calm(struct trial *trial, int64_t now)
{
    hold(trial, trial->calm, now, HOLD_CALM_NS);
}

/* The first window of a pass is the best's: so a way is measured before it is compared. */
static void open_window(struct trial *trial, int window, int64_t now)
{
    trial->way = (trial->best + (unsigned)window) % trial->ways;
    trial->window = window;
    trial->since = now;
    trial->requests = 0;
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
    return trial->rate[fastest] > trial->rate[trial->best] * CLEARLY ? fastest : trial->best;
}

static void decide(struct trial *trial, int64_t now)
{
    unsigned best = fastest(trial);
    int64_t share = (now - trial->began) * TRIAL_SHARE;

    trial->hold_ns = best == trial->best ? 2 * trial->hold_ns : HOLD_FIRST_NS;
    if (trial->hold_ns > HOLD_MOST_NS)
        trial->hold_ns = HOLD_MOST_NS;
    hold(trial, best, now, share > trial->hold_ns ? share : trial->hold_ns);
}

static void close_window(struct trial *trial, int64_t now)
{
    double rate = (double)trial->requests / (double)(now - trial->since);

    if (rate > trial->rate[trial->way])
        trial->rate[trial->way] = rate;
    if (trial->window + 1 < (int)(PASSES * trial->ways))
        open_window(trial, trial->window + 1, now);
    else
        decide(trial, now);
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
    case TIME_BUSY:
    case TIME_STARVED:
        trial->requests += requests;
        if (now - trial->since >= WINDOW_NS)
            close_window(trial, now);
    }
}

void trial_look(struct trial *trial, int64_t now, uint32_t requests, enum trial_time time)
{
    if (trial->window >= 0) {
        look_at_window(trial, now, requests, time);
    } else if (time == TIME_STARVED && trial->best != trial->calm) {
        trial->hold_ns = HOLD_FIRST_NS;
        hold(trial, trial->calm, now, HOLD_FIRST_NS);
    } else if (now >= trial->until && time == TIME_BUSY) {
        begin(trial, now);
    }
}
