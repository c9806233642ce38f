/* claim: a quantum that one writer has to itself: found or made under the store's lock, filled
 * without it, then open to readers.
 *
 * The index names the claim's region from the claim on, pinned for write: readers of the quantum
 * wait for the writer, and the write counts from the claim on. What is there already is written in
 * place. Where somebody has it pinned,
 *
 *     a write of the whole quantum puts another region in its place; who has the old one finishes
 *     with that, as if before this write;
 *     a write of a part waits, for a writer as long as it takes, for readers only a while: readers
 *     may come and go without end, so they are left the old version, and the write goes to a copy.
 *
 * A region that replaces another takes its charge over. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "store/claim.h"

static void pin_fresh(struct claim *claim, struct store *store, uint64_t key)
{
    bool alone = arena_pin_write(store->arena, claim->region);
    assert(alone);
    (void)alone;
    index_set(&store->index, key, claim->region);
}

static int claim_hole(struct claim *claim, struct store *store, uint64_t key)
{
    bool zeroed;
    claim->region = arena_take(store->arena, &zeroed);
    if (claim->region == REGION_NONE)
        return -ENOSPC;
    if (index_reserve(&store->index, key) != 0) {
        arena_retire(store->arena, claim->region);
        return -ENOSPC;
    }
    claim->dirty = !zeroed;
    pin_fresh(claim, store, key);
    return 0;
}

/* A version beside `old`, which somebody has. */
static int claim_version(struct claim *claim, struct store *store, uint64_t key, region_t old,
                         unsigned how)
{
    bool whole = how & CLAIM_WHOLE;
    bool zeroed;
    claim->region = old;
    if (!whole && !((how & CLAIM_COPY) && arena_pin_read(store->arena, old)))
        return CLAIM_BUSY;
    region_t fresh = arena_take_spare(store->arena, &zeroed);
    if (fresh == REGION_NONE) {
        if (!whole)
            arena_unpin_read(store->arena, old);
        return CLAIM_BUSY;
    }
    claim->region = fresh;
    pin_fresh(claim, store, key);
    if (whole)
        arena_give_spare(store->arena, old);
    else
        claim->base = old;
    return 0;
}

int claim_take(struct claim *claim, struct store *store, uint64_t key, unsigned how)
{
    *claim = (struct claim){.quantum = store->quantum, .base = REGION_NONE};
    region_t region = index_get(&store->index, key);
    int err = 0;
    if (region == REGION_NONE)
        err = how & CLAIM_MAKE ? claim_hole(claim, store, key) : -ENOENT;
    else if (arena_pin_write(store->arena, region))
        claim->region = region;
    else
        err = claim_version(claim, store, key, region, how);
    if (err == 0)
        claim->arena = arena_hold(store->arena);
    return err;
}

/* Makes bytes [from, end) of the region what they have to be without the write. */
static void settle(const struct claim *claim, uint64_t from, uint64_t end)
{
    uint8_t *at = arena_address(claim->arena, claim->region);
    if (from >= end)
        return;
    if (claim->base != REGION_NONE)
        memcpy(at + from, arena_address(claim->arena, claim->base) + from, end - from);
    else if (claim->dirty)
        memset(at + from, 0, end - from);
}

uint8_t *claim_open(struct claim *claim, uint64_t offset, uint64_t n)
{
    settle(claim, 0, offset);
    settle(claim, offset + n, claim->quantum);
    return arena_address(claim->arena, claim->region) + offset;
}

void claim_close(struct claim *claim)
{
    arena_unpin_write(claim->arena, claim->region);
    if (claim->base != REGION_NONE) {
        arena_give_spare(claim->arena, claim->base);
        arena_unpin_read(claim->arena, claim->base);
    }
    arena_drop(claim->arena);
}
