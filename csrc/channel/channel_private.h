/* channel_private: what channel.c and worker.c share. */
#ifndef CHANNEL_PRIVATE_H
#define CHANNEL_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "channel/channel.h"
#include "placement/placement.h"
#include "placement/seats.h"

struct waiting {
    struct waiting *next;
    struct call *call;
};

struct worker {
    struct channel *channel;
    pthread_t thread;
    unsigned number;
    bool caller; /* takes from the queue only */
    struct request_room room;
    _Atomic uint64_t answered;
};

struct channel {
    struct channel_setup setup;
    struct channel_options options;
    struct placement *placement;
    unsigned workers_max;
    _Atomic bool stopping;
    _Atomic unsigned calls; /* made and not answered to the end */
    pthread_mutex_t lock;               /* a leaf: never held in an upcall or a system call */
    pthread_cond_t changed;             /* status, queue, running; by CLOCK_MONOTONIC */
    int status;                         /* lock; 1: not yet, 0: ready, or -errno */
    struct waiting *first, **last;      /* lock; calls that wait for a thread */
    struct request_room room;           /* of who pumps */
    struct worker *worker[WORKERS_MAX]; /* lock; [0, started) */
    unsigned started, running, reading; /* lock */
    bool hung_up;                       /* lock */
    bool greeting;                      /* lock; the answer to INIT will tell the status */
};

/* Starts the first workers: 0, or -errno and none runs. */
int workers_start(struct channel *channel, unsigned threads, bool caller);
/* False: some were still in an upcall after `timeout_ms`. */
bool workers_stop(struct channel *channel, uint32_t timeout_ms);
void workers_free(struct channel *channel); /* after they have stopped */

struct timespec deadline_in(uint32_t milliseconds); /* for `changed` */

#endif
