/* trial: which of some ways to serve is the fastest here. See trial.c. */
#ifndef TRIAL_H
#define TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#define TRIAL_WAYS 4 /* at most; they are numbered from 0 */

/* What the time since the last look was like. IDLE: clients were away, it says nothing of speed.
 * OTHER: so were they, and others may have come. STARVED: workers waited for their CPU. CROWDED: busy, as
 * BUSY, and every CPU has something else to do. */
enum trial_time { TIME_BUSY, TIME_CROWDED, TIME_IDLE, TIME_OTHER, TIME_STARVED };

struct trial {
    unsigned ways; /* how many there are */
    unsigned calm; /* the way to take at once where workers starve */
    bool yields;   /* that way is the only one of use where it is crowded */
    uint32_t left_out; /* bits of the ways that are not tried again in this trial */
    unsigned way;  /* in force now */
    unsigned best; /* of the last trial */
    int window;    /* of the trial that is on; -1: none is, and `best` is held */
    bool settles;  /* the window has only been opened: what is answered does not count yet */
    int64_t since; /* ns; the window's start */
    int64_t began; /* ns; the trial's start */
    int64_t until; /* ns; the next trial's start */
    int64_t hold_ns;         /* of the next hold */
    uint64_t requests;       /* in the window */
    double rate[TRIAL_WAYS]; /* requests a nanosecond, the best window of each in this trial */
};

/* Begins with the way `first`. */
void trial_init(struct trial *trial, int64_t now, unsigned ways, unsigned first, unsigned calm,
                bool yields);
/* Takes the calm way for a second. */
void trial_be_calm(struct trial *trial, int64_t now);
bool trial_is_on(const struct trial *trial);
/* One begins at the next look at busy time. */
bool trial_is_due(const struct trial *trial, int64_t now);
/* Time passes: `requests` were answered since the last look, which were a time like that. What is
 * best from now on is trial->way. */
void trial_look(struct trial *trial, int64_t now, uint32_t requests, enum trial_time time);

#endif
