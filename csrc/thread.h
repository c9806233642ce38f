/* thread: threads of ours, which leave signals to the interpreter's. See thread.c. */
#ifndef THREAD_H
#define THREAD_H

#include <pthread.h>

/* 0 or -errno. */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif
