/* warm: regions that were freed and keep their memory for a while. See warm.c. */
#ifndef WARM_H
#define WARM_H

#include "memory/arena.h"

/* A warm region with its old bytes, or REGION_NONE. */
region_t warm_take(struct arena *arena);
/* Keeps the first regions of the run warm, as many as there is room for: how many. */
uint32_t warm_keep(struct arena *arena, region_t first, uint32_t count);
/* Looks after the arena while more of it is warm than is kept for good. Without its lock. */
void warm_watch(struct arena *arena);
/* Has arenas of that budget give back so many bytes at once, as far as they do not keep them for
 * good: others need the memory. Not with an arena's lock held. */
void warm_hurry(const struct budget *budget, uint64_t bytes);
/* Gives back what was not needed since the last time, but for what is kept for good. True: nothing
 * is left that may have to be given back. */
bool warm_cool(struct arena *arena);
/* Gives back so many bytes, but of those: how many it gave. */
uint64_t warm_yield(struct arena *arena, uint64_t bytes);
/* Nothing is kept warm from now on. */
void warm_close(struct arena *arena);

#endif
