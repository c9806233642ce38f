/* placement: on which CPU the workers of a channel run, and which of them. See placement.c. */
#ifndef PLACEMENT_H
#define PLACEMENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "placement/callers.h"
#include "scullv.h"

struct placement;
/* `runs_python`: the workers do, one at a time mostly. NULL: no memory. */
struct placement *placement_new(const struct channel_options *options, bool runs_python);
/* The workers follow others that died: what waits comes first, nothing is tried for a moment. */
void placement_follow_death(struct placement *placement);
void placement_free(struct placement *placement);
/* A worker joins (on its own thread, before its first request) and leaves. */
void placement_join(struct placement *placement, unsigned worker);
void placement_leave(struct placement *placement, unsigned worker);
/* After a worker answered a request. Cheap: looks about only now and then. */
void placement_see(struct placement *placement, unsigned worker, const struct seen *seen);
/* How long a worker that has answered a request looks for the next one before it sleeps, ns. */
uint64_t placement_spin_ns(const struct placement *placement);
/* Whether several workers should read, where they run Python. */
bool placement_wants_many(const struct placement *placement);
/* What is in force, in a word for people: "none", "list", or the way. Any thread. */
const char *placement_choice(const struct placement *placement);
/* Before a worker reads; they are numbered from 0. Waits while those before it are enough. */
void placement_park(struct placement *placement, unsigned reader);
/* The end is near: all workers read from now on, at large, so that nothing delays it. */
void placement_end(struct placement *placement);

#endif
