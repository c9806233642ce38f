/* pairs: whether each worker serves a client of its own, and how to get there. See pairs.c. */
#ifndef PAIRS_H
#define PAIRS_H

#include <stdbool.h>
#include <stdint.h>

/* Where the workers are to be until the next look: as they like; on the CPU that all clients share; on
 * a CPU each. */
enum pairs_step { PAIRS_LEAVE, PAIRS_GATHER, PAIRS_SPLIT };

struct pairs {
    enum { WATCHING, GATHERED, SPLIT, LEFT } state;
    unsigned looks;    /* in this state; WATCHING: in a row that found requests mixed */
    unsigned patience; /* how many of them it takes */
    int64_t since;     /* ns; the first of them */
    uint64_t seen;     /* requests since then */
    double before;     /* rate, requests a nanosecond, before something was done */
};

/* Begins, or begins anew: clients came or went. */
void pairs_init(struct pairs *pairs, int64_t now);
/* Time passes: `seen` requests were answered since the last look, `swaps` of which came from another
 * client than the same worker's request before. `crowded`: all clients are on one CPU, and so are the
 * workers if they were gathered; it matters only where pairs_ask() says so. */
enum pairs_step pairs_look(struct pairs *pairs, int64_t now, uint32_t seen, uint32_t swaps,
                           bool crowded);
bool pairs_ask(const struct pairs *pairs, uint32_t seen, uint32_t swaps);

#endif
