/* park: where workers wait that are not needed.
 *
 * Asked before every request, so it takes no lock while the worker is wanted. */
#include "placement/park.h"

#include <stdatomic.h>

#include "base/lock.h"

void park_init(struct park *park)
{
    pthread_mutex_init(&park->lock, NULL);
    pthread_cond_init(&park->changed, NULL);
    park->wanted = PARK_NOBODY;
    park->closed = false;
}

void park_destroy(struct park *park)
{
    pthread_cond_destroy(&park->changed);
    pthread_mutex_destroy(&park->lock);
}

void park_wait(struct park *park, unsigned worker)
{
    if (worker < atomic_load_explicit(&park->wanted, memory_order_relaxed))
        return;
    LOCKED(&park->lock);
    while (worker >= park->wanted)
        pthread_cond_wait(&park->changed, &park->lock);
}

void park_want(struct park *park, unsigned wanted)
{
    if (atomic_load_explicit(&park->wanted, memory_order_relaxed) == wanted)
        return;
    LOCKED(&park->lock);
    park->wanted = park->closed ? PARK_NOBODY : wanted;
    pthread_cond_broadcast(&park->changed);
}

void park_close(struct park *park)
{
    LOCKED(&park->lock);
    park->closed = true;
    park->wanted = PARK_NOBODY;
    pthread_cond_broadcast(&park->changed);
}
