/* upcall: one request on its way through Python. Made by the libfuse callbacks of cuse.c and
 * fileview.c, run by the channel, answered by call_reply_* (scullv.h). See upcall.c. */
#ifndef UPCALL_H
#define UPCALL_H

#include <fuse_lowlevel.h>

#include "scullv.h"

struct channel;

/* A call for `req` (kept: the reply consumes it). `data` is borrowed until call_submit returns.
 * NULL: no memory, and `req` has been answered with ENOMEM. */
struct call *call_new(fuse_req_t req, enum call_kind kind, const struct fuse_file_info *fi,
                      const void *data, size_t size);
/* Hands the call to the channel that is the session's userdata. */
void call_submit(struct call *call);
/* For worker.c, when the call has to wait: `data` is copied. False: no memory. */
bool call_keep_data(struct call *call);
/* For calls without a request (HANGUP). */
struct call *call_new_bare(enum call_kind kind);
void call_free_bare(struct call *call);
/* Ends a call that Python never saw, without an answer. */
void call_drop(struct call *call);

/* What `open` replies carry in fi->fh: a pointer to a handle, or a number for Python (odd). */
struct handle *fh_handle(uint64_t fh); /* NULL: Python's */

/* How a file view fills in what an open reply says besides (direct_io, keep_cache …); set by
 * fileview.c on calls it makes. */
typedef void call_open_hook(struct call *call, struct fuse_file_info *fi);
void call_set_open_hook(struct call *call, call_open_hook *hook);
/* How a call is answered whose success is more than errno 0 (RESIZE: the attributes), and what is
 * to be done after it. Answers call_request(call) with `error`, or 0 with what belongs to it. */
typedef int call_done_hook(struct call *call, int error);
void call_set_done_hook(struct call *call, call_done_hook *hook);
fuse_req_t call_request(const struct call *call);

#endif
