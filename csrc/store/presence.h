/* presence: which quanta of a file are there. See presence.c. */
#ifndef PRESENCE_H
#define PRESENCE_H

#include "store/store_private.h"

/* `quantum`: bytes; keys are numbers of quanta. */
bool presence_is_there(struct store *store, uint64_t quantum, uint64_t key);
/* The first one at or after `key` that is there; false: none. */
bool presence_next(struct store *store, uint64_t quantum, uint64_t key, uint64_t *found);
/* The first one that is not. */
uint64_t presence_gap(struct store *store, uint64_t quantum, uint64_t key);
/* With the quanta locked: they were written; they are there whatever data the file has; those of
 * [first, end) are none any more. */
void presence_wrote(struct store *store, uint64_t quantum, uint64_t first, uint64_t last);
void presence_keep(struct store *store, uint64_t first, uint64_t last);
void presence_forget(struct store *store, uint64_t first, uint64_t end);

#endif
