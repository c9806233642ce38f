/* answer: the one answer of a call, which frees it (call_reply_*, scullv.h). What it looks like to the
 * kernel is reply.c's business. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/killpoint.h"
#include "channel/reply.h"
#include "channel/upcall_private.h"
#include "filter/flip.h"

static void record(void *arg, const struct iovec *iov, int count)
{
    struct pending *pending = arg;

    ledger_answer_call(pending->upcalls->ledger, pending->journal, iov, count);
}

/* Of one that is sent now. */
static struct reply begin_answer(struct pending *pending)
{
    const bool saves = pending->journal && ledger_saves(pending->upcalls->ledger);

    KILL_POINT(KILL_UNANSWERED);
    return (struct reply){
        .fd = pending->upcalls->fd,
        .unique = pending->unique,
        .record = saves ? record : NULL,
        .arg = pending,
    };
}

/* The same, of one that ends the request: it is counted before its client goes on. */
static struct reply answer(struct pending *pending, uint64_t bytes, int error)
{
    const struct call *call = &pending->call;

    counters_note(pending->upcalls->counters, call->kind, call->cmd, bytes, error,
                  counters_now_ns() - pending->begun_ns);
    return begin_answer(pending);
}

/* By libfuse, which has freed the request. */
static int answered_by_hook(struct call *call, int rc)
{
    pending_free(pending_of(call));
    return rc == -ENOENT ? 0 : rc; /* ENOENT: the client is gone */
}

static int answered(struct call *call, int rc)
{
    fuse_reply_none(pending_of(call)->req); /* frees it */
    return answered_by_hook(call, rc);
}

int call_reply_error(struct call *call, int error)
{
    struct pending *pending = pending_of(call);
    struct ledger *ledger = pending->upcalls->ledger;
    const bool ends = call->kind == CALL_RELEASE && ledger;
    struct reply reply;
    int rc;

    /* The open file ends here, whatever Python made of it; what is saved of it ends with the answer. */
    if (ends && !ledger_saves(ledger))
        pending->closed = ledger_close(ledger, pending->fi.fh);
    reply = answer(pending, 0, error);
    if (pending->done)
        return answered_by_hook(call, pending->done(call, error));
    rc = reply_error(&reply, error);
    if (ends && ledger_saves(ledger))
        ledger_disown(ledger, pending->fi.fh);
    return answered(call, rc);
}

uint64_t call_take_handle(struct call *call, struct handle *handle)
{
    return ledger_open(pending_of(call)->upcalls->ledger, handle, call);
}

/* A view has more to say than the number. */
static int reply_open_of(struct call *call, const struct reply *reply, uint64_t fh)
{
    struct pending *pending = pending_of(call);
    struct fuse_file_info fi = pending->fi;
    int rc;

    if (!pending->hook) {
        rc = reply_open(reply, fh);
        fuse_reply_none(pending->req);
        return rc;
    }
    fi.fh = fh;
    pending->hook(call, &fi);
    return fuse_reply_open(pending->req, &fi);
}

int call_reply_open(struct call *call, uint64_t number)
{
    struct pending *pending = pending_of(call);
    struct ledger *ledger = pending->upcalls->ledger;
    const struct reply reply = answer(pending, 0, 0);
    int rc = reply_open_of(call, &reply, ledger ? number : number << 1 | 1);

    /* A second answer is ENOENT too. */
    if (rc < 0 && ledger && !call->open)
        ledger_disown(ledger, number);
    pending_free(pending);
    return rc;
}

/* The data are Python's: what changes is a copy. */
static int reply_flipped(struct call *call, const void *data, size_t size)
{
    struct pending *pending = pending_of(call);
    uint8_t *changed = malloc(size);
    struct reply reply;
    int rc;

    if (!changed)
        return call_reply_error(call, ENOMEM);
    memcpy(changed, data, size);
    flip_all(changed, size, pending->flipped, pending->dice);
    reply = answer(pending, size, 0);
    rc = answered(call, reply_data(&reply, changed, size));
    free(changed);
    return rc;
}

int call_reply_data(struct call *call, const void *data, size_t size)
{
    struct reply reply;

    if (pending_of(call)->flipped && size)
        return reply_flipped(call, data, size);
    reply = answer(pending_of(call), size, 0);
    return answered(call, reply_data(&reply, data, size));
}

int call_reply_written(struct call *call, size_t size)
{
    const struct reply reply = answer(pending_of(call), size, 0);

    return answered(call, reply_written(&reply, size));
}

int call_reply_ioctl(struct call *call, int result, const void *data, size_t size)
{
    const struct reply reply = answer(pending_of(call), call->data_size + size, 0);

    return answered(call, reply_ioctl(&reply, result, data, size));
}

int call_reply_retry(struct call *call, const uint64_t *areas, size_t n_in, size_t n_out)
{
    const struct reply reply = begin_answer(pending_of(call));

    return answered(call, reply_retry(&reply, areas, n_in, n_out));
}

int call_reply_poll(struct call *call, unsigned events)
{
    const struct reply reply = answer(pending_of(call), 0, 0);

    return answered(call, reply_poll(&reply, events));
}

int call_notify_poll(uint64_t poll)
{
    return fuse_lowlevel_notify_poll((struct fuse_pollhandle *)(uintptr_t)poll);
}

void call_drop_poll(uint64_t poll)
{
    fuse_pollhandle_destroy((struct fuse_pollhandle *)(uintptr_t)poll);
}
