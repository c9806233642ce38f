/* worker: the threads of a channel. See worker.c. */
#ifndef WORKER_H
#define WORKER_H

#include <stdbool.h>

#include "channel/roster.h"

/* The fields before `stopping` are set. */
void workers_prepare(struct workers *workers);
/* `threads` of them read from now on. 0, or -errno: workers_stop follows. */
int workers_start(struct workers *workers, unsigned threads);
/* A call that a worker (or who pumps) has just made is run, or waits. */
void workers_run(struct workers *workers, struct call *call);
void workers_tell(struct workers *workers, struct call *call); /* the same for one without a request */
int workers_pump(struct workers *workers); /* as channel_pump */
int workers_resume(struct workers *workers); /* as channel_resume. resume.c */
bool workers_is_caller(struct workers *workers); /* on the thread that runs its calls? */

#endif
