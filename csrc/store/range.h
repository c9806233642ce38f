/* range: the quanta of a file that a transfer touches, locked. See range.c. */
#ifndef RANGE_H
#define RANGE_H

#include "store/store_private.h"

struct range {
    uint64_t quantum, first, last; /* bytes; quanta, both included */
};

/* Of [pos, end), end > pos; unlocked by the same thread. */
struct range range_lock(struct store *store, uint64_t pos, uint64_t end, bool writes);
void range_unlock(struct store *store, const struct range *range);
/* How many of `len` bytes lie in the quantum of `pos`: by the book a transfer ends with it. */
size_t range_within(const struct range *range, uint64_t pos, size_t len);

/* Everything, to change it: nobody is in the midst of a transfer. */
void range_lock_all(struct store *store);
void range_unlock_all(struct store *store);

#endif
