/* roster: the threads of a channel, by number. Its caller's lock guards all of it.
 *
 * Numbers are given again, the lowest first: the first few are those that placement knows. */
#include "channel/roster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"
#include "base/thread.h"
#include "base/wake.h"

static void worker_free(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
    room_free(&worker->room);
    free(worker);
}

/* Their threads are past all that matters, so this waits for next to nothing. */
static void bury_gone(struct roster *roster)
{
    while (roster->gone) {
        struct worker *worker = roster->gone;

        roster->gone = worker->next;
        worker_free(worker);
    }
}

static int take_number(struct roster *roster)
{
    unsigned number = roster->free_from;

    while (number < THREADS_MAX && roster->worker[number])
        number++;
    roster->free_from = number;
    return number < THREADS_MAX ? (int)number : -EAGAIN;
}

int roster_start(struct roster *roster, struct workers *workers, size_t payload_max,
                 void *(*main)(void *worker))
{
    struct worker *worker;
    int rc;

    bury_gone(roster);
    rc = take_number(roster);
    if (rc < 0)
        return rc;
    worker = calloc(1, sizeof(*worker));
    if (!worker)
        return -ENOMEM;
    *worker = (struct worker){.workers = workers, .number = (unsigned)rc};
    rc = payload_max ? room_init(&worker->room, payload_max, workers->ledger,
                                         worker->number)
                     : 0;
    if (rc < 0)
        goto free_worker;
    rc = thread_start(&worker->thread, main, worker);
    if (rc < 0)
        goto free_room;
    roster->worker[worker->number] = worker;
    roster->running++;
    return 0;

free_room:
    room_free(&worker->room);
free_worker:
    free(worker);
    return rc;
}

void roster_leave(struct roster *roster, struct worker *worker)
{
    roster->worker[worker->number] = NULL;
    if (roster->free_from > worker->number)
        roster->free_from = worker->number;
    worker->next = roster->gone;
    roster->gone = worker;
    roster->running--;
}

/* --- all of them ------------------------------------------------------------------------------- */

static void wake_all(const struct roster *roster)
{
    for (unsigned i = 0; i < THREADS_MAX; i++)
        if (roster->worker[i] && roster->worker[i]->room.body)
            wake_thread(roster->worker[i]->thread);
}

static uint64_t answered(const struct roster *roster)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < THREADS_MAX; i++)
        if (roster->worker[i])
            sum += atomic_load_explicit(&roster->worker[i]->answered, memory_order_relaxed);
    return sum;
}

static void free_all(struct roster *roster)
{
    bury_gone(roster);
    for (unsigned i = 0; i < THREADS_MAX; i++)
        if (roster->worker[i])
            worker_free(roster->worker[i]);
    memset(roster, 0, sizeof(*roster));
}

/* With the lock held: calls that no thread will run are nobody's. Their clients hear of it from the
 * kernel. */
static void drop_queue(struct workers *workers)
{
    struct call *call;

    while ((call = queue_take(&workers->queue)))
        call_drop(call);
}

/* Wakes whoever sleeps in a read until all have gone (the signal may come just before the read),
 * and waits for the answers that other threads are giving at this moment. */
bool workers_stop(struct workers *workers, uint32_t timeout_ms)
{
    const struct timespec until = queue_deadline(timeout_ms);
    const _Atomic unsigned *under_way = &workers->upcalls->under_way;

    workers->stopping = true;
    for (unsigned i = 0; i < workers->n_filters; i++)
        if (workers->filters[i])
            filters_stop(workers->filters[i], workers->fd);
    placement_end(workers->placement);
    LOCKED(&workers->queue.lock);
    workers->queue.stopping = true;
    while ((workers->roster.running || *under_way) && !queue_is_past(&until)) {
        struct timespec soon = queue_deadline(5);

        drop_queue(workers);
        wake_all(&workers->roster);
        pthread_cond_broadcast(&workers->queue.changed);
        pthread_cond_broadcast(&workers->standins.changed);
        pthread_cond_timedwait(&workers->queue.changed, &workers->queue.lock, &soon);
    }
    return workers->roster.running == 0 && *under_way == 0;
}

void workers_free(struct workers *workers)
{
    free_all(&workers->roster);
    room_free(&workers->room);
}

uint64_t workers_answered(struct workers *workers)
{
    LOCKED(&workers->queue.lock);
    return answered(&workers->roster);
}
