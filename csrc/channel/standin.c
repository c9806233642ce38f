/* standin: threads of a FOREIGN channel that stand by.
 *
 * Python runs one handler at a time. So one thread does best, which reads, runs the handler, answers
 * and reads again: nobody is woken in between. But while a handler lasts somebody has to read, the
 * requests of others and the INTERRUPT of that one. Another thread stands by for that. It is called at
 * once where a handler waits in something of ours (call_pause), and where placement has found that
 * several readers are faster, as they are where handlers wait for something else. Otherwise it looks
 * every few milliseconds whether the same handler still runs; with no calls it does not even that. */
#include "channel/standin.h"

#include "base/lock.h"

#define LOOK_MS 8u /* a look costs as much as a few requests */
#define SOON_MS 1u /* where a handler has lasted: the next one may, too */
#define SOON_LOOKS 64u
#define QUIET_LOOKS 4u /* without a call, before it dozes */

void standins_init(struct standins *standins)
{
    cond_init_monotonic(&standins->changed); /* as queue_deadline */
}

void standins_destroy(struct standins *standins)
{
    pthread_cond_destroy(&standins->changed);
}

static void wait(struct workers *workers, const struct timespec *until)
{
    pthread_cond_t *changed = &workers->standins.changed;

    if (until)
        pthread_cond_timedwait(changed, &workers->queue.lock, until);
    else
        pthread_cond_wait(changed, &workers->queue.lock);
}

static bool is_called(const struct workers *workers)
{
    return workers->stopping || workers->standins.called;
}

static void doze(struct workers *workers)
{
    struct standins *standins = &workers->standins;

    standins->dozes = true;
    while (standins->dozes && !is_called(workers))
        wait(workers, NULL);
    standins->dozes = false;
}

/* Until a handler lasts, or somebody calls. */
static void look(struct workers *workers)
{
    struct standins *standins = &workers->standins;
    uint64_t seen = standins->calls;
    unsigned quiet = 0;

    while (!is_called(workers)) {
        const struct timespec until = queue_deadline(standins->soon ? SOON_MS : LOOK_MS);

        wait(workers, &until);
        if (!workers->reading && standins->calls == seen) {
            standins->soon = SOON_LOOKS;
            return;
        }
        standins->soon -= standins->soon > 0;
        quiet = standins->calls == seen ? quiet + 1 : 0;
        if (quiet == QUIET_LOOKS) {
            doze(workers);
            quiet = 0;
        }
        seen = standins->calls;
    }
}

static void stand_by(struct workers *workers)
{
    struct standins *standins = &workers->standins;

    while (standins->looks && !is_called(workers))
        wait(workers, NULL);
    if (is_called(workers))
        return;
    standins->looks = true;
    look(workers);
    standins->looks = false;
    pthread_cond_signal(&standins->changed); /* to who looks next */
}

void standin_wait(struct workers *workers)
{
    struct standins *standins = &workers->standins;

    workers->reading--;
    standins->standing++;
    stand_by(workers);
    if (standins->called) { /* counted by who called */
        standins->called--;
    } else {
        standins->standing--;
        workers->reading++;
    }
}

void standin_call(struct workers *workers)
{
    struct standins *standins = &workers->standins;

    if (!standins->standing)
        return;
    standins->standing--;
    standins->called++;
    workers->reading++;
    pthread_cond_signal(&standins->changed);
}

/* Nobody reads while it runs: whoever dozes has to look whether it lasts. */
static void note_call(struct standins *standins)
{
    standins->calls++;
    if (!standins->dozes)
        return;
    standins->dozes = false;
    pthread_cond_broadcast(&standins->changed); /* others wait there, too */
}

bool standin_leave(struct workers *workers, bool for_long)
{
    if (workers->reading == 1 && !workers->standins.standing &&
        workers->start(workers, READ_FIRST) < 0)
        return false;
    workers->reading--;
    if (!workers->reading && (for_long || placement_wants_many(workers->placement)))
        standin_call(workers);
    if (!workers->reading)
        note_call(&workers->standins);
    return true;
}
