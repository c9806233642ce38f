/* queue: the calls of a channel that wait for a thread, and who may run one. See queue.c. */
#ifndef QUEUE_H
#define QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "channel/upcall.h"

#define QUEUE_STALL_MS 50u      /* nothing was answered for so long: it is not by working hard */
#define QUEUE_RUNNING_MAX 1024u /* turns that are lent to handlers stuck in something of their own */

struct queue {
    pthread_mutex_t lock;   /* a leaf: never held in an upcall or a system call; guards all below */
    pthread_cond_t changed; /* calls, turns, and what else is under the lock; by CLOCK_MONOTONIC */
    struct call *first, **last;
    unsigned callers;  /* turns there are */
    unsigned lent;     /* and how many besides, as long as all of those are taken */
    unsigned running;  /* turns taken */
    unsigned resuming; /* handlers that have waited and want their turn back */
    unsigned step;     /* turns lent the next time */
    uint64_t progress; /* counts turns given back */
    uint64_t seen;     /* `progress` at the last look */
    bool stopping;     /* no turn is waited for any more */
};

void queue_init(struct queue *queue, unsigned callers);
void queue_destroy(struct queue *queue);
struct timespec queue_deadline(uint32_t milliseconds); /* for `changed` */
bool queue_is_past(const struct timespec *deadline);

/* All that follow with the lock held. A call waits: false: no memory for its
 * data. */
bool queue_add(struct queue *queue, struct call *call);
/* The call that has waited longest, whoever has turns; NULL: none. */
struct call *queue_take(struct queue *queue);

bool queue_has_turn(const struct queue *queue); /* for a call that did not wait */
void queue_begin(struct queue *queue);
void queue_end(struct queue *queue);
/* The same as queue_take, beginning a turn. NULL: no call, or no turn for it. */
struct call *queue_next(struct queue *queue);
unsigned queue_due(const struct queue *queue); /* calls that wait and have a turn */

/* A handler waits for something of ours, and goes on. Resuming waits for a turn, and lends one where
 * that takes too long. */
void queue_pause(struct queue *queue);
void queue_resume(struct queue *queue);

/* To be asked every QUEUE_STALL_MS while calls wait: lends turns if nothing has moved. */
enum queue_look { QUEUE_MOVES, QUEUE_LENT, QUEUE_CROWDED };
enum queue_look queue_look(struct queue *queue);

#endif
