/* transfer: bytes into and out of the quanta of an arena. See backing.h and transfer.c. */
#ifndef TRANSFER_H
#define TRANSFER_H

#include "store/store.h"

int transfer_plan_read(struct store *store, uint64_t pos, size_t len, unsigned flags,
                       struct read_plan *plan);
ssize_t transfer_read(struct store *store, uint64_t pos, void *data, size_t len, unsigned flags);
ssize_t transfer_write(struct store *store, uint64_t pos, const struct iovec *src, size_t len,
                       struct spares *spares, unsigned flags);

#endif
