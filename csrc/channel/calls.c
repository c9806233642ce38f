/* calls: which thread runs a call. See worker.c for the threads there are.
 *
 * - A data channel (NODE, FILE) queues it for the channel's one caller thread, so that no worker
 *   ever waits for the interpreter.
 * - A FOREIGN channel, all of whose requests are Python's, runs it on the worker that read it: no
 *   thread is woken in between. Another reads where that lasts (standin.c). Where no turn is left
 *   (queue.c) the call waits, for the next worker whose call has ended, or for a new one where a turn is
 *   given back or lent. While calls wait a thread watches that they do not do so for ever. */
#include "channel/calls.h"

#include <errno.h>
#include <time.h>

#include "base/killpoint.h"
#include "base/lock.h"
#include "channel/standin.h"

/* The turn of the call that this thread runs. */
static _Thread_local struct workers *turn;

void calls_relieve(struct workers *workers)
{
    while (workers->starting < queue_due(&workers->queue))
        if (workers->start(workers, RUN_FIRST) < 0)
            return;
}

void calls_run_here(struct workers *workers, struct call *call)
{
    while (call) {
        turn = workers;
        call_run(workers->upcalls, call);
        turn = NULL;
        LOCKED(&workers->queue.lock);
        queue_end(&workers->queue);
        call = queue_next(&workers->queue);
        if (!call)
            workers->reading++;
    }
}

/* Where a ledger is kept the call outlives the message that it was made of: 0, or the errno for its
 * client. */
static int keep(struct workers *workers, struct call *call)
{
    int error = 0;

    if (workers->ledger)
        call_keep_journal(call, room_keep(&error));
    return error;
}

/* With the lock held: the call waits: 0, or the errno for its client. */
static int wait_in_queue(struct workers *workers, struct call *call)
{
    if (!queue_add(&workers->queue, call))
        return ENOMEM;
    KILL_POINT(KILL_QUEUED);
    if (!workers_are_foreign(workers))
        pthread_cond_broadcast(&workers->queue.changed);
    else if (!workers->watching && !workers->resuming)
        workers->watching = workers->start(workers, WATCHER) == 0;
    return 0;
}

/* Python never sees it. */
static void refuse(struct call *call, int error)
{
    call_drop_own_poll(call);
    call_reply_error(call, error);
}

void workers_run(struct workers *workers, struct call *call)
{
    bool here = false;
    int error = keep(workers, call);

    if (error) {
        refuse(call, error);
        return;
    }
    if (workers->pumped) {
        call_run(workers->upcalls, call);
        return;
    }
    {
        LOCKED(&workers->queue.lock);
        if (workers_are_foreign(workers) && !workers->resuming && queue_has_turn(&workers->queue))
            here = standin_leave(workers, false);
        if (here)
            queue_begin(&workers->queue);
        else
            error = wait_in_queue(workers, call);
    }
    if (here)
        calls_run_here(workers, call);
    else if (error)
        refuse(call, error);
}

void workers_tell(struct workers *workers, struct call *call)
{
    if (!workers_are_foreign(workers)) {
        LOCKED(&workers->queue.lock);
        if (queue_add(&workers->queue, call)) {
            pthread_cond_broadcast(&workers->queue.changed);
            return;
        }
    }
    call_run(workers->upcalls, call);
}

void call_pause(void)
{
    struct workers *workers = turn;

    if (!workers)
        return;
    LOCKED(&workers->queue.lock);
    queue_pause(&workers->queue);
    if (!workers->reading)
        standin_call(workers);
    calls_relieve(workers);
}

void call_resume(void)
{
    struct workers *workers = turn;

    if (!workers)
        return;
    LOCKED(&workers->queue.lock);
    queue_resume(&workers->queue);
    calls_relieve(workers); /* calls had to stand back */
}

/* A data channel has one such thread, which is its first. */
bool workers_is_caller(struct workers *workers)
{
    return !workers_are_foreign(workers) && pthread_equal(workers->roster.worker[0]->thread, pthread_self());
}

/* --- threads that run calls, and watch them --------------------------------------------------------- */

void *calls_main(void *arg)
{
    struct worker *worker = arg;
    struct workers *workers = worker->workers;

    for (;;) {
        struct call *call;

        {
            LOCKED(&workers->queue.lock);
            while (!(call = queue_take(&workers->queue)) && !workers->stopping)
                pthread_cond_wait(&workers->queue.changed, &workers->queue.lock);
        }
        if (!call)
            break;
        call_run(workers->upcalls, call);
    }
    LOCKED(&workers->queue.lock);
    workers->roster.running--;
    pthread_cond_broadcast(&workers->queue.changed);
    return NULL;
}

static void tell_crowded(struct workers *workers)
{
    struct call *call = call_new_bare(CALL_CROWDED);

    if (call)
        call_run(workers->upcalls, call);
}

/* With the lock held, released meanwhile. */
static void watch_once(struct workers *workers, bool *told)
{
    struct queue *queue = &workers->queue;
    bool crowded = queue->first && queue_look(queue) == QUEUE_CROWDED;

    calls_relieve(workers);
    if (!crowded || *told)
        return;
    *told = true;
    pthread_mutex_unlock(&queue->lock);
    tell_crowded(workers);
    pthread_mutex_lock(&queue->lock);
}

/* Stays for a moment after the last call that waited, as the next one is likely to come soon. */
void *calls_watch(void *arg)
{
    struct worker *worker = arg;
    struct workers *workers = worker->workers;
    struct queue *queue = &workers->queue;
    bool told = false;
    unsigned quiet = 0;

    pthread_mutex_lock(&queue->lock);
    while (!workers->stopping && quiet < 20) {
        const struct timespec tick = {.tv_nsec = QUEUE_STALL_MS * 1000000L};

        pthread_mutex_unlock(&queue->lock);
        nanosleep(&tick, NULL);
        pthread_mutex_lock(&queue->lock);
        quiet = queue->first ? 0 : quiet + 1;
        watch_once(workers, &told);
    }
    workers->watching = false;
    roster_leave(&workers->roster, worker);
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}
