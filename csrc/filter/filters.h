/* filters: those of one device, in order. See filters.c. */
#ifndef FILTERS_H
#define FILTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/refs.h"
#include "filter/filter.h"
#include "filter/waits.h"
#include "recover/state.h"

#define FILTERS_MAX 16u
#define FILTERS_POLLS 64u /* that are remembered, to be woken */

/* What outlives a worker, where it lies in the state. */
struct filters_table {
    uint64_t last; /* number that was given */
    struct filter filter[FILTERS_MAX];
};
_Static_assert(sizeof(struct filters_table) <= STATE_FILTERS, "a device's part");

struct filters {
    _Atomic bool on; /* there are some; all that a request costs where there are none */
    refs_t refs;
    pthread_mutex_t lock; /* a leaf; guards all below */
    struct filters_table *table;
    uint8_t order[FILTERS_MAX]; /* places of the table, as filters were added */
    unsigned count;
    struct waits waits;
    struct {
        uint64_t poll; /* as the kernel knows it; 0: none */
        int fd;        /* of the channel */
    } polled[FILTERS_POLLS];
    unsigned next_polled;
};

struct filters *filters_hold(struct filters *filters); /* NULL is none's */
/* From here on nobody else changes the table. */
void filters_begin(struct filters *filters);

static inline bool filters_are_on(const struct filters *filters)
{
    return atomic_load_explicit(&filters->on, memory_order_relaxed);
}

void filters_judge(struct filters *filters, const struct filtered *request,
                   struct verdict *verdict);
/* Requests that wait go on sooner; see waits.h. */
enum wait_end filters_wait(struct filters *filters, struct wait *wait, uint64_t until_ns);
bool filters_interrupt(struct filters *filters, const void *owner, uint64_t unique);
/* The channel `fd` is stopping: who waits looks, and its polls are forgotten. */
void filters_stop(struct filters *filters, int fd);
/* A client waits for its poll to be notified, by the channel `fd`; it is when anything changes. */
void filters_note_poll(struct filters *filters, uint64_t poll, int fd);

/* What the request that this thread works on is to be told on its way; NULL: nothing. */
void filters_pass(const struct verdict *verdict);
const struct verdict *filters_passing(void);

#endif
