/* claim: a quantum that one writer has to itself. See claim.c. */
#ifndef CLAIM_H
#define CLAIM_H

#include "store/store_private.h"

struct claim {
    struct arena *arena; /* held */
    uint64_t quantum;    /* bytes */
    region_t region;     /* pinned for write; CLAIM_BUSY: the one to wait for */
    region_t base;       /* the version before, pinned for read, or REGION_NONE */
    bool dirty;          /* the region has old bytes of some other quantum */
};
#define CLAIM_MAKE 1u  /* a hole gets memory */
#define CLAIM_WHOLE 2u /* every byte will be written */
#define CLAIM_COPY 4u  /* do not wait for readers: leave them their version */
#define CLAIM_BUSY 1

/* With the lock held. 0, CLAIM_BUSY, -ENOENT (a hole, without CLAIM_MAKE), -ENOSPC. */
int claim_take(struct claim *claim, struct store *store, uint64_t key, unsigned how);
/* Without the lock: where the `n` bytes at `offset` of the quantum are to be written. The rest of
 * the quantum is as it has to be. */
uint8_t *claim_open(struct claim *claim, uint64_t offset, uint64_t n);
void claim_close(struct claim *claim);

#endif
