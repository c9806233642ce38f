/* worker: the threads of a channel.
 *
 * Every worker receives, answers and receives again. READ and WRITE of a store are answered in C
 * (request.c), all else is decoded by libfuse, whose callbacks make calls for Python (upcall.c).
 * Which thread runs a call depends on the channel:
 *
 * - A data channel (NODE, FILE) queues it for the channel's one caller thread, so that no worker
 *   ever waits for the interpreter.
 * - A FOREIGN channel, all of whose requests are Python's, runs it on the worker that read it: no
 *   thread is woken in between. One worker always stays reading (an INTERRUPT must be seen while
 *   handlers block), so the last reader starts another worker first, and at the limit queues the
 *   call for the next worker that comes free. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "channel/channel_private.h"
#include "base/lock.h"
#include "base/thread.h"

#define WAKE_SIGNAL (SIGRTMIN + 7)
#define FIRST_READER 1u /* of a data channel, whose first worker is the caller */

/* --- the queue and the turns ------------------------------------------------------------------- */

static int start_worker(struct channel *channel, bool caller);

static bool enqueue(struct channel *channel, struct call *call)
{
    struct waiting *waiting = malloc(sizeof(*waiting));

    if (!waiting || !call_keep_data(call)) {
        free(waiting);
        return false;
    }
    *waiting = (struct waiting){.call = call};
    *channel->last = waiting;
    channel->last = &waiting->next;
    return true;
}

static struct call *dequeue(struct channel *channel)
{
    struct waiting *waiting = channel->first;
    struct call *call;

    if (!waiting)
        return NULL;
    channel->first = waiting->next;
    if (!channel->first)
        channel->last = &channel->first;
    call = waiting->call;
    free(waiting);
    return call;
}

/* Whether this worker may leave reading to others; counts it out if so. */
static bool may_run(struct channel *channel)
{
    if (channel->setup.kind != REQUEST_FOREIGN)
        return false;
    if (channel->reading == 1 && start_worker(channel, false) < 0)
        return false;
    channel->reading--;
    return true;
}

/* The upcall; an answer may free the call before it returns. */
static void run_call(struct channel *channel, struct call *call)
{
    bool bare = call->kind == CALL_HANGUP;

    python_call(channel->setup.owner, call);
    if (bare)
        call_free_bare(call);
}

static void run_here(struct channel *channel, struct call *call)
{
    while (call) {
        run_call(channel, call);
        LOCKED(&channel->lock);
        call = dequeue(channel);
        if (!call)
            channel->reading++;
    }
}

void channel_run(struct channel *channel, struct call *call)
{
    bool here, queued = false;

    if (channel->setup.pumped) {
        run_call(channel, call);
        return;
    }
    {
        LOCKED(&channel->lock);
        here = may_run(channel);
        if (!here) {
            queued = enqueue(channel, call);
            pthread_cond_broadcast(&channel->changed);
        }
    }
    if (here)
        run_here(channel, call);
    else if (!queued)
        call_reply_error(call, ENOMEM);
}

static void *caller_main(void *arg)
{
    struct worker *worker = arg;
    struct channel *channel = worker->channel;

    for (;;) {
        struct call *call;

        {
            LOCKED(&channel->lock);
            while (!(call = dequeue(channel)) && !channel->stopping)
                pthread_cond_wait(&channel->changed, &channel->lock);
        }
        if (!call)
            break;
        run_call(channel, call);
    }
    LOCKED(&channel->lock);
    channel->running--;
    pthread_cond_broadcast(&channel->changed);
    return NULL;
}

/* --- workers ----------------------------------------------------------------------------------- */

/* Once a channel; only tells, so that Python can stop the rest. */
static void hang_up(struct channel *channel, int error)
{
    struct call *call = NULL;

    {
        LOCKED(&channel->lock);
        if (channel->status == 1 && !channel->greeting)
            channel->status = error;
        pthread_cond_broadcast(&channel->changed);
        if (!channel->hung_up && !channel->stopping)
            call = call_new_bare(CALL_HANGUP);
        channel->hung_up = true;
        if (call && channel->setup.kind != REQUEST_FOREIGN && enqueue(channel, call))
            return;
    }
    if (!call)
        return;
    python_call(channel->setup.owner, call);
    call_free_bare(call);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t spin_ns(const struct channel *channel)
{
    int32_t asked = channel->options.spin_us;

    return asked < 0 ? placement_spin_ns(channel->placement) : (uint64_t)asked * 1000;
}

/* Looks for the next request for a while before the worker goes to sleep for it, and lets others
 * run that want to. */
static void spin(const struct channel *channel, uint64_t length_ns)
{
    struct pollfd ready = {.fd = channel->setup.fd, .events = POLLIN};
    uint64_t until = now_ns() + length_ns;

    while (poll(&ready, 1, 0) == 0 && now_ns() < until)
        sched_yield();
}

static void decode(struct channel *channel, struct request_room *room, size_t length)
{
    struct fuse_buf message = {.size = length, .mem = room->message};

    fuse_session_process_buf(channel->setup.session, &message);
}

static void process(struct worker *worker, size_t length)
{
    struct channel *channel = worker->channel;

    if (request_answer(&worker->room, channel->setup.fd, channel->setup.kind, length))
        atomic_fetch_add_explicit(&worker->answered, 1, memory_order_relaxed);
    else
        decode(channel, &worker->room, length);
    /* Whatever it was: workers that starve must notice it also where nobody reads or writes. */
    placement_see(channel->placement, worker->number, request_pid(&worker->room),
                  request_closes(&worker->room));
}

/* A signal, or a request that was withdrawn. */
static bool is_nothing(ssize_t length)
{
    return length == -EINTR || length == -EAGAIN || length == -ENOENT;
}

static void worker_loop(struct worker *worker)
{
    struct channel *channel = worker->channel;
    bool may_park = channel->setup.kind != REQUEST_FOREIGN;
    bool active = false; /* spinning pays right after a request only */

    while (!channel->stopping) {
        uint64_t spin_for = active ? spin_ns(channel) : 0;
        ssize_t length;

        if (may_park)
            placement_park(channel->placement, worker->number - FIRST_READER);
        if (spin_for)
            spin(channel, spin_for);
        active = false;
        length = request_receive(&worker->room, channel->setup.fd, channel->setup.kind);
        if (is_nothing(length))
            continue;
        if (length <= 0) {
            placement_end(channel->placement); /* this one reads no more */
            hang_up(channel, length ? (int)length : -ENODEV);
            return;
        }
        process(worker, (size_t)length);
        active = true;
    }
}

/* Counts the pump in, so that nobody ends the channel beneath it. False: it has ended. */
static bool begin_pump(struct channel *channel)
{
    LOCKED(&channel->lock);
    if (channel->stopping)
        return false;
    channel->running++;
    return true;
}

int channel_pump(struct channel *channel)
{
    ssize_t length;

    if (!begin_pump(channel))
        return -ENODEV;
    length = request_receive(&channel->room, channel->setup.fd, REQUEST_FOREIGN);
    if (length > 0)
        decode(channel, &channel->room, (size_t)length);
    else if (!is_nothing(length))
        hang_up(channel, length ? (int)length : -ENODEV);
    LOCKED(&channel->lock);
    channel->running--;
    pthread_cond_broadcast(&channel->changed);
    return length > 0 ? 1 : is_nothing(length) ? 0 : -ENODEV;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct channel *channel = worker->channel;
    sigset_t wake;

    sigemptyset(&wake);
    sigaddset(&wake, WAKE_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
    placement_join(channel->placement, worker->number);
    worker_loop(worker);
    placement_leave(channel->placement, worker->number);
    LOCKED(&channel->lock);
    channel->running--;
    channel->reading--;
    pthread_cond_broadcast(&channel->changed);
    return NULL;
}

/* With the lock held. Counts the worker in before it runs, so that nobody counts on less. */
static int start_worker(struct channel *channel, bool caller)
{
    struct worker *worker;
    int rc;

    if (channel->started == channel->workers_max || channel->stopping)
        return -EAGAIN;
    worker = calloc(1, sizeof(*worker));
    if (!worker)
        return -ENOMEM;
    worker->channel = channel;
    worker->number = channel->started;
    worker->caller = caller;
    rc = caller ? 0 : request_room_init(&worker->room, channel->setup.payload_max);
    if (rc < 0)
        goto free_worker;
    rc = thread_start(&worker->thread, caller ? caller_main : worker_main, worker);
    if (rc < 0)
        goto free_room;
    channel->worker[channel->started++] = worker;
    channel->running++;
    if (!caller)
        channel->reading++;
    return 0;

free_room:
    request_room_free(&worker->room);
free_worker:
    free(worker);
    return rc;
}

static void on_wake(int signal)
{
    (void)signal;
}

static void install_wake(void)
{
    struct sigaction action = {.sa_handler = on_wake}; /* no SA_RESTART: read returns */

    sigemptyset(&action.sa_mask);
    sigaction(WAKE_SIGNAL, &action, NULL);
}

/* --- all of them ------------------------------------------------------------------------------- */

/* With the lock held: calls that no thread will run are nobody's. Their clients hear of it from the
 * kernel. */
static void drop_queue(struct channel *channel)
{
    struct call *call;

    while ((call = dequeue(channel)))
        call_drop(call);
}

/* Wakes whoever sleeps in a read until all have gone (the signal may come just before the read),
 * and waits for the answers that other threads are giving at this moment. */
bool workers_stop(struct channel *channel, uint32_t timeout_ms)
{
    uint64_t until = now_ns() + timeout_ms * UINT64_C(1000000);

    channel->stopping = true;
    placement_end(channel->placement);
    LOCKED(&channel->lock);
    while ((channel->running || channel->calls) && now_ns() < until) {
        struct timespec soon = deadline_in(5);

        drop_queue(channel);
        for (unsigned i = 0; i < channel->started; i++)
            if (!channel->worker[i]->caller)
                pthread_kill(channel->worker[i]->thread, WAKE_SIGNAL);
        pthread_cond_broadcast(&channel->changed);
        pthread_cond_timedwait(&channel->changed, &channel->lock, &soon);
    }
    return channel->running == 0 && channel->calls == 0;
}

void workers_free(struct channel *channel)
{
    for (unsigned i = 0; i < channel->started; i++) {
        pthread_join(channel->worker[i]->thread, NULL);
        request_room_free(&channel->worker[i]->room);
        free(channel->worker[i]);
    }
    channel->started = 0;
    request_room_free(&channel->room);
}

static int start_all(struct channel *channel, unsigned threads, bool caller)
{
    LOCKED(&channel->lock);
    int rc = caller ? start_worker(channel, true) : 0;

    for (unsigned i = 0; i < threads && rc == 0; i++)
        rc = start_worker(channel, false);
    return rc;
}

int workers_start(struct channel *channel, unsigned threads, bool caller)
{
    int rc;

    install_wake();
    rc = start_all(channel, threads, caller);
    if (rc < 0) {
        workers_stop(channel, UINT32_MAX);
        workers_free(channel);
    }
    return rc;
}
