/* quanta: an arena's regions, named by an index: what anon.c's files share. See quanta.c. */
#ifndef QUANTA_H
#define QUANTA_H

#include "store/store_private.h"

/* With the lock held; released meanwhile: waits for the pin on `region`. */
void quanta_wait(struct store *store, region_t region);
/* With the lock held: what was written up to `end` counts. */
void quanta_grow(struct store *store, uint64_t end);

/* Everything that a store held, taken from it under the lock and given back without it. */
struct remains {
    struct arena *arena; /* a reference */
    struct index index;
};
/* With the lock held. `arena`: the one that follows, its reference is the store's now; NULL: the
 * store keeps the one it has. */
void quanta_take_all(struct store *store, struct arena *arena, struct remains *remains);
/* `closing`: the store goes on without this arena. */
void quanta_bury(struct remains *remains, bool closing);

#endif
