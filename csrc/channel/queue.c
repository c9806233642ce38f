/* queue: the calls of a channel that wait for a thread, and who may run one.
 *
 * A handler that runs has a turn, and there are `callers` of them. Who has none waits: a call in the
 * list, for a thread to take it; a handler that was paused, on its own thread.
 *
 * A handler that waits in something of ours (cuse.Condition, cuse.sleep) has given its turn back
 * meanwhile, so any number of them holds nobody up. One that blocks in something of its own looks
 * like one that works. So where calls wait and no turn has ended for QUEUE_STALL_MS, turns are lent:
 * one, two, four … until something moves, QUEUE_RUNNING_MAX at most. Else a request that would have
 * freed all the others might wait for them for ever. */
#include "channel/queue.h"

#include <errno.h>

#include "base/lock.h"

void queue_init(struct queue *queue, unsigned callers)
{
    *queue = (struct queue){.callers = callers, .step = 1};
    queue->last = &queue->first;
    pthread_mutex_init(&queue->lock, NULL);
    cond_init_monotonic(&queue->changed);
}

void queue_destroy(struct queue *queue)
{
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
}

struct timespec queue_deadline(uint32_t milliseconds)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += milliseconds % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return until;
}

bool queue_is_past(const struct timespec *deadline)
{
    struct timespec now = queue_deadline(0);

    return now.tv_sec > deadline->tv_sec ||
           (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* --- calls that wait --------------------------------------------------------------------------- */

bool queue_add(struct queue *queue, struct call *call)
{
    if (!call_keep_data(call))
        return false;
    *queue->last = call;
    queue->last = call_next(call);
    return true;
}

struct call *queue_take(struct queue *queue)
{
    struct call *call = queue->first;

    if (!call)
        return NULL;
    queue->first = *call_next(call);
    *call_next(call) = NULL;
    if (!queue->first)
        queue->last = &queue->first;
    return call;
}

/* --- turns ------------------------------------------------------------------------------------- */

static bool is_turn_left(const struct queue *queue)
{
    return queue->running < queue->callers + queue->lent;
}

/* Whoever waits already comes first, and handlers that resume before calls. */
bool queue_has_turn(const struct queue *queue)
{
    return is_turn_left(queue) && !queue->first && !queue->resuming;
}

void queue_begin(struct queue *queue)
{
    queue->running++;
}

void queue_end(struct queue *queue)
{
    queue->running--;
    queue->progress++;
    queue->step = 1;
    if (queue->running < queue->callers)
        queue->lent = 0;
    if (queue->resuming)
        pthread_cond_broadcast(&queue->changed);
}

struct call *queue_next(struct queue *queue)
{
    if (!queue->first || queue->resuming || !is_turn_left(queue))
        return NULL;
    queue_begin(queue);
    return queue_take(queue);
}

unsigned queue_due(const struct queue *queue)
{
    unsigned turns = queue->callers + queue->lent, due = 0;

    if (queue->resuming)
        return 0;
    for (struct call *at = queue->first; at && queue->running + due < turns; at = *call_next(at))
        due++;
    return due;
}

void queue_pause(struct queue *queue)
{
    queue_end(queue);
}

void queue_resume(struct queue *queue)
{
    queue->resuming++;
    while (!is_turn_left(queue) && !queue->stopping) {
        struct timespec soon = queue_deadline(QUEUE_STALL_MS);

        if (pthread_cond_timedwait(&queue->changed, &queue->lock, &soon) == ETIMEDOUT)
            queue_look(queue);
    }
    queue->resuming--;
    queue_begin(queue);
}

enum queue_look queue_look(struct queue *queue)
{
    unsigned room = queue->running < QUEUE_RUNNING_MAX ? QUEUE_RUNNING_MAX - queue->running : 0;
    bool moved = queue->progress != queue->seen;

    queue->seen = queue->progress;
    if (moved || is_turn_left(queue))
        return QUEUE_MOVES;
    if (!room)
        return QUEUE_CROWDED;
    queue->lent = queue->running - queue->callers + (queue->step < room ? queue->step : room);
    queue->step *= 2;
    if (queue->resuming)
        pthread_cond_broadcast(&queue->changed);
    return QUEUE_LENT;
}
