/* sieve: what the filters of a device make of a message, before anybody answers it. See sieve.c. */
#ifndef SIEVE_H
#define SIEVE_H

#include "channel/roster.h"

/* All that a request costs where there are no filters. */
static inline bool sieve_is_for(const struct workers *workers, const struct room *room)
{
    const uint64_t place = (room_node(room) - workers->first_node) & workers->node_mask;

    return place < workers->n_filters && workers->filters[place] &&
           __builtin_expect(filters_are_on(workers->filters[place]), 0);
}

/* Of a message that was admitted, of `length` bytes. False: it has been answered. It may have become
 * shorter, and this thread may have waited. */
bool sieve(struct workers *workers, struct room *room, size_t *length);
void sieve_end(void); /* the message has become a call, or nothing */
/* Of an INTERRUPT. True: its request waited here. */
bool sieve_interrupt(struct workers *workers, const struct room *room);

#endif
