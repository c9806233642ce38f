/* invalidator: tells the kernel that files of a file view have changed. See invalidate.c. */
#ifndef INVALIDATE_H
#define INVALIDATE_H

#include <pthread.h>
#include <stdbool.h>

#include <fuse_lowlevel.h>

/* What the kernel is told. */
struct drop {
    fuse_ino_t ino;
    uint64_t offset, length; /* its pages of this range are stale */
    const char *look;        /* its name, if its size has changed; or NULL */
};

struct invalidator {
    struct fuse_session *session;
    int looker; /* a SEQPACKET socket to whoever looks names up (cuse_scullv/view/looker.py); -1: nobody */
    pthread_mutex_t looking;
    uint64_t looks; /* looking; of the question that was asked last */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* everything below */
    const struct drop *job; /* lock; what the thread is at */
    struct drop copy;       /* lock, or the thread's while `job` is set */
    unsigned held[2];       /* lock; calls of each enum invalidate_hold */
    bool stopping;          /* lock */
};

/* What the kernel keeps to itself while a call waits for its thread. */
enum invalidate_hold {
    HOLD_PAGES, /* of a file that is truncated: they cannot be written back */
    HOLD_NAMES  /* of the directory, while one is removed: they cannot be looked up */
};

/* 0 or -errno. */
/* `looker`: closed by invalidate_stop, and on failure. */
int invalidate_start(struct invalidator *invalidator, struct fuse_session *session, int looker);
/* Waits for a drop that is under way: the view's workers must still be at work. From here on none
 * is begun. */
void invalidate_stop(struct invalidator *invalidator);
void invalidate_free(struct invalidator *invalidator); /* after it has stopped, and all workers too */

/* Returns when pages that were stored to through a mapping have been written back to us, and the
 * kernel has none left. Not for threads that serve the view. */
void invalidate_pages(struct invalidator *invalidator, const struct drop *drop);
/* The same for the thread that runs the view's calls. False: it could not be done, or not all of it,
 * as a call for that very thread holds what it takes. */
bool invalidate_try(struct invalidator *invalidator, const struct drop *drop);

/* Such a call begins to wait for its thread, and was answered. */
void invalidate_hold(struct invalidator *invalidator, enum invalidate_hold what);
void invalidate_release(struct invalidator *invalidator, enum invalidate_hold what);

#endif
