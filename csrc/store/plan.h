/* plan: where a read finds its bytes, span by span. See plan.c. */
#ifndef PLAN_H
#define PLAN_H

#include "store/store.h"

/* What one plan shows of a hole at most without taking more spans, bytes. */
#define PLAN_ZEROS 65536u

/* Adds bytes to the last span where they follow it in memory, or makes a span. False: there are no
 * more spans. */
bool plan_add(struct read_plan *plan, const uint8_t *at, size_t n);
/* Adds zeros. */
bool plan_add_hole(struct read_plan *plan, size_t n);

#endif
