/* arena_private: what arena.c, warm.c and recycle.c share. */
#ifndef ARENA_PRIVATE_H
#define ARENA_PRIVATE_H

#include <pthread.h>

#include "memory/arena.h"
#include "base/refs.h"
#include "memory/pin.h"

#define MIB (UINT64_C(1) << 20)
#define HUGE_BYTES (2 * MIB)

struct arena {
    refs_t refs;
    uint32_t capacity; /* regions, a multiple of BITS_WORD */
    size_t region_bytes;
    struct budget *budget; /* held */
    void *reserved;        /* the mapping as it was made; `base` is aligned within it */
    size_t reserved_bytes;
    uint8_t *base;
    size_t base_bytes; /* all regions, rounded up to huge pages */
    void *table;       /* the mapping of `pins`, `warm` and `taken` */
    size_t table_bytes;
    pin_t *pins; /* one a region */

    pthread_mutex_t lock; /* guards all below */
    uint64_t *taken;      /* bits: 1 for a region that is out or warm */
    size_t open_bytes;    /* from `base`, may be touched; a multiple of HUGE_BYTES */
    uint32_t low;         /* no region before this one is free */
    uint32_t top;         /* regions from here on are free, and were since the last sweep */
    bool gave;            /* memory was given back since the last sweep */
    bool watched; /* by warm.c */
    bool closed;  /* nothing is kept warm any more */
    uint64_t *warm;       /* bits: 1 for a region that is warm */
    uint32_t warm_count;
    region_t warm_first;  /* no region before this one is warm */
    uint32_t warm_low; /* the least that there were since the last look of warm.c */
};

static inline uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* A free region, or REGION_NONE. */
region_t arena_take_free(struct arena *arena);
/* Regions that are out, unpinned and nobody's: their memory goes back to the kernel. */
void arena_give_back(struct arena *arena, region_t first, uint32_t count);

#endif
