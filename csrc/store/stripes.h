/* stripes: who may touch which quanta of a file now: any number of readers, or one writer. */
#ifndef STRIPES_H
#define STRIPES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Quanta share a lock with every STRIPES-th other one. */
#define STRIPES 16u

struct stripes {
    pthread_rwlock_t lock[STRIPES];
};

void stripes_init(struct stripes *stripes);
void stripes_destroy(struct stripes *stripes);
/* The quanta from `first` to `last`, both included; unlocked by the thread that locked them. A thread
 * has one range at a time. */
void stripes_lock(struct stripes *stripes, uint64_t first, uint64_t last, bool writes);
void stripes_unlock(struct stripes *stripes, uint64_t first, uint64_t last);

#endif
