/* worker: the threads of a channel. See worker.c. */
#ifndef WORKER_H
#define WORKER_H

#include <stdbool.h>

#include "channel/roster.h"

/* The fields before `stopping` are set. */
void workers_prepare(struct workers *workers);
/* `threads` of them read from now on. 0, or -errno: workers_stop follows. */
int workers_start(struct workers *workers, unsigned threads);
int workers_pump(struct workers *workers); /* as channel_pump */
int workers_resume(struct workers *workers); /* as channel_resume. resume.c */

#endif
