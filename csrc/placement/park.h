/* park: where workers wait that are not needed. See park.c. */
#ifndef PARK_H
#define PARK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct park {
    pthread_mutex_t lock; /* a leaf */
    pthread_cond_t changed;
    _Atomic unsigned wanted; /* changed under `lock` */
    bool closed;             /* lock */
};

#define PARK_NOBODY UINT32_MAX /* as `wanted`: all workers are */

void park_init(struct park *park);
void park_destroy(struct park *park);
/* A worker's number counts from 0. Returns while it is less than `wanted`. */
void park_wait(struct park *park, unsigned worker);
void park_want(struct park *park, unsigned wanted);
void park_close(struct park *park); /* nobody waits from now on */

#endif
