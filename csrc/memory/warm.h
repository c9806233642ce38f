/* warm: gives memory back that was kept warm and that nobody came back for. See warm.c. */
#ifndef WARM_H
#define WARM_H

#include "memory/arena.h"

/* The arena has more warm than it keeps for good: it is looked after until it has not. Not with
 * the arena's lock held. */
void warm_watch(struct arena *arena);

/* Has watched arenas of that budget give back so many bytes at once, as far as they do not keep them
 * for good: others need the memory. Not with an arena's lock held. */
void warm_hurry(const struct budget *budget, uint64_t bytes);

#endif
