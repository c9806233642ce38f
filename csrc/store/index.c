/* index: quantum number -> region, a radix tree.
 *
 * Shape. Level 1 is the leaves: 1024 regions each, 4 KiB, so that dense 4 KiB quanta cost a
 * thousandth of their size. Above are inner nodes of 512 children. The tree is as high as its
 * largest key needs, at most 7 levels for 64 bits, so a look-up takes as many steps however many
 * quantum sets lie before it.
 *
 * Invariants. Every node has at least one entry, and counts them (`used`), except between
 * index_reserve and the index_set that follows. The root of a tree higher than one level has a
 * child other than its first. Nodes are charged to the budget as they are made.
 *
 * No locks: the store's lock guards its index. */
#include "store/index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

#define LEAF_BITS 10u
#define LEAF_KEYS (1u << LEAF_BITS)
#define INNER_BITS 9u
#define INNER_CHILDREN (1u << INNER_BITS)
#define HEIGHT_MAX 7u /* 10 + 6 * 9 bits are 64 */

struct leaf {
    uint32_t used;
    region_t region[LEAF_KEYS]; /* REGION_NONE: no entry */
};

struct inner {
    uint32_t used;
    void *child[INNER_CHILDREN];
};

/* --- arithmetic of keys -------------------------------------------------------------------------- */

/* Bits of a key below those that choose the child in an inner node of `level` (2 or more). */
static unsigned shift_of(unsigned level)
{
    return LEAF_BITS + (level - 2) * INNER_BITS;
}

static unsigned child_of(uint64_t key, unsigned level)
{
    return (key >> shift_of(level)) & (INNER_CHILDREN - 1);
}

static bool fits(uint64_t key, unsigned height)
{
    if (height == 0)
        return false;
    return height == HEIGHT_MAX || key >> shift_of(height + 1) == 0;
}

static unsigned height_for(uint64_t key)
{
    unsigned height = 1;
    while (!fits(key, height))
        height++;
    return height;
}

/* --- nodes --------------------------------------------------------------------------------------- */

static size_t node_bytes(unsigned level)
{
    return level == 1 ? sizeof(struct leaf) : sizeof(struct inner);
}

static void *node_new(struct index *index, unsigned level)
{
    size_t bytes = node_bytes(level);
    if (!budget_charge(index->budget, BUDGET_INDEX, bytes))
        return NULL;
    void *node = fault_here() ? NULL : calloc(1, bytes);
    if (!node) {
        budget_uncharge(index->budget, BUDGET_INDEX, bytes);
        return NULL;
    }
    if (level == 1)
        memset(((struct leaf *)node)->region, 0xff, sizeof((struct leaf *)node)->region);
    index->bytes += bytes;
    return node;
}

static void node_free(struct index *index, void *node, unsigned level)
{
    index->bytes -= node_bytes(level);
    budget_uncharge(index->budget, BUDGET_INDEX, node_bytes(level));
    free(node);
}

/* --- one key ------------------------------------------------------------------------------------- */

void index_init(struct index *index, struct budget *budget)
{
    *index = (struct index){.budget = budget};
}

static struct leaf *leaf_of(const struct index *index, uint64_t key)
{
    if (!fits(key, index->height))
        return NULL;
    void *node = index->root;
    for (unsigned level = index->height; level > 1 && node; level--)
        node = ((struct inner *)node)->child[child_of(key, level)];
    return node;
}

region_t index_get(const struct index *index, uint64_t key)
{
    const struct leaf *leaf = leaf_of(index, key);
    return leaf ? leaf->region[key % LEAF_KEYS] : REGION_NONE;
}

/* Levels of new nodes that the path to `key` needs, from its leaf up, in a tree made `height` high. */
static unsigned missing_levels(const struct index *index, uint64_t key, unsigned height)
{
    if (!index->root)
        return height;
    if (height > index->height)
        return height - 1; /* the new root is shared with what is there */
    const void *node = index->root;
    for (unsigned level = height; level > 1; level--) {
        node = ((const struct inner *)node)->child[child_of(key, level)];
        if (!node)
            return level - 1;
    }
    return 0;
}

/* Nodes made ahead, so that running out of memory leaves the tree as it was. */
struct pool {
    struct leaf *leaf;
    struct inner *inner[2 * HEIGHT_MAX];
    unsigned inners;
};

static int pool_fill(struct index *index, struct pool *pool, unsigned leaves, unsigned inners)
{
    if (leaves > 0 && !(pool->leaf = node_new(index, 1)))
        return -ENOMEM;
    while (pool->inners < inners) {
        struct inner *inner = node_new(index, 2);
        if (!inner)
            goto undo;
        pool->inner[pool->inners++] = inner;
    }
    return 0;
undo:
    while (pool->inners > 0)
        node_free(index, pool->inner[--pool->inners], 2);
    if (pool->leaf)
        node_free(index, pool->leaf, 1);
    return -ENOMEM;
}

static void grow(struct index *index, struct pool *pool, unsigned height)
{
    for (; index->height < height; index->height++) {
        if (!index->root)
            continue;
        assert(pool->inners > 0);
        struct inner *inner = pool->inner[--pool->inners];
        assert(inner);
        inner->child[0] = index->root;
        inner->used = 1;
        index->root = inner;
    }
}

int index_reserve(struct index *index, uint64_t key)
{
    unsigned height = height_for(key);
    if (height < index->height)
        height = index->height;
    unsigned missing = missing_levels(index, key, height);
    if (missing == 0)
        return 0;
    struct pool pool = {.leaf = NULL};
    if (pool_fill(index, &pool, 1, missing - 1 + (index->root ? height - index->height : 0)) != 0)
        return -ENOMEM;
    grow(index, &pool, height);
    struct inner *parent = NULL;
    void **link = &index->root;
    for (unsigned level = height; level > 0; level--) {
        if (!*link) {
            *link = level > 1 ? (void *)pool.inner[--pool.inners] : pool.leaf;
            if (parent)
                parent->used++;
        }
        if (level > 1) {
            parent = *link;
            link = &parent->child[child_of(key, level)];
        }
    }
    assert(pool.inners == 0);
    return 0;
}

void index_set(struct index *index, uint64_t key, region_t region)
{
    struct leaf *leaf = leaf_of(index, key);
    assert(leaf && region != REGION_NONE);
    if (leaf->region[key % LEAF_KEYS] == REGION_NONE) {
        leaf->used++;
        index->count++;
    }
    leaf->region[key % LEAF_KEYS] = region;
}

/* Takes roots away that only lead to their first child. */
static void shrink(struct index *index)
{
    while (index->height > 1) {
        struct inner *top = index->root;
        if (top->used > 1 || !top->child[0])
            return;
        index->root = top->child[0];
        node_free(index, top, index->height--);
    }
}

region_t index_remove(struct index *index, uint64_t key)
{
    region_t region = index_get(index, key);
    if (region == REGION_NONE)
        return REGION_NONE;
    struct inner *path[HEIGHT_MAX + 1];
    void *node = index->root;
    for (unsigned level = index->height; level > 1; level--) {
        path[level] = node;
        node = path[level]->child[child_of(key, level)];
    }
    struct leaf *leaf = node;
    leaf->region[key % LEAF_KEYS] = REGION_NONE;
    index->count--;
    if (--leaf->used > 0)
        return region;
    node_free(index, leaf, 1);
    unsigned level = 2;
    for (; level <= index->height; level++) {
        path[level]->child[child_of(key, level)] = NULL;
        if (--path[level]->used > 0)
            break;
        node_free(index, path[level], level);
    }
    if (level > index->height) {
        index->root = NULL;
        index->height = 0;
    }
    shrink(index);
    return region;
}

/* --- many keys ------------------------------------------------------------------------------------ */

/* Moves `key` to the first one below the next child of `inner` that is there, or past all of them.
 * False: there is no key past them. */
static bool skip_absent(const struct inner *inner, unsigned level, uint64_t *key)
{
    unsigned shift = shift_of(level);
    unsigned child = child_of(*key, level);
    do {
        uint64_t next = ((*key >> shift) + 1) << shift;
        if (next == 0)
            return false;
        *key = next;
        child++;
    } while (child < INNER_CHILDREN && !inner->child[child]);
    return true;
}

bool index_next(const struct index *index, uint64_t from, uint64_t *key, region_t *region)
{
    while (fits(from, index->height)) {
        const void *node = index->root;
        for (unsigned level = index->height; level > 1; level--) {
            const struct inner *inner = node;
            node = inner->child[child_of(from, level)];
            if (!node) {
                if (!skip_absent(inner, level, &from))
                    return false;
                break;
            }
        }
        if (!node)
            continue;
        const struct leaf *leaf = node;
        do {
            if (leaf->region[from % LEAF_KEYS] != REGION_NONE) {
                *key = from;
                *region = leaf->region[from % LEAF_KEYS];
                return true;
            }
            if (from == UINT64_MAX)
                return false;
        } while (++from % LEAF_KEYS != 0);
    }
    return false;
}

bool index_next_gap(const struct index *index, uint64_t from, uint64_t *key)
{
    for (;;) {
        const struct leaf *leaf = leaf_of(index, from);
        if (!leaf || leaf->region[from % LEAF_KEYS] == REGION_NONE) {
            *key = from;
            return true;
        }
        uint64_t last = leaf->used == LEAF_KEYS ? from | (LEAF_KEYS - 1) : from;
        if (last == UINT64_MAX)
            return false;
        from = last + 1;
    }
}

struct visitor {
    void (*visit)(void *arg, region_t region);
    void *arg;
};

static void drop_node(struct index *index, void *node, unsigned level,
                      const struct visitor *visitor)
{
    if (level == 1) {
        const struct leaf *leaf = node;
        for (unsigned i = 0; visitor->visit && i < LEAF_KEYS; i++)
            if (leaf->region[i] != REGION_NONE)
                visitor->visit(visitor->arg, leaf->region[i]);
    } else {
        const struct inner *inner = node;
        for (unsigned i = 0; i < INNER_CHILDREN; i++)
            if (inner->child[i])
                drop_node(index, inner->child[i], level - 1, visitor);
    }
    node_free(index, node, level);
}

void index_drop(struct index *index, void (*visit)(void *arg, region_t region), void *arg)
{
    if (index->root)
        drop_node(index, index->root, index->height, &(struct visitor){visit, arg});
    index_init(index, index->budget);
}
