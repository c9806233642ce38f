/* roster: the threads of a channel, what they share, and who is there by number. See roster.c. */
#ifndef ROSTER_H
#define ROSTER_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "channel/queue.h"
#include "channel/room.h"
#include "filter/filters.h"
#include "placement/placement.h"

#define THREADS_MAX 4096u /* of a channel: clients that wait in handlers, each on a thread */

struct workers;
struct worker {
    struct workers *workers;
    struct worker *next; /* in `gone` */
    pthread_t thread;
    unsigned number;
    struct room room; /* of those that receive */
    _Atomic uint64_t answered;
};

/* What a thread begins with. CALLER and WATCHER never read. */
enum start { READ_FIRST, RUN_FIRST, CALLER, WATCHER, SPARE };

struct roster {
    struct worker *worker[THREADS_MAX]; /* NULL: the number is free */
    struct worker *gone;                /* ended early, to be joined */
    unsigned running;
    unsigned free_from; /* no number below it is free */
};

/* Threads of a FOREIGN channel that could read. See standin.c. */
struct standins {
    pthread_cond_t changed; /* with the queue's lock, which guards all below too */
    unsigned standing;      /* threads that stand by */
    unsigned called;        /* of which so many are to read, and count as reading already */
    bool looks;             /* one of them looks whether a handler lasts */
    bool dozes;             /* … or waits for one to begin */
    unsigned soon;          /* so many of its looks come soon */
    uint64_t calls;         /* that have begun, ever */
};

struct workers {
    struct upcalls *upcalls;
    struct fuse_session *session;
    struct ledger *ledger;
    int fd;
    enum request_kind kind; /* which requests are answered in C */
    struct filters **filters; /* of the nodes from `first_node` on; of a device, which has one, of all */
    uint64_t first_node, node_mask;
    unsigned n_filters;
    size_t payload_max;     /* largest WRITE, bytes */
    bool interruptible;     /* calls may last, though reads and writes do not */
    bool pumped;            /* no threads, but who calls workers_pump */
    bool resuming; /* calls that a worker process before has left are made */
    int32_t spin_us;        /* as in struct channel_options */
    struct placement *placement;
    /* The session gives no more requests: once, on the thread that finds out, without the lock. */
    void (*on_end)(struct workers *workers, int error);
    void (*on_greeting)(struct workers *workers); /* it has been answered */
    /* With the lock held: one more thread. 0, or -errno. */
    int (*start)(struct workers *workers, enum start how);
    /* Has a call without a request run, on a thread that may. */
    void (*tell)(struct workers *workers, struct call *call);
    /* This thread will be away from reading for a while, and is back; false: it must not go. */
    bool (*step_aside)(struct workers *workers);
    void (*step_back)(struct workers *workers);

    _Atomic bool stopping;
    _Atomic uint64_t refused; /* messages, at the door */
    struct queue queue; /* its lock guards all below too */
    struct standins standins;
    struct room room; /* of who pumps */
    struct roster roster;
    _Atomic unsigned reading; /* threads that take requests */
    unsigned starting; /* threads made for calls that wait, and not there yet */
    unsigned aside;    /* threads of a data channel that are away from reading */
    unsigned spares;   /* threads that read as long as others are aside */
    bool ended, watching;
};

static inline bool workers_are_foreign(const struct workers *workers)
{
    return workers->kind == REQUEST_FOREIGN;
}

/* Starts a thread with the lowest free number: 0, or -errno. `payload_max`: 0: it receives nothing. */
int roster_start(struct roster *roster, struct workers *workers, size_t payload_max,
                 void *(*main)(void *worker));
/* The thread of `worker` is about to end early: its number is free. It is freed by others. */
void roster_leave(struct roster *roster, struct worker *worker);
uint64_t workers_answered(struct workers *workers);
/* False: some were still in an upcall after `timeout_ms`. */
bool workers_stop(struct workers *workers, uint32_t timeout_ms);
void workers_free(struct workers *workers); /* after they have stopped */

#endif
