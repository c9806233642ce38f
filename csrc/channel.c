/* channel: worker threads on a libfuse session.
 *
 * Every worker receives, answers and receives again. READ and WRITE of a store are answered in C
 * (request.c), all else is decoded by libfuse, whose callbacks make calls for Python (call.c).
 * Which thread runs a call depends on the channel:
 *
 * - A data channel (NODE, FILE) queues it for the channel's one caller thread, so that no worker
 *   ever waits for the interpreter.
 * - A FOREIGN channel, all of whose requests are Python's, runs it on the worker that read it: no
 *   thread is woken in between. One worker always stays reading (an INTERRUPT must be seen while
 *   handlers block), so the last reader starts another worker first, and at the limit queues the
 *   call for the next worker that comes free.
 *
 * `lock` guards the queue, the counts and the status; it is a leaf, never held in an upcall or a
 * system call on the channel. */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lock.h"
#include "placement.h"

#define WAKE_SIGNAL (SIGRTMIN + 7)
#define WORKERS_MAX 64u

struct waiting {
    struct waiting *next;
    struct call *call;
};

struct worker {
    struct channel *channel;
    pthread_t thread;
    unsigned number;
    bool caller; /* takes from the queue only */
    struct request_room room;
    _Atomic uint64_t answered;
};

struct channel {
    struct channel_setup setup;
    struct channel_options options;
    struct placement *placement;
    pthread_mutex_t lock;
    pthread_cond_t changed;                /* status, queue, running */
    int status;                            /* lock; 1: not yet, 0: ready, or -errno */
    struct waiting *first, **last;         /* lock; the queue */
    struct worker *worker[WORKERS_MAX];    /* lock; [0, started) */
    unsigned started, running, reading;    /* lock */
    unsigned workers_max;
    bool hung_up; /* lock */
    _Atomic bool stopping;
};

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
        if (channel->status == 1)
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

/* Looks for the next request for a while before the worker goes to sleep for it. */
static void spin(const struct channel *channel)
{
    struct pollfd ready = {.fd = channel->setup.fd, .events = POLLIN};
    uint64_t until = now_ns() + channel->options.spin_us * UINT64_C(1000);

    while (poll(&ready, 1, 0) == 0 && now_ns() < until)
        continue;
}

static void process(struct worker *worker, size_t length)
{
    struct channel *channel = worker->channel;
    struct fuse_buf message = {.size = length, .mem = worker->room.message};

    if (request_answer(&worker->room, channel->setup.fd, channel->setup.kind, length)) {
        atomic_fetch_add_explicit(&worker->answered, 1, memory_order_relaxed);
        placement_see(channel->placement, worker->number, request_pid(&worker->room));
        return;
    }
    fuse_session_process_buf(channel->setup.session, &message);
}

static void worker_loop(struct worker *worker)
{
    struct channel *channel = worker->channel;
    bool active = false; /* spinning pays right after a request only */

    while (!channel->stopping) {
        ssize_t length;

        if (active && channel->options.spin_us)
            spin(channel);
        active = false;
        length = request_receive(&worker->room, channel->setup.fd, channel->setup.kind);
        if (length == -EINTR || length == -EAGAIN || length == -ENOENT)
            continue; /* a signal, or a request that was withdrawn */
        if (length <= 0) {
            hang_up(channel, length ? (int)length : -ENODEV);
            return;
        }
        process(worker, (size_t)length);
        active = true;
    }
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct channel *channel = worker->channel;

    placement_join(channel->placement, worker->number);
    worker_loop(worker);
    placement_leave(channel->placement, worker->number);
    LOCKED(&channel->lock);
    channel->running--;
    channel->reading--;
    pthread_cond_broadcast(&channel->changed);
    return NULL;
}

/* Signals are for the interpreter's thread, but for our own, which breaks a read. */
static int start_thread(struct worker *worker)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    sigdelset(&all, WAKE_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&worker->thread, NULL, worker->caller ? caller_main : worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
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
    rc = start_thread(worker);
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

/* --- life -------------------------------------------------------------------------------------- */

struct channel *channel_new(void)
{
    struct channel *channel = calloc(1, sizeof(*channel));
    pthread_condattr_t attributes;

    if (!channel)
        return NULL;
    pthread_mutex_init(&channel->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&channel->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    channel->status = 1;
    channel->last = &channel->first;
    return channel;
}

void channel_discard(struct channel *channel)
{
    placement_free(channel->placement);
    pthread_cond_destroy(&channel->changed);
    pthread_mutex_destroy(&channel->lock);
    free(channel);
}

static int start_workers(struct channel *channel, unsigned threads, bool caller)
{
    LOCKED(&channel->lock);
    int rc = caller ? start_worker(channel, true) : 0;

    for (unsigned i = 0; i < threads && rc == 0; i++)
        rc = start_worker(channel, false);
    return rc;
}

static bool stop_workers(struct channel *channel, uint32_t timeout_ms);

int channel_start(struct channel *channel, const struct channel_setup *setup)
{
    bool foreign = setup->kind == REQUEST_FOREIGN;
    unsigned threads = foreign ? 2 : setup->options->threads;
    int rc;

    channel->setup = *setup;
    channel->options = *setup->options;
    channel->setup.options = &channel->options;
    channel->workers_max = foreign ? channel->options.callers + 1 : threads + 1;
    if (channel->workers_max > WORKERS_MAX || !threads || !channel->options.callers)
        return -EINVAL;
    channel->placement = placement_new(&channel->options);
    if (!channel->placement)
        return -ENOMEM;
    install_wake();
    rc = start_workers(channel, threads, !foreign);
    if (rc < 0)
        stop_workers(channel, UINT32_MAX);
    return rc;
}

/* Wakes whoever sleeps in a read until all have gone: the signal may come just before the read. */
static bool stop_workers(struct channel *channel, uint32_t timeout_ms)
{
    uint64_t until = now_ns() + timeout_ms * UINT64_C(1000000);

    channel->stopping = true;
    LOCKED(&channel->lock);
    while (channel->running && now_ns() < until) {
        struct timespec soon;

        for (unsigned i = 0; i < channel->started; i++)
            pthread_kill(channel->worker[i]->thread, WAKE_SIGNAL);
        pthread_cond_broadcast(&channel->changed);
        clock_gettime(CLOCK_MONOTONIC, &soon);
        soon.tv_nsec += 5000000;
        if (soon.tv_nsec >= 1000000000) {
            soon.tv_nsec -= 1000000000;
            soon.tv_sec++;
        }
        pthread_cond_timedwait(&channel->changed, &channel->lock, &soon);
    }
    return channel->running == 0;
}

/* The kernel gives up on a device when the last file on its channel is gone; the number stays
 * taken, as a worker that is still in Python will use it again. */
static void abandon(const struct channel *channel)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null < 0)
        return;
    dup2(null, channel->setup.fd);
    close(null);
}

int channel_close(struct channel *channel, uint32_t timeout_ms)
{
    if (!stop_workers(channel, timeout_ms)) {
        abandon(channel);
        return -EBUSY;
    }
    for (unsigned i = 0; i < channel->started; i++) {
        pthread_join(channel->worker[i]->thread, NULL);
        request_room_free(&channel->worker[i]->room);
        free(channel->worker[i]);
    }
    if (channel->setup.ended)
        channel->setup.ended(channel->setup.arg);
    fuse_session_destroy(channel->setup.session);
    channel_discard(channel);
    return 0;
}

/* --- state ------------------------------------------------------------------------------------- */

void channel_set_ready(struct channel *channel, int status)
{
    LOCKED(&channel->lock);
    channel->status = status;
    pthread_cond_broadcast(&channel->changed);
}

int channel_wait_ready(struct channel *channel, uint32_t timeout_ms)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    LOCKED(&channel->lock);
    while (channel->status == 1)
        if (pthread_cond_timedwait(&channel->changed, &channel->lock, &until) == ETIMEDOUT)
            return -ETIMEDOUT;
    return channel->status;
}

uint64_t channel_requests(const struct channel *channel)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < channel->started; i++)
        sum += atomic_load_explicit(&channel->worker[i]->answered, memory_order_relaxed);
    return sum;
}

/* A data channel has one such thread, which is its first (start_workers). */
bool channel_is_caller(const struct channel *channel)
{
    return channel->setup.kind != REQUEST_FOREIGN &&
           pthread_equal(channel->worker[0]->thread, pthread_self());
}

void *channel_arg(const struct channel *channel)
{
    return channel->setup.arg;
}

void *channel_owner(const struct channel *channel)
{
    return channel->setup.owner;
}
