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
 *   handlers block), so the last reader starts another worker first. Where no turn is left (queue.c)
 *   the call waits, for the next worker whose call has ended, or for a new one where a turn is given
 *   back or lent. While calls wait a thread watches that they do not do so for ever.
 *
 * Workers beyond a reader for each turn end when they have nothing to run. */
#include "channel/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/killpoint.h"
#include "base/lock.h"
#include "base/wake.h"
#include "channel/reader.h"


/* What the worker begins with. CALLER and WATCHER never read. */
enum start { READ_FIRST, RUN_FIRST, CALLER, WATCHER, SPARE };
static int start_worker(struct workers *workers, enum start how);

/* The turn of the call that this thread runs. */
static _Thread_local struct workers *turn;
/* This thread reads as long as others are aside. */
static _Thread_local bool is_spare;

static bool is_foreign(const struct workers *workers)
{
    return workers->kind == REQUEST_FOREIGN;
}

/* --- who runs a call ----------------------------------------------------------------------------- */

/* With the lock held: makes threads for calls that have turns, where nobody else will run them. */
static void relieve(struct workers *workers)
{
    while (workers->starting < queue_due(&workers->queue))
        if (start_worker(workers, RUN_FIRST) < 0)
            return;
}

/* With the lock held. Whether this worker may leave reading to others; counts it out if so. */
static bool leave_reading(struct workers *workers)
{
    if (workers->reading == 1 && start_worker(workers, READ_FIRST) < 0)
        return false;
    workers->reading--;
    return true;
}

/* One always reads: the requests of others, and the INTERRUPT of the one that this thread is busy with.
 * On a data channel that is a thread besides those that placement has a place for. */
static bool step_aside(struct workers *workers)
{
    LOCKED(&workers->queue.lock);
    if (is_foreign(workers))
        return leave_reading(workers);
    if (workers->spares == is_spare && start_worker(workers, SPARE) < 0)
        return false;
    workers->spares -= is_spare;
    workers->aside++;
    return true;
}

static void step_back(struct workers *workers)
{
    LOCKED(&workers->queue.lock);
    if (is_foreign(workers)) {
        workers->reading++;
        return;
    }
    workers->spares += is_spare;
    workers->aside--;
}

static void run_here(struct workers *workers, struct call *call)
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
    if (!is_foreign(workers))
        pthread_cond_broadcast(&workers->queue.changed);
    else if (!workers->watching && !workers->resuming)
        workers->watching = start_worker(workers, WATCHER) == 0;
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
        if (is_foreign(workers) && !workers->resuming && queue_has_turn(&workers->queue))
            here = leave_reading(workers);
        if (here)
            queue_begin(&workers->queue);
        else
            error = wait_in_queue(workers, call);
    }
    if (here)
        run_here(workers, call);
    else if (error)
        refuse(call, error);
}

void workers_tell(struct workers *workers, struct call *call)
{
    if (!is_foreign(workers)) {
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
    relieve(workers);
}

void call_resume(void)
{
    struct workers *workers = turn;

    if (!workers)
        return;
    LOCKED(&workers->queue.lock);
    queue_resume(&workers->queue);
    relieve(workers); /* calls had to stand back */
}

/* A data channel has one such thread, which is its first. */
bool workers_is_caller(struct workers *workers)
{
    return !is_foreign(workers) && pthread_equal(workers->roster.worker[0]->thread, pthread_self());
}

/* --- threads that do not read -------------------------------------------------------------------- */

static void *caller_main(void *arg)
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

    relieve(workers);
    if (!crowded || *told)
        return;
    *told = true;
    pthread_mutex_unlock(&queue->lock);
    tell_crowded(workers);
    pthread_mutex_lock(&queue->lock);
}

/* Stays for a moment after the last call that waited, as the next one is likely to come soon. */
static void *watcher_main(void *arg)
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
    return is_foreign(workers) && workers->reading > workers->queue.callers + 1;
}

static bool leave_early(struct worker *worker)
{
    struct workers *workers = worker->workers;

    if (workers->reading <= workers->queue.callers + 1)
        return false; /* without the lock: nearly always so */
    LOCKED(&workers->queue.lock);
    if (!is_superfluous(workers))
        return false;
    workers->reading--;
    return true;
}

/* True: it ended early, and does not count as reading any more. */
static bool worker_loop(struct worker *worker)
{
    struct workers *workers = worker->workers;
    int taken = 0;

    while (!workers->stopping) {
        if (leave_early(worker))
            return true;
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
    run_here(workers, call);
    return worker_main(arg);
}

/* With the lock held. Counts the worker in before it runs, so that nobody counts on less. */
static int start_worker(struct workers *workers, enum start how)
{
    void *(*const main[])(void *) = {
        [READ_FIRST] = worker_main,
        [RUN_FIRST] = runner_main,
        [CALLER] = caller_main,
        [WATCHER] = watcher_main,
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
    int rc = is_foreign(workers) ? 0 : start_worker(workers, CALLER);

    for (unsigned i = 0; i < threads && rc == 0; i++)
        rc = start_worker(workers, READ_FIRST);
    if (is_foreign(workers))
        relieve(workers); /* of calls that a worker process before has left */
    return rc;
}

void workers_prepare(struct workers *workers)
{
    workers->tell = workers_tell;
    workers->step_aside = step_aside;
    workers->step_back = step_back;
}

int workers_start(struct workers *workers, unsigned threads)
{
    if (workers->pumped)
        return room_init(&workers->room, workers->payload_max, workers->ledger, 0);
    wake_install();
    return start_all(workers, is_foreign(workers) ? 2 : threads);
}
