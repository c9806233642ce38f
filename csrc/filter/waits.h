/* waits: requests that are delayed, each on a thread of its own. See waits.c. */
#ifndef WAITS_H
#define WAITS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WAITS_EARLY 64u /* interrupts that are kept for requests which do not wait yet */

enum wait_end { WAIT_OVER, WAIT_INTERRUPTED, WAIT_STOPPED };

/* On the stack of the thread that waits. */
struct wait {
    const void *owner; /* of the channel that the request came by */
    uint64_t unique;
    const _Atomic bool *stopping; /* the channel is */
    uint64_t changes; /* how often all were released when it was found that it has to wait */
    bool interrupted;
    struct wait *next;
};

struct waits {
    pthread_cond_t changed; /* by CLOCK_MONOTONIC; with its owner's lock */
    struct wait *first;
    uint64_t changes; /* counts waits_release */
    struct {
        const void *owner;
        uint64_t unique;
    } early[WAITS_EARLY];
    unsigned next_early;
};

void waits_init(struct waits *waits);
void waits_destroy(struct waits *waits);
/* All that follow with the owner's lock held, which is `lock`. */
enum wait_end waits_until(struct waits *waits, pthread_mutex_t *lock, struct wait *wait,
                          uint64_t until_ns);
/* The client of the request was interrupted. False: it does not wait, not yet perhaps. */
bool waits_interrupt(struct waits *waits, const void *owner, uint64_t unique);
void waits_release(struct waits *waits); /* all that wait go on */
void waits_look(struct waits *waits);    /* … look whether their channel is stopping */

#endif
