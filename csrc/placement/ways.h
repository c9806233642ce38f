/* ways: in what ways the workers of a channel can serve. See ways.c. */
#ifndef WAYS_H
#define WAYS_H

#include <stdbool.h>

struct way {
    const char *name;
    enum { ONE, ONE_A_CPU } readers; /* workers that read */
    bool idle;  /* in SCHED_IDLE */
    bool bound; /* to the client's CPU */
    bool spins;
};
extern const struct way CREW;

/* Those to try. Who spins is last, to be left out where spinning is not wanted. */
struct ways {
    const struct way *const *way;
    unsigned n;
    unsigned first; /* what is done before the first trial */
    unsigned calm;  /* see trial.h */
    bool yields;    /* the same */
};
/* What is best for one client depends on how much of the time of its requests goes into handing them over. */
enum size { SMALL, LARGE, SIZES };
/* For one client, for one beside busy channels of the process, for several. */
struct plan {
    struct ways one[SIZES], beside, many;
    bool pairs; /* a few clients are served in pairs */
};
extern const struct plan PLAN_DATA, PLAN_PYTHON, PLAN_ANYWHERE;

#endif
