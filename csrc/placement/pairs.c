/* pairs: whether each worker serves a client of its own, and how to get there.
 *
 * A few clients are served best in pairs: a client and a worker that share a CPU, and hand over to
 * each other by nothing but context switches. Left alone, the scheduler keeps such pairs for
 * seconds: a worker that has just replied is the one to find its client's next request. But as well
 * it keeps two clients on one CPU and their workers on another, with an interrupt and a wake-up for
 * each hand-over: a third of the speed, while both CPUs are idle half of the time.
 *
 * Which it is shows in the requests: in pairs, nearly all that a worker answers come from the client
 * that it answered before. Where they are mixed for some looks, the workers get a CPU each for a
 * while. Where all clients share a CPU, the workers are sent there first: with several threads to run
 * on that CPU and none on another, the scheduler moves a client (kernel/sched/fair.c:
 * nohz_balancer_kick), which takes it a tick or two.
 *
 * Where that does not help (clients that somebody has bound, CPU hogs) it is tried ever more seldom.
 *
 * Pure: no clock, no system call, no lock. */
#include "placement/pairs.h"

#define REQUESTS 16u     /* of a look that says something */
#define MIXED_SHARE 5u   /* one swap in so many requests is mixed */
#define PATIENCE_FIRST 2u
#define PATIENCE_MOST 256u
#define GATHER_MOST 8u   /* looks */
#define MEASURE_LOOKS 2u /* after something was done */
#define HELPED 1.1

static void enter(struct pairs *pairs, int state, int64_t now)
{
    pairs->state = state;
    pairs->looks = 0;
    pairs->seen = 0;
    pairs->since = now;
}

void pairs_init(struct pairs *pairs, int64_t now)
{
    pairs->patience = PATIENCE_FIRST;
    enter(pairs, WATCHING, now);
}

static double rate(const struct pairs *pairs, int64_t now)
{
    return (double)pairs->seen / (double)(now - pairs->since);
}

static enum pairs_step gather_or_split(struct pairs *pairs, int64_t now, bool gather)
{
    if (pairs->state != (gather ? GATHERED : SPLIT))
        enter(pairs, gather ? GATHERED : SPLIT, now);
    return gather ? PAIRS_GATHER : PAIRS_SPLIT;
}

static enum pairs_step watch(struct pairs *pairs, int64_t now, bool mixed, bool crowded)
{
    if (!mixed) {
        enter(pairs, WATCHING, now);
    } else if (++pairs->looks >= pairs->patience) {
        pairs->before = rate(pairs, now);
        return gather_or_split(pairs, now, crowded);
    }
    return PAIRS_LEAVE;
}

static void measure(struct pairs *pairs, int64_t now)
{
    if (++pairs->looks < MEASURE_LOOKS)
        return;
    if (rate(pairs, now) > pairs->before * HELPED)
        pairs->patience = PATIENCE_FIRST;
    else if (pairs->patience < PATIENCE_MOST)
        pairs->patience *= 2;
    enter(pairs, WATCHING, now);
}

static bool are_mixed(uint32_t seen, uint32_t swaps)
{
    return seen >= REQUESTS && swaps > seen / MIXED_SHARE;
}

bool pairs_ask(const struct pairs *pairs, uint32_t seen, uint32_t swaps)
{
    return pairs->state == GATHERED ||
           (pairs->state == WATCHING && are_mixed(seen, swaps) &&
            pairs->looks + 1 >= pairs->patience);
}

enum pairs_step pairs_look(struct pairs *pairs, int64_t now, uint32_t seen, uint32_t swaps,
                           bool crowded)
{
    pairs->seen += seen;
    switch (pairs->state) {
    case WATCHING:
        return watch(pairs, now, are_mixed(seen, swaps), crowded);
    case GATHERED:
        return gather_or_split(pairs, now, crowded && ++pairs->looks < GATHER_MOST);
    case SPLIT:
        enter(pairs, LEFT, now);
        return PAIRS_LEAVE;
    default:
        measure(pairs, now);
        return PAIRS_LEAVE;
    }
}
