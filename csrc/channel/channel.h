/* channel: a libfuse session with worker threads. See channel.c. */
#ifndef CHANNEL_H
#define CHANNEL_H

#include <fuse_lowlevel.h>

#include "channel/room.h"
#include "channel/upcall.h"

/* `fd` is the session's from here on, as a mount's would be; or stays the caller's: false. */
bool channel_attach(struct fuse_session *session, int fd);

struct channel_setup {
    struct fuse_session *session; /* its fd is ours; owned by the channel from channel_prepare on */
    int fd;
    enum request_kind kind; /* which requests are answered in C */
    size_t payload_max;     /* largest WRITE, bytes */
    bool interruptible;     /* calls may last: of FOREIGN they may anyway */
    bool pumped;            /* no workers; not with requests that are answered in C */
    struct ledger *ledger;  /* of open files that have handles, or NULL; the channel's from here on */
    struct filters *const *filters; /* of the nodes from `first_node` on, each or NULL; held */
    unsigned n_filters;
    uint64_t first_node; /* 0: the first are of all nodes */
    const struct channel_options *options;
    void *owner; /* for python_call */
    void (*greeted)(void *arg); /* NULL: nothing; libfuse has seen to the kernel's first message */
    /* In channel_begin, NULL: nothing: before anything is answered, and when the threads are there. */
    void (*begins)(void *arg);
    void (*begun)(void *arg);
    /* Called once by channel_close when no worker is left, before the session is destroyed. */
    void (*ended)(void *arg);
    void *arg;
};
/* The session's userdata must be what channel_new returned: make the channel, then the session,
 * then prepare it; channel_begin has it serve. NULL: no memory. */
struct channel *channel_new(void);
int channel_prepare(struct channel *channel, const struct channel_setup *setup);
void channel_discard(struct channel *channel); /* of one that was not prepared */
/* The first reply is about to go out: channel_set_ready follows, and no end before it counts. */
void channel_greet(struct channel *channel);
/* The first reply has gone out: 0 ready, or -errno. Wakes channel_wait_ready. */
void channel_set_ready(struct channel *channel, int status);
/* Has the call run, by the channel that is its session's userdata. */
void channel_submit(struct call *call);
/* channel_close will follow: all workers are at work until then. */
void channel_end_placement(struct channel *channel);
bool channel_is_caller(struct channel *channel); /* on the thread that runs its calls? */
void *channel_arg(const struct channel *channel); /* setup->arg */

#endif
