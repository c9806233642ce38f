/* extent: which quanta have memory, and how long the store is: punch, resize, allocate, and the
 * walks over what is there.
 *
 * A whole quantum is freed by taking it out of the index, whoever has it pinned: he finishes with
 * the region as if before. The ends of a range are cleared by a writer's way (claim.c). Nothing is
 * remembered across an unlock but byte positions, so a trim to another geometry in between does no
 * harm. */
#include "store/extent.h"

#include <errno.h>
#include <string.h>

#include "base/lock.h"
#include "store/claim.h"
#include "store/quanta.h"

/* With the lock held: takes the regions of [first, end) out of the index. */
static void remove_quanta(struct store *store, uint64_t first, uint64_t end,
                          struct arena_batch *batch)
{
    uint64_t key;
    region_t region;
    for (; index_next(&store->index, first, &key, &region) && key < end; first = key + 1) {
        index_remove(&store->index, key);
        arena_batch_retire(batch, region);
    }
}

/* --- punch --------------------------------------------------------------------------------------- */

/* With the lock held. Clears the part of [pos, end) in the quantum of `pos`; releases the lock
 * meanwhile. The position it got to. */
static uint64_t clear_part(struct store *store, uint64_t pos, uint64_t end)
{
    struct claim claim;
    unsigned how = 0;
    for (;;) {
        uint64_t quantum = store->quantum;
        uint64_t offset = pos % quantum;
        uint64_t n = end - pos < quantum - offset ? end - pos : quantum - offset;
        int err = claim_take(&claim, store, pos / quantum, how);
        if (err == CLAIM_BUSY) {
            quanta_wait(store, claim.region);
            how = CLAIM_COPY;
            continue;
        }
        if (err == 0) {
            pthread_mutex_unlock(&store->lock);
            memset(claim_open(&claim, offset, n), 0, n);
            claim_close(&claim);
            pthread_mutex_lock(&store->lock);
        }
        return pos + n;
    }
}

int extent_punch(struct store *store, uint64_t from, uint64_t end)
{
    pthread_mutex_lock(&store->lock);
    store_touch(store);
    for (uint64_t pos = from; pos < end;) {
        uint64_t quantum = store->quantum;
        /* Past the size are only zeros: a range that reaches it covers the last quantum. */
        uint64_t keys_end = (end + (end >= store->size ? quantum - 1 : 0)) / quantum;
        if (pos % quantum != 0 || pos / quantum >= keys_end) {
            pos = clear_part(store, pos, end);
            continue;
        }
        struct arena_batch batch = {.arena = arena_hold(store->arena)};
        remove_quanta(store, pos / quantum, keys_end, &batch);
        pthread_mutex_unlock(&store->lock);
        arena_batch_flush(&batch);
        arena_drop(batch.arena);
        pthread_mutex_lock(&store->lock);
        pos = keys_end * quantum;
    }
    pthread_mutex_unlock(&store->lock);
    return 0;
}

/* --- resize --------------------------------------------------------------------------------------- */

/* With the lock held, released when it returns. */
static void cut_to_nothing(struct store *store)
{
    struct remains remains;
    quanta_take_all(store, NULL, &remains);
    pthread_mutex_unlock(&store->lock);
    quanta_bury(&remains, false);
}

/* With the lock held, released when it returns; `claim`: the last quantum, if its end is cut. */
static void cut(struct store *store, uint64_t size, struct claim *claim)
{
    uint64_t quantum = store->quantum;
    struct arena_batch batch = {.arena = arena_hold(store->arena)};
    store->size = size;
    store->cuts++;
    store_touch(store);
    remove_quanta(store, size / quantum + (size % quantum != 0), UINT64_MAX, &batch);
    pthread_mutex_unlock(&store->lock);
    if (claim) {
        uint64_t offset = size % quantum;
        memset(claim_open(claim, offset, quantum - offset), 0, quantum - offset);
        claim_close(claim);
    }
    arena_batch_flush(&batch);
    arena_drop(batch.arena);
}

int extent_resize(struct store *store, uint64_t size)
{
    struct claim claim;
    unsigned how = 0;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        if (size >= store->size) {
            store_touch(store);
            store->size = size;
            pthread_mutex_unlock(&store->lock);
            return 0;
        }
        if (size == 0) {
            cut_to_nothing(store);
            return 0;
        }
        int err = -ENOENT;
        if (size % store->quantum != 0)
            err = claim_take(&claim, store, size / store->quantum, how);
        if (err != CLAIM_BUSY) {
            cut(store, size, err == 0 ? &claim : NULL);
            return 0;
        }
        quanta_wait(store, claim.region);
        how = CLAIM_COPY;
    }
}

/* --- allocate ------------------------------------------------------------------------------------- */

/* With the lock held: gives quantum `key` a region that reads as zeros. 0 or -ENOSPC. */
static int allocate_quantum(struct store *store, uint64_t key)
{
    bool zeroed;
    region_t region = arena_take(store->arena, &zeroed);
    if (region == REGION_NONE)
        return -ENOSPC;
    if (index_reserve(&store->index, key) != 0) {
        arena_retire(store->arena, region);
        return -ENOSPC;
    }
    if (!zeroed)
        memset(arena_address(store->arena, region), 0, store->quantum);
    index_set(&store->index, key, region);
    return 0;
}

/* With the lock held, so that the quanta of the range that were missing can be told from those that
 * were there, and taken back: `added` names them. */
static int allocate_range(struct store *store, uint64_t first, uint64_t last)
{
    struct index added;
    struct arena_batch batch = {.arena = store->arena};
    uint64_t key;
    region_t region;
    int err = 0;
    index_init(&added, store->budget);
    for (uint64_t from = first; err == 0 && index_next_gap(&store->index, from, &key); from = key) {
        if (key > last)
            break;
        err = index_reserve(&added, key) == 0 ? allocate_quantum(store, key) : -ENOSPC;
        if (err == 0)
            index_set(&added, key, index_get(&store->index, key));
    }
    for (uint64_t from = 0; err != 0 && index_next(&added, from, &key, &region); from = key + 1) {
        index_remove(&store->index, key);
        arena_batch_retire(&batch, region);
    }
    arena_batch_flush(&batch);
    index_drop(&added, NULL, NULL);
    return err;
}

int extent_allocate(struct store *store, uint64_t offset, uint64_t length, bool keep_size)
{
    LOCKED(&store->lock);
    uint64_t first = offset / store->quantum;
    uint64_t last = (offset + length - 1) / store->quantum;
    /* So many quanta are never all there: no need to try. */
    if (last - first >= budget_max(store->budget) / arena_region_bytes(store->arena))
        return -ENOSPC;
    int err = allocate_range(store, first, last);
    if (err == 0 && !keep_size)
        quanta_grow(store, offset + length);
    return err;
}

/* --- what is there --------------------------------------------------------------------------------- */

int64_t extent_seek(struct store *store, uint64_t offset, bool hole)
{
    LOCKED(&store->lock);
    if (offset >= store->size)
        return -ENXIO;
    uint64_t key = 0;
    region_t region;
    bool found = hole ? index_next_gap(&store->index, offset / store->quantum, &key)
                      : index_next(&store->index, offset / store->quantum, &key, &region);
    uint64_t at = store->size; /* where a hole begins that nobody made */
    if (found && key <= (store->size - 1) / store->quantum)
        at = key * store->quantum;
    if (at < offset)
        at = offset;
    return at == store->size && !hole ? -ENXIO : (int64_t)at;
}

int extent_next_quantum(struct store *store, uint64_t from, uint64_t *number, uint64_t *offset)
{
    LOCKED(&store->lock);
    region_t region;
    if (!index_next(&store->index, from, number, &region))
        return 0;
    *offset = arena_offset(store->arena, region);
    return 1;
}
