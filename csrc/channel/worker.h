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

/* What a thread begins with. CALLER and WATCHER never read. */
enum start { READ_FIRST, RUN_FIRST, CALLER, WATCHER, SPARE };
/* With the lock held: one more thread. 0, or -errno. */
int workers_start_one(struct workers *workers, enum start how);
/* With the lock held. Whether this thread may leave reading to others; counts it out if so. */
bool workers_leave_reading(struct workers *workers);

#endif
