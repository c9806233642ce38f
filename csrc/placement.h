/* placement: on which CPU the workers of a channel run. See placement.c. */
#ifndef PLACEMENT_H
#define PLACEMENT_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "scullv.h"

struct placement;
struct placement *placement_new(const struct channel_options *options); /* NULL: no memory */
void placement_free(struct placement *placement);
/* A worker joins (on its own thread, before its first request) and leaves. */
void placement_join(struct placement *placement, unsigned worker);
void placement_leave(struct placement *placement, unsigned worker);
/* After a request of `pid` (a thread) was answered. Cheap: looks about only now and then. */
void placement_see(struct placement *placement, uint32_t pid);

#endif
