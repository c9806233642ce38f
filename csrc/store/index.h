/* index: quantum number -> region, a radix tree. No locks of its own. See index.c. */
#ifndef INDEX_H
#define INDEX_H

#include "memory/arena.h"

struct index {
    struct budget *budget; /* charged BUDGET_INDEX; borrowed from the store */
    void *root;
    unsigned height; /* levels; 0: empty */
    uint64_t count;  /* regions named */
    uint64_t bytes;  /* memory of the nodes */
};

void index_init(struct index *index, struct budget *budget);
region_t index_get(const struct index *index, uint64_t key);
/* Makes room for `key`, so that the index_set that follows cannot fail. 0 or -ENOMEM. */
int index_reserve(struct index *index, uint64_t key);
void index_set(struct index *index, uint64_t key, region_t region);
region_t index_remove(struct index *index, uint64_t key); /* frees nodes that became empty */
/* The first key >= `from` that is (next) or is not (next_gap) there; false: none. */
bool index_next(const struct index *index, uint64_t from, uint64_t *key, region_t *region);
bool index_next_gap(const struct index *index, uint64_t from, uint64_t *key);
/* Empties the index, handing each region to `visit` (NULL: none), in the order of their keys. */
void index_drop(struct index *index, void (*visit)(void *arg, region_t region), void *arg);

#endif
