/* channel: a libfuse session with threads of ours: its start, its end and its state. What the
 * threads do is in worker.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "channel/channel_private.h"
#include "base/lock.h"

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

int channel_start(struct channel *channel, const struct channel_setup *setup)
{
    bool foreign = setup->kind == REQUEST_FOREIGN;
    unsigned threads = foreign ? 2 : setup->options->threads;

    channel->setup = *setup;
    channel->options = *setup->options;
    channel->setup.options = &channel->options;
    channel->workers_max = foreign ? channel->options.callers + 1 : threads + 1;
    if (channel->workers_max > WORKERS_MAX || !threads || !channel->options.callers)
        return -EINVAL;
    channel->placement = placement_new(&channel->options);
    if (!channel->placement)
        return -ENOMEM;
    if (setup->pumped)
        return request_room_init(&channel->room, setup->payload_max);
    return workers_start(channel, threads, !foreign);
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
    placement_end(channel->placement);
}

int channel_close(struct channel *channel, uint32_t timeout_ms)
{
    if (!workers_stop(channel, timeout_ms)) {
        abandon(channel);
        return -EBUSY;
    }
    workers_free(channel);
    if (channel->setup.ended)
        channel->setup.ended(channel->setup.arg);
    fuse_session_destroy(channel->setup.session);
    channel_discard(channel);
    return 0;
}

/* --- state ------------------------------------------------------------------------------------- */

struct timespec deadline_in(uint32_t milliseconds)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return until;
}

void channel_greet(struct channel *channel)
{
    LOCKED(&channel->lock);
    channel->greeting = true;
}

void channel_set_ready(struct channel *channel, int status)
{
    LOCKED(&channel->lock);
    channel->status = status;
    pthread_cond_broadcast(&channel->changed);
}

int channel_wait_ready(struct channel *channel, uint32_t timeout_ms)
{
    struct timespec until = deadline_in(timeout_ms);

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

void channel_count_call(struct channel *channel, int change)
{
    atomic_fetch_add_explicit(&channel->calls, (unsigned)change, memory_order_acq_rel);
}

void *channel_arg(const struct channel *channel)
{
    return channel->setup.arg;
}

void *channel_owner(const struct channel *channel)
{
    return channel->setup.owner;
}
