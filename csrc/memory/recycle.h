/* recycle: the life of an arena's regions: taken, pinned, retired, and taken again. See recycle.c. */
#ifndef RECYCLE_H
#define RECYCLE_H

#include "memory/arena.h"

/* A region that belongs to nobody yet. `zeroed` tells whether it reads as zeros; a region that is
 * not zeroed has old bytes, and the caller covers or clears them. Charged to the budget by
 * arena_take (REGION_NONE: over the limit, or no memory); a spare is not charged until it is
 * kept by arena_keep (false: over the limit). */
region_t arena_take(struct arena *arena, bool *zeroed);
region_t arena_take_spare(struct arena *arena, bool *zeroed);
bool arena_keep(struct arena *arena, region_t region);
void arena_unkeep(struct arena *arena, region_t region); /* a kept region is a spare again */
/* Recycles a region that is not charged, now or when its last pin goes. */
void arena_give_spare(struct arena *arena, region_t region);

/* Pins. Readers share a region, a writer has it alone. Taken under the store's lock, so that the
 * region cannot be retired between look-up and pin; dropped without it. */
bool arena_pin_read(struct arena *arena, region_t region);  /* false: a writer has it */
bool arena_pin_write(struct arena *arena, region_t region); /* false: somebody has it */
void arena_unpin_read(struct arena *arena, region_t region);
void arena_unpin_write(struct arena *arena, region_t region);
/* True: nobody has it, and whoever had it is done with its bytes. */
bool arena_idle(const struct arena *arena, region_t region);
/* Waits, without any lock, until the pin that was in the way may have gone. */
void arena_wait(struct arena *arena, region_t region);

/* The region leaves the index: it is uncharged and recycled, now or when its last pin goes. */
void arena_retire(struct arena *arena, region_t region);

/* The same for many. Neighbours are given back by one system call, most of them at the end:
 * start with { .arena = … }, add, flush. */
#define ARENA_RUNS 64
struct arena_batch {
    struct arena *arena; /* borrowed */
    uint64_t charged;    /* regions still to be uncharged */
    unsigned runs;
    struct arena_run {
        region_t first;
        uint32_t count;
    } run[ARENA_RUNS];
};
void arena_batch_retire(struct arena_batch *batch, region_t region);
void arena_batch_flush(struct arena_batch *batch);
/* Nothing is kept warm from now on: the arena is about to go. */
void arena_close(struct arena *arena);

#endif
