/* arena: page-granular regions of one size, cut out of one reserved mapping. See arena.c. */
#ifndef ARENA_H
#define ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/budget.h"

/* A region's name: its number in the arena, never a pointer. */
typedef uint32_t region_t;
#define REGION_NONE UINT32_MAX

struct arena;

/* `region_bytes`: whole pages. NULL with errno set. The arena has one reference, the caller's. */
struct arena *arena_new(struct budget *budget, size_t region_bytes);
struct arena *arena_hold(struct arena *arena);
void arena_drop(struct arena *arena); /* the last drop unmaps */

size_t arena_region_bytes(const struct arena *arena);
const struct budget *arena_budget(const struct arena *arena);
uint8_t *arena_address(const struct arena *arena, region_t region);
uint64_t arena_offset(const struct arena *arena, region_t region); /* bytes from the arena's start */
/* Gives back what the kernel still has under free regions (parts of huge pages). */
void arena_sweep(struct arena *arena);

#endif
