/* calls: which thread runs a call. See calls.c. */
#ifndef CALLS_H
#define CALLS_H

#include <stdbool.h>

#include "channel/roster.h"

/* A call that a worker (or who pumps) has just made is run, or waits. */
void workers_run(struct workers *workers, struct call *call);
void workers_tell(struct workers *workers, struct call *call); /* the same for one without a request */
bool workers_is_caller(struct workers *workers); /* on the thread that runs its calls? */

/* For worker.c. Runs the call, and those that wait, until there is none; the thread reads then. NULL:
 * there was none. */
void calls_run_here(struct workers *workers, struct call *call);
/* With the lock held: makes threads for calls that have turns, where nobody else will run them. */
void calls_relieve(struct workers *workers);
void *calls_main(void *worker);  /* the thread that runs the calls of a data channel */
void *calls_watch(void *worker); /* the one that watches over calls that wait */

#endif
