/* upcall: one request on its way through Python. Made by the libfuse callbacks of cuse.c and
 * fileview.c, run by the channel, answered by call_reply_* (scullv.h). See upcall.c,
 * answer.c. */
#ifndef UPCALL_H
#define UPCALL_H

#include <fuse_lowlevel.h>

#include <stdatomic.h>

#include "channel/counters.h"
#include "channel/ledger.h"
#include "scullv.h"

/* Whose calls they are. What is the session's userdata begins with it. */
struct upcalls {
    void *owner;                /* for python_call */
    int fd;                     /* of the channel */
    struct ledger *ledger;      /* of open files that have handles; NULL: none has */
    struct counters *counters;  /* of what is answered; NULL: nobody counts */
    _Atomic unsigned under_way; /* made, and not answered to the end */
};

/* Has libfuse decode a message, whose callbacks make calls. */
void call_decode(struct fuse_session *session, const struct fuse_buf *message);
/* A call for `req` (kept: the reply consumes it). `data` is borrowed until its upcall returns.
 * NULL: no memory, and `req` has been answered with ENOMEM. */
struct call *call_new(fuse_req_t req, enum call_kind kind, const struct fuse_file_info *fi,
                      const void *data, size_t size);
/* From here on CALL_INTERRUPT may come, before the call itself even. */
void call_expect_interrupt(struct call *call);
/* The upcall; an answer may free the call before it returns. */
void call_run(const struct upcalls *upcalls, struct call *call);
/* For queue.c: the call behind it. */
struct call **call_next(struct call *call);
/* For queue.c, when the call has to wait: `data` is copied. False: no memory. */
bool call_keep_data(struct call *call);
/* The call is run by what this journal says, whose slot (ledger.h) ends with the call. NULL: none. */
void call_keep_journal(struct call *call, struct journal *journal);
/* For calls without a request (HANGUP, CROWDED), which end with call_run. */
struct call *call_new_bare(enum call_kind kind);
/* Of a call that Python never saw: the poll handle that it would have given back. */
void call_drop_own_poll(struct call *call);
/* Ends a call that Python never saw, without an answer. */
void call_drop(struct call *call);

/* How a file view fills in what an open reply says besides (direct_io, keep_cache …); set by
 * fileview.c on calls it makes. */
typedef void call_open_hook(struct call *call, struct fuse_file_info *fi);
void call_set_open_hook(struct call *call, call_open_hook *hook);
/* How a call is answered whose success is more than errno 0 (RESIZE: the attributes), and what is
 * to be done after it. Answers call_request(call) with `error`, or 0 with what belongs to it. */
typedef int call_done_hook(struct call *call, int error);
void call_set_done_hook(struct call *call, call_done_hook *hook);
fuse_req_t call_request(const struct call *call);
/* For such a hook of a RELEASE: the open file ended with it, which it does once. */
bool call_has_closed(const struct call *call);

#endif
