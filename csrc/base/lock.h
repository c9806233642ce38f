/* lock: a mutex that is released where its scope ends, and a condition with the right clock.
 *
 *     LOCKED(&store->lock);     held until the enclosing block is left, by any way
 *
 * Where a function waits or copies in the middle, it locks and unlocks by hand instead. */
#ifndef LOCK_H
#define LOCK_H

#include <pthread.h>
#include <time.h>

/* A condition whose deadlines are of CLOCK_MONOTONIC. */
static inline void cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t clock;

    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &clock);
    pthread_condattr_destroy(&clock);
}

static inline pthread_mutex_t *lock_acquire(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    return mutex;
}

static inline void lock_release(pthread_mutex_t **mutex)
{
    pthread_mutex_unlock(*mutex);
}

#define LOCKED(mutex)                                                                              \
    pthread_mutex_t *lock_guard __attribute__((cleanup(lock_release), unused)) =                   \
        lock_acquire(mutex)

#endif
