/* refs: counted references. Whoever drops the last one frees. */
#ifndef REFS_H
#define REFS_H

#include <stdatomic.h>
#include <stdbool.h>

typedef atomic_uint refs_t;

static inline void refs_hold(refs_t *refs)
{
    atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}

/* True: that was the last one, and all that others did with the object has happened. */
static inline bool refs_drop(refs_t *refs)
{
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

#endif
