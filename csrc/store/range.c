/* range: stripes of a store's image, by the geometry that the store has when they are locked. Who
 * changes the geometry has all of them. */
#include "store/range.h"

#include "store/image.h"
#include "store/stripes.h"

static struct stripes *stripes_of(struct store *store)
{
    return image_stripes(store->image);
}

struct range range_lock(struct store *store, uint64_t pos, uint64_t end, bool writes)
{
    for (;;) {
        uint64_t quantum = atomic_load(&store->quantum);
        struct range range = {quantum, pos / quantum, (end - 1) / quantum};

        stripes_lock(stripes_of(store), range.first, range.last, writes);
        if (atomic_load(&store->quantum) == quantum)
            return range;
        range_unlock(store, &range);
    }
}

void range_unlock(struct store *store, const struct range *range)
{
    stripes_unlock(stripes_of(store), range->first, range->last);
}

size_t range_within(const struct range *range, uint64_t pos, size_t len)
{
    uint64_t left = range->quantum - pos % range->quantum;

    return len < left ? len : (size_t)left;
}

void range_lock_all(struct store *store)
{
    stripes_lock(stripes_of(store), 0, STRIPES - 1, true);
}

void range_unlock_all(struct store *store)
{
    stripes_unlock(stripes_of(store), 0, STRIPES - 1);
}
