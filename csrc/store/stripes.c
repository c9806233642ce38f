/* stripes: locks for ranges of quanta, taken in the order of their places, so that no two ranges
 * wait for each other. Writers go before readers that come later: else readers who follow one another
 * without a gap would keep a writer waiting for ever. */
#include "store/stripes.h"

void stripes_init(struct stripes *stripes)
{
    pthread_rwlockattr_t fair;

    pthread_rwlockattr_init(&fair);
    pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_rwlock_init(&stripes->lock[i], &fair);
    pthread_rwlockattr_destroy(&fair);
}

void stripes_destroy(struct stripes *stripes)
{
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_rwlock_destroy(&stripes->lock[i]);
}

static bool has_stripe(uint64_t first, uint64_t last, unsigned stripe)
{
    return last - first >= STRIPES - 1 || (stripe - first) % STRIPES <= last - first;
}

void stripes_lock(struct stripes *stripes, uint64_t first, uint64_t last, bool writes)
{
    for (unsigned i = 0; i < STRIPES; i++) {
        if (!has_stripe(first, last, i))
            continue;
        if (writes)
            pthread_rwlock_wrlock(&stripes->lock[i]);
        else
            pthread_rwlock_rdlock(&stripes->lock[i]);
    }
}

void stripes_unlock(struct stripes *stripes, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < STRIPES; i++)
        if (has_stripe(first, last, i))
            pthread_rwlock_unlock(&stripes->lock[i]);
}
