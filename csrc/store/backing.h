/* backing: what a store asks of whatever holds its bytes. There are two: anon.c, regions of an arena
 * that an index names, and linear.c, a file whose byte i is the device's byte i. */
#ifndef BACKING_H
#define BACKING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct store;
struct store_info;
struct read_plan;
struct spares;

struct backing {
    /* As store.h and scullv.h say of the functions of these names. */
    int (*plan_read)(struct store *store, uint64_t pos, size_t len, unsigned flags,
                     struct read_plan *plan);
    ssize_t (*read)(struct store *store, uint64_t pos, void *data, size_t len, unsigned flags);
    /* pos + len <= POSITION_MAX, len > 0. */
    ssize_t (*write)(struct store *store, uint64_t pos, const struct iovec *src, size_t len,
                     struct spares *spares, unsigned flags);
    int (*trim)(struct store *store, uint64_t quantum, uint32_t qset);
    int (*punch)(struct store *store, uint64_t from, uint64_t end);
    int (*resize)(struct store *store, uint64_t size);
    int (*allocate)(struct store *store, uint64_t offset, uint64_t length, bool keep_size);
    int64_t (*seek_extent)(struct store *store, uint64_t offset, bool hole);
    int (*next_quantum)(struct store *store, uint64_t from, uint64_t *number, uint64_t *offset);
    uint64_t (*count_quanta)(struct store *store);
    /* Size, memory, changes: the store itself knows the rest. */
    void (*get_info)(struct store *store, struct store_info *info);
    int (*sync)(struct store *store);       /* NULL: it lasts as long as the store */
    int (*descriptor)(const struct store *store); /* NULL: none */
    bool (*is_open_to_all)(const struct store *store); /* who may do I/O on it without us */
    void (*unmake)(struct store *store); /* the last reference has gone */
    bool adopts; /* a write that lies in spares needs no copy */
};

#endif
