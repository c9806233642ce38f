/* target: a quantum that one writer has to itself: found or made under the store's lock, filled
 * without it, then open to readers.
 *
 * The index names the target's region from the claim on, pinned for write: readers of the quantum
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

#include "store_private.h"

static void pin_fresh(struct target *target, struct store *store, uint64_t key)
{
    bool alone = arena_pin_write(store->arena, target->region);
    assert(alone);
    (void)alone;
    index_set(&store->index, key, target->region);
}

static int claim_hole(struct target *target, struct store *store, uint64_t key)
{
    bool zeroed;
    target->region = arena_take(store->arena, &zeroed);
    if (target->region == REGION_NONE)
        return -ENOSPC;
    if (index_reserve(&store->index, key) != 0) {
        arena_retire(store->arena, target->region);
        return -ENOSPC;
    }
    target->dirty = !zeroed;
    pin_fresh(target, store, key);
    return 0;
}

/* A version beside `old`, which somebody has. */
static int claim_version(struct target *target, struct store *store, uint64_t key, region_t old,
                         unsigned how)
{
    bool whole = how & TARGET_WHOLE;
    bool zeroed;
    target->region = old;
    if (!whole && !((how & TARGET_COPY) && arena_pin_read(store->arena, old)))
        return TARGET_BUSY;
    region_t fresh = arena_take_spare(store->arena, &zeroed);
    if (fresh == REGION_NONE) {
        if (!whole)
            arena_unpin_read(store->arena, old);
        return TARGET_BUSY;
    }
    target->region = fresh;
    pin_fresh(target, store, key);
    if (whole)
        arena_give_spare(store->arena, old);
    else
        target->base = old;
    return 0;
}

int target_claim(struct target *target, struct store *store, uint64_t key, unsigned how)
{
    *target = (struct target){.quantum = store->quantum, .base = REGION_NONE};
    region_t region = index_get(&store->index, key);
    int err = 0;
    if (region == REGION_NONE)
        err = how & TARGET_MAKE ? claim_hole(target, store, key) : -ENOENT;
    else if (arena_pin_write(store->arena, region))
        target->region = region;
    else
        err = claim_version(target, store, key, region, how);
    if (err == 0)
        target->arena = arena_hold(store->arena);
    return err;
}

/* Makes bytes [from, end) of the region what they have to be without the write. */
static void settle(const struct target *target, uint64_t from, uint64_t end)
{
    uint8_t *at = arena_address(target->arena, target->region);
    if (from >= end)
        return;
    if (target->base != REGION_NONE)
        memcpy(at + from, arena_address(target->arena, target->base) + from, end - from);
    else if (target->dirty)
        memset(at + from, 0, end - from);
}

uint8_t *target_open(struct target *target, uint64_t offset, uint64_t n)
{
    settle(target, 0, offset);
    settle(target, offset + n, target->quantum);
    return arena_address(target->arena, target->region) + offset;
}

void target_close(struct target *target)
{
    arena_unpin_write(target->arena, target->region);
    if (target->base != REGION_NONE) {
        arena_give_spare(target->arena, target->base);
        arena_unpin_read(target->arena, target->base);
    }
    arena_drop(target->arena);
}
