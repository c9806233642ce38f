/* channel: a libfuse session with threads of ours: its start, its end and its state. What the
 * threads do is in worker.c. */
#include "channel/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/lock.h"
#include "channel/calls.h"
#include "channel/standin.h"
#include "channel/worker.h"
#include "placement/seats.h"

struct channel {
    struct upcalls upcalls; /* first: the session's userdata begins with it */
    struct channel_setup setup;
    struct workers workers;
    unsigned threads; /* that read */
    bool taken_over;
    int status;    /* the queue's lock; 1: not yet, 0: ready, or -errno */
    bool greeting; /* the same; the answer to INIT will tell the status */
};
_Static_assert(offsetof(struct channel, upcalls) == 0, "userdata of sessions");

/* --- life -------------------------------------------------------------------------------------- */

struct channel *channel_new(void)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (!channel)
        return NULL;
    channel->upcalls.counters = counters_new();
    if (!channel->upcalls.counters) {
        free(channel);
        return NULL;
    }
    queue_init(&channel->workers.queue, 1);
    standins_init(&channel->workers.standins);
    channel->status = 1;
    return channel;
}

void channel_discard(struct channel *channel)
{
    placement_free(channel->workers.placement);
    for (unsigned i = 0; i < channel->workers.n_filters; i++)
        filters_free(channel->workers.filters[i]);
    free(channel->workers.filters);
    ledger_free(channel->upcalls.ledger);
    standins_destroy(&channel->workers.standins);
    queue_destroy(&channel->workers.queue);
    counters_free(channel->upcalls.counters);
    free(channel);
}

static struct channel *channel_of(struct workers *workers)
{
    return (struct channel *)((char *)workers - offsetof(struct channel, workers));
}

/* Only tells, so that Python can stop the rest. */
static void on_end(struct workers *workers, int error)
{
    struct channel *channel = channel_of(workers);
    struct call *call;

    {
        LOCKED(&workers->queue.lock);
        if (channel->status == 1 && !channel->greeting)
            channel->status = error;
        pthread_cond_broadcast(&workers->queue.changed);
    }
    if (workers->stopping)
        return;
    call = call_new_bare(CALL_HANGUP);
    if (call)
        workers_tell(workers, call);
}

static void on_greeting(struct workers *workers)
{
    const struct channel_setup *setup = &channel_of(workers)->setup;

    if (setup->greeted)
        setup->greeted(setup->arg);
}

bool channel_attach(struct fuse_session *session, int fd)
{
    char path[32];

    snprintf(path, sizeof(path), "/dev/fd/%d", fd);
    return fuse_session_mount(session, path) == 0;
}

/* Tells the session of the kernel's INIT, which the kernel sends once: to a second answer the kernel says
 * that it knows of no such request. */
static void resume(struct channel *channel)
{
    uint8_t greeting[LEDGER_GREETING];
    struct ledger *ledger = channel->upcalls.ledger;
    struct fuse_buf message = {.mem = greeting};

    message.size = ledger ? ledger_greeting(ledger, greeting) : 0;
    if (!message.size)
        return;
    placement_follow_death(channel->workers.placement);
    fuse_session_process_buf(channel->setup.session, &message);
    on_greeting(&channel->workers);
}

static int hold_filters(struct workers *workers, const struct channel_setup *setup)
{
    if (!setup->n_filters)
        return 0;
    workers->filters = calloc(setup->n_filters, sizeof(struct filters *));
    if (!workers->filters)
        return -ENOMEM;
    for (unsigned i = 0; i < setup->n_filters; i++)
        workers->filters[i] = filters_hold(setup->filters[i]);
    workers->n_filters = setup->n_filters;
    workers->first_node = setup->first_node;
    workers->node_mask = setup->first_node ? UINT64_MAX : 0;
    return 0;
}

int channel_prepare(struct channel *channel, const struct channel_setup *setup)
{
    const struct channel_options *options = setup->options;
    struct workers *workers = &channel->workers;

    channel->setup = *setup;
    channel->setup.options = NULL; /* the caller's */
    channel->threads = options->threads;
    channel->setup.filters = NULL;
    channel->upcalls.owner = setup->owner;
    channel->upcalls.fd = setup->fd;
    channel->upcalls.ledger = setup->ledger;
    if (!options->threads || !options->callers || options->threads >= WORKERS_MAX)
        return -EINVAL;
    workers->upcalls = &channel->upcalls;
    workers->session = setup->session;
    workers->ledger = setup->ledger;
    workers->fd = setup->fd;
    workers->kind = setup->kind;
    workers->payload_max = setup->payload_max;
    workers->interruptible = setup->interruptible;
    workers->pumped = setup->pumped;
    workers->spin_us = options->spin_us;
    workers->on_end = on_end;
    workers->on_greeting = on_greeting;
    workers->queue.callers = options->callers;
    workers->placement = placement_new(options, workers_are_foreign(workers));
    if (!workers->placement || hold_filters(workers, setup) < 0)
        return -ENOMEM;
    workers_prepare(workers);
    if (setup->ledger)
        ledger_warm_rooms(setup->ledger, 1 + options->threads, setup->payload_max + 4096);
    return 0;
}

int channel_take_over(struct channel *channel)
{
    const struct channel_setup *setup = &channel->setup;

    if (channel->taken_over)
        return 0;
    channel->taken_over = true;
    if (setup->ledger)
        ledger_begin(setup->ledger);
    for (unsigned i = 0; i < channel->workers.n_filters; i++)
        if (channel->workers.filters[i])
            filters_begin(channel->workers.filters[i]);
    if (setup->begins)
        setup->begins(setup->arg);
    resume(channel);
    return setup->pumped ? 0 : workers_resume(&channel->workers);
}

int channel_begin(struct channel *channel)
{
    const struct channel_setup *setup = &channel->setup;
    int rc = channel_take_over(channel);

    if (rc == 0)
        rc = workers_start(&channel->workers, channel->threads);
    if (rc == 0 && setup->begun)
        setup->begun(setup->arg);
    return rc;
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

void channel_end_placement(struct channel *channel)
{
    placement_end(channel->workers.placement);
}

int channel_close(struct channel *channel, uint32_t timeout_ms)
{
    if (!workers_stop(&channel->workers, timeout_ms)) {
        abandon(channel);
        return -EBUSY;
    }
    workers_free(&channel->workers);
    if (channel->setup.ended)
        channel->setup.ended(channel->setup.arg);
    fuse_session_destroy(channel->setup.session);
    channel_discard(channel);
    return 0;
}

/* --- state ------------------------------------------------------------------------------------- */

void channel_greet(struct channel *channel)
{
    LOCKED(&channel->workers.queue.lock);
    channel->greeting = true;
}

void channel_set_ready(struct channel *channel, int status)
{
    LOCKED(&channel->workers.queue.lock);
    if (status == 0 && channel->upcalls.ledger)
        ledger_set_greeted(channel->upcalls.ledger);
    channel->status = status;
    pthread_cond_broadcast(&channel->workers.queue.changed);
}

int channel_wait_ready(struct channel *channel, uint32_t timeout_ms)
{
    struct queue *queue = &channel->workers.queue;
    struct timespec until = queue_deadline(timeout_ms);

    LOCKED(&queue->lock);
    while (channel->status == 1)
        if (pthread_cond_timedwait(&queue->changed, &queue->lock, &until) == ETIMEDOUT)
            return -ETIMEDOUT;
    return channel->status;
}

/* --- calls ------------------------------------------------------------------------------------- */

void channel_submit(struct call *call)
{
    struct channel *channel = fuse_req_userdata(call_request(call));

    call_expect_interrupt(call);
    workers_run(&channel->workers, call);
}

int channel_resume(struct channel *channel)
{
    return workers_resume(&channel->workers);
}

int channel_pump(struct channel *channel)
{
    return workers_pump(&channel->workers);
}

uint64_t channel_requests(struct channel *channel)
{
    return workers_answered(&channel->workers);
}

void channel_count(struct channel *channel, int32_t kind, struct counted *sum)
{
    counters_sum(channel->upcalls.counters, (enum call_kind)kind, sum);
}

bool channel_count_ioctl(struct channel *channel, uint32_t index, uint32_t *cmd,
                         struct counted *sum)
{
    return counters_sum_ioctl(channel->upcalls.counters, index, cmd, sum);
}

uint32_t channel_under_way(struct channel *channel)
{
    return atomic_load_explicit(&channel->upcalls.under_way, memory_order_relaxed);
}

const char *channel_placement(struct channel *channel)
{
    return placement_choice(channel->workers.placement);
}

bool channel_is_caller(struct channel *channel)
{
    return workers_is_caller(&channel->workers);
}

void *channel_arg(const struct channel *channel)
{
    return channel->setup.arg;
}
