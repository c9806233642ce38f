/* upcall: one request on its way through Python.
 *
 * A call is made on the worker that decoded its request, run by a thread of the channel, and
 * ends with its one answer, which frees it. Its data are the worker's until the upcall returns,
 * unless the call has to wait for a thread: then they are copied (call_keep_data). */
#include "channel/upcall.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/killpoint.h"
#include "channel/reply.h"
#include "filter/filters.h"
#include "filter/flip.h"
#include "store/handle.h"

struct pending {
    struct call call; /* first: what Python sees is the pending itself */
    struct call *next; /* in the queue */
    fuse_req_t req;   /* NULL: nobody waits for an answer */
    uint64_t unique;  /* of its message */
    struct upcalls *upcalls; /* counts the call; NULL with req */
    uint64_t begun_ns;
    void *kept;       /* our copy of the data */
    struct journal *journal; /* NULL: nobody keeps books of it */
    struct fuse_file_info fi;
    call_open_hook *hook;
    call_done_hook *done;
    bool closed; /* the open file ended with this call */
    uint32_t flipped; /* bits of what a READ gives that change on the way, by `dice` */
    uint64_t dice;
};

static _Atomic uint64_t last_id;

/* `unique` of the message that this thread has libfuse decode. */
static _Thread_local uint64_t decoded;

static struct pending *pending_of(struct call *call)
{
    return (struct pending *)call;
}

static const struct pending *pending_of_const(const struct call *call)
{
    return (const struct pending *)call;
}

/* The last use of the call: its channel may end. */
static void pending_free(struct pending *pending)
{
    struct upcalls *upcalls = pending->upcalls;

    KILL_POINT(KILL_ANSWERED);
    if (pending->journal)
        ledger_drop_call(upcalls->ledger, pending->journal);
    free(pending->kept);
    free(pending);
    if (upcalls)
        atomic_fetch_sub_explicit(&upcalls->under_way, 1, memory_order_acq_rel);
}

/* What Python knows the open file by: the number it gave, or the handle's address. */
static uint64_t open_number(uint64_t fh)
{
    return fh & 1 ? fh >> 1 : fh;
}

/* The kernel says once that an open file has ended, and does not look at the answer: so that has to be
 * carried out, when there is memory again. */
static struct pending *pending_new(enum call_kind kind)
{
    const struct timespec while_short = {.tv_nsec = 10000000};
    struct pending *pending = calloc(1, sizeof(*pending));

    while (!pending && kind == CALL_RELEASE) {
        nanosleep(&while_short, NULL);
        pending = calloc(1, sizeof(*pending));
    }
    return pending;
}

/* What filters have said of the request that this thread works on. */
static void heed_filters(struct pending *pending)
{
    const struct verdict *verdict = filters_passing();

    if (!verdict)
        return;
    if (pending->call.kind == CALL_READ) {
        pending->flipped = verdict->bits;
        pending->dice = verdict->dice;
    }
    pending->call.delay_ns = verdict->delay_ns;
    pending->call.refusal = verdict->error;
}

void call_decode(struct fuse_session *session, const struct fuse_buf *message)
{
    decoded = ((const struct fuse_in_header *)message->mem)->unique;
    fuse_session_process_buf(session, message);
}

struct call *call_new(fuse_req_t req, enum call_kind kind, const struct fuse_file_info *fi,
                      const void *data, size_t size)
{
    struct pending *pending = pending_new(kind);
    const struct fuse_ctx *ctx = fuse_req_ctx(req);

    if (!pending) {
        fuse_reply_err(req, ENOMEM);
        return NULL;
    }
    pending->req = req;
    pending->unique = decoded;
    pending->upcalls = fuse_req_userdata(req);
    atomic_fetch_add_explicit(&pending->upcalls->under_way, 1, memory_order_relaxed);
    pending->begun_ns = counters_now_ns();
    if (fi)
        pending->fi = *fi;
    pending->call = (struct call){
        .id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1,
        .open = fi ? open_number(fi->fh) : 0,
        .data = data,
        .data_size = size,
        .kind = kind,
        .flags = fi ? fi->flags : 0,
        .pid = ctx->pid,
        .uid = ctx->uid,
        .gid = ctx->gid,
    };
    heed_filters(pending);
    return &pending->call;
}

struct call *call_new_bare(enum call_kind kind)
{
    struct pending *pending = calloc(1, sizeof(*pending));

    if (!pending)
        return NULL;
    pending->call.kind = kind;
    return &pending->call;
}

void call_drop_own_poll(struct call *call)
{
    if (call->kind == CALL_POLL && call->poll)
        call_drop_poll(call->poll);
}

void call_drop(struct call *call)
{
    struct pending *pending = pending_of(call);

    call_drop_own_poll(call);
    if (pending->req)
        fuse_reply_none(pending->req);
    pending_free(pending);
}

struct call **call_next(struct call *call)
{
    return &pending_of(call)->next;
}

bool call_keep_data(struct call *call)
{
    struct pending *pending = pending_of(call);

    if (!call->data_size || pending->kept)
        return true;
    pending->kept = malloc(call->data_size);
    if (!pending->kept)
        return false;
    memcpy(pending->kept, call->data, call->data_size);
    call->data = pending->kept;
    return true;
}

/* On the worker that read the INTERRUPT, holding only libfuse's lock of this one request. */
static void interrupted(fuse_req_t req, void *data)
{
    struct call interrupt = {.kind = CALL_INTERRUPT, .id = (uintptr_t)data};

    python_call(((const struct upcalls *)fuse_req_userdata(req))->owner, &interrupt);
}

void call_expect_interrupt(struct call *call)
{
    fuse_req_interrupt_func(pending_of(call)->req, interrupted, (void *)(uintptr_t)call->id);
}

void call_keep_journal(struct call *call, struct journal *journal)
{
    pending_of(call)->journal = journal;
}

/* Whether a worker before had the answer. Then it is sent, once more perhaps, which harms nobody. */
static bool was_answered(struct call *call)
{
    struct pending *pending = pending_of(call);
    struct ledger *ledger = pending->upcalls->ledger;
    const void *answer;
    size_t length = ledger_answered_call(ledger, pending->journal, &answer);

    if (!length)
        return false;
    if (write(pending->upcalls->fd, answer, length) < 0) {
        /* ENOENT: the client has it, or is gone. */
    }
    if (call->kind == CALL_RELEASE)
        ledger_disown(ledger, pending->fi.fh);
    call_drop(call);
    return true;
}

/* Of a call that is kept: whether there is anything left to run. An open file that the worker before
 * has made already is what its OPEN is answered with, where nothing else is saved of it. */
static bool begin(struct ledger *ledger, struct call *call, struct journal *journal)
{
    if (was_answered(call))
        return false;
    call->again = ledger_begin_call(ledger, journal);
    if (call->kind == CALL_OPEN && journal->opened && !ledger_saves(ledger))
        call->open = journal->file;
    return true;
}

void call_run(const struct upcalls *upcalls, struct call *call)
{
    struct journal *journal = pending_of(call)->journal;
    bool bare = !pending_of(call)->req;

    if (journal && !begin(upcalls->ledger, call, journal))
        return;
    python_call(upcalls->owner, call);
    if (journal)
        journal_end();
    if (bare)
        pending_free(pending_of(call));
}

void call_set_open_hook(struct call *call, call_open_hook *hook)
{
    pending_of(call)->hook = hook;
}

void call_set_done_hook(struct call *call, call_done_hook *hook)
{
    pending_of(call)->done = hook;
}

bool call_has_closed(const struct call *call)
{
    return pending_of_const(call)->closed;
}

fuse_req_t call_request(const struct call *call)
{
    return pending_of_const(call)->req;
}

/* --- answers ----------------------------------------------------------------------------------- */

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
