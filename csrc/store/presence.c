/* presence: a quantum is there as soon as the file has data in it.
 *
 * `index` knows what the file cannot tell (any region stands for "there"): quanta that were allocated
 * and not written, which look like holes; and, where quanta are no whole pages, those that were written
 * through us, as two may share a page, which does not tell whose data it has. Of others what is not
 * zeros is taken for data: so it is after a restart. */
#include "store/presence.h"

#include <unistd.h>

#include "base/lock.h"
#include "store/image.h"

#define THERE ((region_t)1)
#define KEPT_MOST (UINT64_C(1) << 16) /* quanta noted at once */

static bool shares_pages(const struct store *store, uint64_t quantum)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    return quantum % page != 0 || image_base(store->image) % page != 0;
}

static bool is_noted(struct store *store, uint64_t key)
{
    LOCKED(&store->lock);
    return index_get(&store->index, key) != REGION_NONE;
}

/* Where there is no memory to note it, or very many are, what they hold has to speak. */
void presence_keep(struct store *store, uint64_t first, uint64_t last)
{
    if (last - first >= KEPT_MOST)
        return;
    LOCKED(&store->lock);
    for (uint64_t key = first; key <= last; key++)
        if (index_get(&store->index, key) == REGION_NONE &&
            index_reserve(&store->index, key) == 0)
            index_set(&store->index, key, THERE);
}

void presence_wrote(struct store *store, uint64_t quantum, uint64_t first, uint64_t last)
{
    if (shares_pages(store, quantum))
        presence_keep(store, first, last);
}

static bool has_other_than_zeros(const struct image *image, uint64_t from, uint64_t end)
{
    uint64_t some[512];

    while (from < end) {
        size_t n = end - from < sizeof(some) ? (size_t)(end - from) : sizeof(some);
        ssize_t got = image_read(image, from, some, n);

        if (got <= 0)
            return false;
        for (ssize_t i = 0; i < got; i++)
            if (((const uint8_t *)some)[i])
                return true;
        from += (uint64_t)got;
    }
    return false;
}

bool presence_is_there(struct store *store, uint64_t quantum, uint64_t key)
{
    uint64_t from = key * quantum, end = from + quantum, data;

    if (is_noted(store, key))
        return true;
    if (!image_next_data(store->image, from, &data) || data >= end)
        return false;
    return !shares_pages(store, quantum) || has_other_than_zeros(store->image, from, end);
}

static uint64_t next_noted(struct store *store, uint64_t key)
{
    LOCKED(&store->lock);
    region_t region;
    uint64_t found;

    return index_next(&store->index, key, &found, &region) ? found : UINT64_MAX;
}

static uint64_t next_with_data(struct store *store, uint64_t quantum, uint64_t key)
{
    uint64_t data;

    return image_next_data(store->image, key * quantum, &data) ? data / quantum : UINT64_MAX;
}

bool presence_next(struct store *store, uint64_t quantum, uint64_t key, uint64_t *found)
{
    while (key <= POSITION_MAX / quantum) {
        uint64_t noted = next_noted(store, key), data = next_with_data(store, quantum, key);

        key = noted < data ? noted : data;
        if (key == UINT64_MAX)
            return false;
        if (presence_is_there(store, quantum, key)) {
            *found = key;
            return true;
        }
        key++;
    }
    return false;
}

uint64_t presence_gap(struct store *store, uint64_t quantum, uint64_t key)
{
    bool whole = !shares_pages(store, quantum);
    uint64_t end;

    while (key <= POSITION_MAX / quantum && presence_is_there(store, quantum, key)) {
        if (whole && image_data_at(store->image, key * quantum, &end) && end / quantum > key)
            key = end / quantum; /* all before it is data */
        else
            key++;
    }
    return key;
}

void presence_forget(struct store *store, uint64_t first, uint64_t end)
{
    uint64_t key;
    region_t region;
    LOCKED(&store->lock);

    for (; index_next(&store->index, first, &key, &region) && key < end; first = key + 1)
        index_remove(&store->index, key);
}
