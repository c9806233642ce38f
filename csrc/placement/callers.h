/* callers: who made a channel's requests since somebody looked. See callers.c. */
#ifndef CALLERS_H
#define CALLERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "placement/seats.h"

#define CALLERS_MOST 16u /* told apart, by chance fewer */

struct callers {
    _Atomic uint32_t seen;
    _Atomic uint32_t turns;
    _Atomic uint32_t swaps;
    _Atomic uint32_t large;
    _Atomic bool left;
    _Atomic uint32_t last; /* caller of the channel */
    _Atomic uint32_t caller[CALLERS_MOST];     /* who made the turns, by pid % CALLERS_MOST; 0: nobody */
    _Atomic uint32_t last_of[WORKERS_MAX]; /* caller that it served */
};

/* A request that was answered. */
struct seen {
    uint32_t pid;  /* of the calling thread; 0: none */
    ssize_t bytes; /* of the READ or WRITE that it was, or that was the last before it; or -errno */
    bool left;     /* it closed a file */
};

/* What was seen since the last look. */
struct callers_look {
    uint32_t seen;  /* requests */
    uint32_t turns; /* that came from another caller than the channel's request before */
    uint32_t swaps; /* that came from another caller than the same worker's request before */
    uint32_t large; /* whose bytes take longer than being handed over */
    unsigned callers;           /* who took turns; there may have been more */
    uint32_t pid[CALLERS_MOST]; /* threads: so many are they */
    bool left;                  /* somebody closed a file */
};

/* `worker` has answered it. Any thread. */
void callers_note(struct callers *callers, unsigned worker, const struct seen *seen);
/* Begins anew. */
struct callers_look callers_take(struct callers *callers);
uint32_t callers_last(const struct callers *callers);

#endif
