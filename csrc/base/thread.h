/* thread: threads of ours, and where threads run. See thread.c. */
#ifndef THREAD_H
#define THREAD_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* 0, or -errno. */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

/* The CPU that a thread, of any process, ran on last; -1: nobody knows. */
int thread_cpu(uint32_t tid);
/* How long a thread of this process was ready to run and did not, ever; 0: nobody knows. */
int64_t thread_run_delay_ns(int tid);
/* Threads of the machine that run or want to, the caller among them; 0: nobody knows. */
unsigned threads_runnable(void);
/* Puts a thread of this process elsewhere. 0, or -errno. */
int thread_move(int tid, int policy, const cpu_set_t *cpus);
bool thread_may_leave_idle(void); /* SCHED_IDLE, that is */

#endif
