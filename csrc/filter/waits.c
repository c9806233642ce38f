/* waits: requests that are delayed, each on a thread of its own.
 *
 * So a request stays what it was, in the room that it was received in, where the next worker finds it if
 * this one dies; others read meanwhile (worker.c). The INTERRUPT of a request may be read, by another
 * thread, before the request has begun to wait: it is kept. A number is used once, so one that nobody
 * comes for does no harm. */
#include "filter/waits.h"

#include <time.h>

#include "base/lock.h"

void waits_init(struct waits *waits)
{
    cond_init_monotonic(&waits->changed);
}

void waits_destroy(struct waits *waits)
{
    pthread_cond_destroy(&waits->changed);
}

static bool take_early(struct waits *waits, const struct wait *wait)
{
    for (unsigned i = 0; i < WAITS_EARLY; i++)
        if (waits->early[i].unique == wait->unique && waits->early[i].owner == wait->owner) {
            waits->early[i].unique = 0;
            return true;
        }
    return false;
}

static void leave(struct waits *waits, struct wait *wait)
{
    struct wait **at = &waits->first;

    while (*at != wait)
        at = &(*at)->next;
    *at = wait->next;
}

enum wait_end waits_until(struct waits *waits, pthread_mutex_t *lock, struct wait *wait,
                          uint64_t until_ns)
{
    const struct timespec until = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
    int rc = 0;

    wait->interrupted = take_early(waits, wait);
    wait->next = waits->first;
    waits->first = wait;
    while (rc == 0 && !wait->interrupted && !*wait->stopping && waits->changes == wait->changes)
        rc = pthread_cond_timedwait(&waits->changed, lock, &until);
    leave(waits, wait);
    if (wait->interrupted)
        return WAIT_INTERRUPTED;
    return *wait->stopping ? WAIT_STOPPED : WAIT_OVER;
}

bool waits_interrupt(struct waits *waits, const void *owner, uint64_t unique)
{
    for (struct wait *wait = waits->first; wait; wait = wait->next)
        if (wait->unique == unique && wait->owner == owner) {
            wait->interrupted = true;
            pthread_cond_broadcast(&waits->changed);
            return true;
        }
    waits->early[waits->next_early].owner = owner;
    waits->early[waits->next_early].unique = unique;
    waits->next_early = (waits->next_early + 1) % WAITS_EARLY;
    return false;
}

void waits_release(struct waits *waits)
{
    waits->changes++;
    pthread_cond_broadcast(&waits->changed);
}

void waits_look(struct waits *waits)
{
    pthread_cond_broadcast(&waits->changed);
}
