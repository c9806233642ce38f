/* transfer: bytes into and out of the quanta of an arena.
 *
 * A read is planned: its quanta are pinned in ascending order and shown where they lie. A reader
 * may keep pins while it waits for a writer, as a writer waits for nothing while it has its pin.
 *
 * A write goes quantum by quantum. Under the lock it claims one (claim.c) and grows the size;
 * without it, it copies. So writers of one store copy side by side, and a write of several quanta
 * may end short where memory does.
 *
 * A write that was received into spares needs no copy: whole quanta of it become the store's by
 * being put into the index ("adopted"), as many as follow one another under one lock. The region
 * that was there, unless somebody has it, takes the spare's place, so that overwriting a store again
 * and again needs no memory either. */
#include "store/transfer.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/lock.h"
#include "store/claim.h"
#include "store/plan.h"
#include "store/quanta.h"

/* --- reading ------------------------------------------------------------------------------------- */

static void end_read(struct read_plan *plan)
{
    while (plan->pins > 0)
        arena_unpin_read(plan->arena, plan->pinned[--plan->pins]);
    arena_drop(plan->arena);
}

/* With the lock held. 0, CLAIM_BUSY (`region` has a writer), or -E2BIG. */
static int plan_quantum(struct store *store, uint64_t key, uint64_t offset, size_t n,
                        struct read_plan *plan, region_t *region)
{
    *region = index_get(&store->index, key);
    if (*region == REGION_NONE)
        return plan_add_hole(plan, n) ? 0 : -E2BIG;
    if (plan->pins == PLAN_SPANS)
        return -E2BIG;
    if (!arena_pin_read(store->arena, *region))
        return CLAIM_BUSY;
    plan->pinned[plan->pins++] = *region;
    return plan_add(plan, arena_address(store->arena, *region) + offset, n) ? 0 : -E2BIG;
}

/* With the lock held. 0, -E2BIG, or -EAGAIN: the store was cut while this waited; begin again. */
static int plan_all(struct store *store, uint64_t pos, size_t len, unsigned flags,
                    struct read_plan *plan)
{
    if (pos >= store->size)
        return 0;
    uint64_t cuts = store->cuts;
    uint64_t quantum = store->quantum;
    uint64_t key = pos / quantum;
    uint64_t offset = pos % quantum;
    if (len > store->size - pos)
        len = store->size - pos;
    if (flags & STORE_LDD3) {
        if (len > quantum - offset)
            len = quantum - offset;
        if (index_get(&store->index, key) == REGION_NONE)
            return 0;
    }
    plan->arena = arena_hold(store->arena);
    plan->end = end_read;
    while (plan->bytes < len) {
        size_t left = len - plan->bytes;
        size_t n = left < quantum - offset ? left : quantum - offset;
        region_t region;
        int err = plan_quantum(store, key, offset, n, plan, &region);
        if (err == CLAIM_BUSY) {
            quanta_wait(store, region);
            if (store->cuts != cuts)
                return -EAGAIN;
            continue;
        }
        if (err != 0)
            return err;
        key++;
        offset = 0;
    }
    return 0;
}

int transfer_plan_read(struct store *store, uint64_t pos, size_t len, unsigned flags,
                    struct read_plan *plan)
{
    int err;
    do {
        plan->end = NULL;
        plan->pins = plan->spans = 0;
        plan->bytes = 0;
        pthread_mutex_lock(&store->lock);
        err = plan_all(store, pos, len, flags, plan);
        pthread_mutex_unlock(&store->lock);
        if (err != 0 || plan->pins == 0)
            store_end_read(plan);
    } while (err == -EAGAIN);
    return err;
}

ssize_t transfer_read(struct store *store, uint64_t pos, void *data, size_t len, unsigned flags)
{
    size_t done = 0;
    while (done < len && pos + done >= pos) {
        /* So much takes no more spans than there are. */
        uint64_t quantum = store->quantum;
        uint64_t most = PLAN_SPANS / 2 * (quantum < PLAN_ZEROS ? quantum : PLAN_ZEROS);
        struct read_plan plan;
        int err = transfer_plan_read(store, pos + done, len - done < most ? len - done : most,
                                     flags, &plan);
        if (err == -E2BIG)
            continue; /* trimmed to smaller quanta just now */
        if (plan.bytes == 0)
            break;
        store_copy_plan(&plan, (uint8_t *)data + done);
        done += plan.bytes;
        store_end_read(&plan);
        if (flags & STORE_LDD3)
            break;
    }
    return (ssize_t)done;
}

/* --- writing --------------------------------------------------------------------------------------- */

/* Where a write has got to in what it gathers. */
struct source {
    const struct iovec *first, *at;
    size_t skip; /* bytes of `at` that are done */
    struct spares *spares;
    unsigned spare_entries; /* of the iovec */
};

static void gather(struct source *source, uint8_t *to, size_t n)
{
    while (n > 0) {
        size_t left = source->at->iov_len - source->skip;
        size_t piece = n < left ? n : left;
        memcpy(to, (const uint8_t *)source->at->iov_base + source->skip, piece);
        to += piece;
        n -= piece;
        source->skip += piece;
        if (source->skip == source->at->iov_len) {
            source->at++;
            source->skip = 0;
        }
    }
}

/* With the lock held: whether the next `n` bytes are a whole quantum, and lie in a spare that is
 * one: it was laid out for this geometry. */
static bool adoptable(const struct store *store, const struct source *source, uint64_t n)
{
    size_t entry = (size_t)(source->at - source->first);
    return source->spares && entry < source->spare_entries && source->skip == 0 &&
           source->spares->arena == store->arena && n == store->quantum &&
           n == source->at->iov_len;
}

/* With the lock held. 0 or -ENOSPC. */
static int adopt(struct store *store, struct source *source, uint64_t key)
{
    struct arena *arena = store->arena;
    region_t *spare = &source->spares->region[source->at - source->first];
    region_t old = index_get(&store->index, key);
    assert(source->at->iov_base == arena_address(arena, *spare));
    if (old == REGION_NONE) {
        if (!arena_keep(arena, *spare))
            return -ENOSPC;
        if (index_reserve(&store->index, key) != 0) {
            arena_unkeep(arena, *spare);
            return -ENOSPC;
        }
    }
    index_set(&store->index, key, *spare);
    *spare = old;
    if (old != REGION_NONE && !arena_idle(arena, old)) {
        arena_give_spare(arena, old);
        *spare = REGION_NONE;
    }
    source->at++;
    return 0;
}

/* With the lock held: the bytes of [pos, pos + len) that lie in the quantum of `pos`. */
static uint64_t within_quantum(const struct store *store, uint64_t pos, size_t len)
{
    uint64_t left = store->quantum - pos % store->quantum;
    return len < left ? len : left;
}

/* With the lock held: adopts as many quanta as can be, from `pos` on, `one` at most. Bytes, 0: the
 * first has to be copied; -ENOSPC. */
static ssize_t adopt_quanta(struct store *store, uint64_t pos, size_t len, struct source *source,
                            bool one)
{
    size_t done = 0;
    int err = 0;
    while (done < len && !(one && done > 0)) {
        uint64_t n = within_quantum(store, pos + done, len - done);
        if (!adoptable(store, source, n))
            break;
        err = adopt(store, source, (pos + done) / store->quantum);
        if (err != 0)
            break;
        done += n;
    }
    if (done > 0)
        quanta_grow(store, pos + done);
    return done > 0 ? (ssize_t)done : err;
}

/* With the lock held, released when it returns: the part of the write that lies in the quantum of
 * `pos`. Bytes, or -ENOSPC. */
static ssize_t copy_quantum(struct store *store, uint64_t pos, size_t len, struct source *source)
{
    struct claim claim;
    unsigned how = CLAIM_MAKE;
    uint64_t offset, n;
    int err;
    for (;;) {
        n = within_quantum(store, pos, len);
        offset = pos % store->quantum;
        err = claim_take(&claim, store, pos / store->quantum,
                           how | (n == store->quantum ? CLAIM_WHOLE : 0));
        if (err != CLAIM_BUSY)
            break;
        quanta_wait(store, claim.region);
        how |= CLAIM_COPY;
    }
    if (err == 0)
        quanta_grow(store, pos + n);
    pthread_mutex_unlock(&store->lock);
    if (err != 0)
        return err;
    gather(source, claim_open(&claim, offset, n), n);
    claim_close(&claim);
    return (ssize_t)n;
}

/* As many quanta as can be adopted, or one that is copied: bytes written, or -ENOSPC. */
static ssize_t write_some(struct store *store, uint64_t pos, size_t len, struct source *source,
                          bool one)
{
    pthread_mutex_lock(&store->lock);
    ssize_t adopted = adopt_quanta(store, pos, len, source, one);
    if (adopted == 0)
        return copy_quantum(store, pos, len, source);
    pthread_mutex_unlock(&store->lock);
    return adopted;
}

/* Closes the gaps that adoption left. */
static void compact(struct spares *spares)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < spares->count; i++)
        if (spares->region[i] != REGION_NONE)
            spares->region[kept++] = spares->region[i];
    spares->count = kept;
}

ssize_t transfer_write(struct store *store, uint64_t pos, const struct iovec *src, size_t len,
                       struct spares *spares, unsigned flags)
{
    struct source source = {src, src, 0, spares, spares ? spares->count : 0};
    bool one = flags & STORE_LDD3;
    size_t done = 0;
    ssize_t n;
    do {
        n = write_some(store, pos + done, len - done, &source, one);
        if (n > 0)
            done += (size_t)n;
    } while (n > 0 && done < len && !one);
    if (spares)
        compact(spares);
    return done > 0 ? (ssize_t)done : n;
}
