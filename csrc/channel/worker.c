/* worker: the threads of a channel.
 *
 * Every worker receives, answers and receives again. READ and WRITE of a store are answered in C
 * (request.c), all else is decoded by libfuse, whose callbacks make calls for Python (upcall.c).
 * Which thread runs a call is decided in calls.c; one worker always reads.
 *
 * Workers beyond a reader for each turn end when they have nothing to run. */
#include "channel/worker.h"

#include <errno.h>
#include <stdlib.h>

#include "base/lock.h"
#include "base/wake.h"
#include "channel/calls.h"
#include "channel/reader.h"
#include "channel/standin.h"

static int start(struct workers *workers, enum start how);

/* This thread reads as long as others are aside. */
static _Thread_local bool is_spare;

/* --- who reads ---------------------------------------------------------------------------------- */

/* One always reads: the requests of others, and the INTERRUPT of the one that this thread is busy with.
 * On a data channel that is a thread besides those that placement has a place for. */
static bool step_aside(struct workers *workers)
{
    LOCKED(&workers->queue.lock);
    if (workers_are_foreign(workers))
        return standin_leave(workers, true);
    if (workers->spares == is_spare && start(workers, SPARE) < 0)
        return false;
    workers->spares -= is_spare;
    workers->aside++;
    return true;
}

static void step_back(struct workers *workers)
{
    LOCKED(&workers->queue.lock);
    if (workers_are_foreign(workers)) {
        workers->reading++;
        return;
    }
    workers->spares += is_spare;
    workers->aside--;
}

/* --- workers ----------------------------------------------------------------------------------- */

/* Once for all of them. */
static void hang_up(struct workers *workers, int error)
{
    bool first;

    {
        LOCKED(&workers->queue.lock);
        first = !workers->ended;
        workers->ended = true;
    }
    if (first)
        workers->on_end(workers, error);
}

/* With the lock held: one of more threads than there are turns. */
static bool is_superfluous(const struct workers *workers)
{
    return workers->reading + workers->standins.standing > workers->queue.callers + 1;
}

/* How many need to read at once. */
static unsigned enough(const struct workers *workers)
{
    return placement_wants_many(workers->placement) ? workers->queue.callers + 1 : 1;
}

/* Before it reads, a thread of a FOREIGN channel stands by where others are enough. False: it is to end. */
static bool keep_reading(struct workers *workers)
{
    if (!workers_are_foreign(workers) || workers->reading <= enough(workers))
        return true; /* without the lock: nearly always so */
    LOCKED(&workers->queue.lock);
    if (is_superfluous(workers)) {
        workers->reading--;
        return false;
    }
    if (workers->reading > enough(workers))
        standin_wait(workers);
    return true;
}

/* True: it ended early, and does not count as reading any more. */
static bool worker_loop(struct worker *worker)
{
    struct workers *workers = worker->workers;
    int taken = 0;

    while (!workers->stopping) {
        if (!keep_reading(workers))
            return true;
        if (workers->stopping)
            break;
        taken = reader_turn(worker, taken > 0);
        if (taken < 0) {
            placement_end(workers->placement); /* this one reads no more */
            hang_up(workers, taken);
            break;
        }
    }
    return false;
}

/* Counts the pump in, so that nobody ends the channel beneath it. False: it has ended. */
static bool begin_pump(struct workers *workers)
{
    LOCKED(&workers->queue.lock);
    if (workers->stopping)
        return false;
    workers->roster.running++;
    return true;
}

static void pump_one(struct workers *workers, size_t length)
{
    _Atomic uint64_t answered = 0; /* in C: none */

    room_begin(&workers->room, length);
    reader_process(workers, &workers->room, length, &answered);
    room_end(&workers->room);
}

int workers_pump(struct workers *workers)
{
    ssize_t length;

    if (!begin_pump(workers))
        return -ENODEV;
    length = room_receive(&workers->room, workers->fd, REQUEST_FOREIGN);
    if (length > 0)
        pump_one(workers, (size_t)length);
    else if (!reader_is_nothing(length))
        hang_up(workers, length ? (int)length : -ENODEV);
    LOCKED(&workers->queue.lock);
    workers->roster.running--;
    pthread_cond_broadcast(&workers->queue.changed);
    return length > 0 ? 1 : reader_is_nothing(length) ? 0 : -ENODEV;
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct workers *workers = worker->workers;
    bool early;

    wake_allow();
    placement_join(workers->placement, worker->number);
    early = worker_loop(worker);
    placement_leave(workers->placement, worker->number);
    LOCKED(&workers->queue.lock);
    if (early) {
        roster_leave(&workers->roster, worker);
        return NULL;
    }
    workers->roster.running--;
    workers->reading--;
    pthread_cond_broadcast(&workers->queue.changed);
    return NULL;
}

/* With the lock held. One is enough for all that are aside. */
static bool is_needed(const struct workers *workers)
{
    return workers->aside && workers->spares == 1;
}

/* Placement knows nothing of it: it goes as soon as it has read something and nobody is aside. */
static void *spare_main(void *arg)
{
    struct worker *worker = arg;
    struct workers *workers = worker->workers;
    bool needed = true;

    is_spare = true;
    wake_allow();
    while (needed && !workers->stopping) {
        int taken = reader_take(worker);

        if (taken < 0) {
            hang_up(workers, taken);
            break;
        }
        LOCKED(&workers->queue.lock);
        needed = taken == 0 || is_needed(workers);
    }
    LOCKED(&workers->queue.lock);
    workers->spares--;
    roster_leave(&workers->roster, worker);
    pthread_cond_broadcast(&workers->queue.changed);
    return NULL;
}

/* One that was started for calls that wait. */
static void *runner_main(void *arg)
{
    struct worker *worker = arg;
    struct workers *workers = worker->workers;
    struct call *call;

    {
        LOCKED(&workers->queue.lock);
        workers->starting--;
        call = queue_next(&workers->queue);
        if (!call)
            workers->reading++;
    }
    calls_run_here(workers, call);
    return worker_main(arg);
}

/* Counts the worker in before it runs, so that nobody counts on less. */
static int start(struct workers *workers, enum start how)
{
    void *(*const main[])(void *) = {
        [READ_FIRST] = worker_main,
        [RUN_FIRST] = runner_main,
        [CALLER] = calls_main,
        [WATCHER] = calls_watch,
        [SPARE] = spare_main,
    };
    bool receives = how == READ_FIRST || how == RUN_FIRST || how == SPARE;
    int rc;

    if (workers->stopping)
        return -EAGAIN;
    rc = roster_start(&workers->roster, workers, receives ? workers->payload_max : 0, main[how]);
    if (rc == 0 && how == READ_FIRST)
        workers->reading++;
    if (rc == 0 && how == RUN_FIRST)
        workers->starting++;
    if (rc == 0 && how == SPARE)
        workers->spares++;
    return rc;
}

/* --- all of them ------------------------------------------------------------------------------- */

static int start_all(struct workers *workers, unsigned threads)
{
    LOCKED(&workers->queue.lock);
    int rc = workers_are_foreign(workers) ? 0 : start(workers, CALLER);

    for (unsigned i = 0; i < threads && rc == 0; i++)
        rc = start(workers, READ_FIRST);
    if (workers_are_foreign(workers))
        calls_relieve(workers); /* of calls that a worker process before has left */
    return rc;
}

void workers_prepare(struct workers *workers)
{
    workers->start = start;
    workers->tell = workers_tell;
    workers->step_aside = step_aside;
    workers->step_back = step_back;
}

int workers_start(struct workers *workers, unsigned threads)
{
    if (workers->pumped)
        return room_init(&workers->room, workers->payload_max, workers->ledger, 0);
    wake_install();
    return start_all(workers, workers_are_foreign(workers) ? 2 : threads);
}
