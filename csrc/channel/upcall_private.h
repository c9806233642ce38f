/* What upcall.c and answer.c know of a call. */
#ifndef UPCALL_PRIVATE_H
#define UPCALL_PRIVATE_H

#include "channel/upcall.h"

struct pending {
    struct call call; /* first: what Python sees is the pending itself */
    struct call *next; /* in the queue */
    fuse_req_t req;   /* NULL: nobody waits for an answer */
    uint64_t unique;  /* of its message */
    struct upcalls *upcalls; /* counts the call; NULL with req */
    uint64_t begun_ns;
    void *kept;       /* our copy of the data */
    struct journal *journal; /* NULL: nobody keeps books of it */
    struct fuse_file_info fi;
    call_open_hook *hook;
    call_done_hook *done;
    bool closed; /* the open file ended with this call */
    uint32_t flipped; /* bits of what a READ gives that change on the way, by `dice` */
    uint64_t dice;
};

static inline struct pending *pending_of(struct call *call)
{
    return (struct pending *)call;
}

static inline const struct pending *pending_of_const(const struct call *call)
{
    return (const struct pending *)call;
}

void pending_free(struct pending *pending);

#endif
