/* upcall: one request on its way through Python.
 *
 * A call is made on the worker that decoded its request, run by a thread of the channel, and
 * ends with its one answer (answer.c), which frees it. Its data are the worker's until the upcall returns,
 * unless the call has to wait for a thread: then they are copied (call_keep_data). */
#include "channel/upcall_private.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/killpoint.h"
#include "filter/filters.h"

static _Atomic uint64_t last_id;

/* `unique` of the message that this thread has libfuse decode. */
static _Thread_local uint64_t decoded;

/* The last use of the call: its channel may end. */
void pending_free(struct pending *pending)
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
