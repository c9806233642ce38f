/* lock: a mutex that is released where its scope ends.
 *
 *     LOCKED(&store->lock);     held until the enclosing block is left, by any way
 *
 * Where a function waits or copies in the middle, it locks and unlocks by hand instead. */
#ifndef LOCK_H
#define LOCK_H

#include <pthread.h>

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
