/* wake: threads that a signal gets out of a system call, and such calls. See wake.c. */
#ifndef WAKE_H
#define WAKE_H

#include <pthread.h>

/* Before the first of the others. Once is enough, more do no harm. */
void wake_install(void);
/* This thread can be woken from here on. */
void wake_allow(void);
/* A call that the thread is in, or enters in a moment, may end with EINTR; or may not: who needs it
 * repeats this. */
void wake_thread(pthread_t thread);

#endif
