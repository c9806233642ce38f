/* slot: who has one region pinned. See slot.c. */
#ifndef SLOT_H
#define SLOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zero: nobody has the region, and it was not retired. */
typedef _Atomic uint32_t slot_t;

bool slot_pin_read(slot_t *slot);  /* false: a writer has it */
bool slot_pin_write(slot_t *slot); /* false: somebody has it */
/* True: the region was retired and this was its last pin. The slot is zero again and the region
 * the caller's to recycle. */
bool slot_unpin_read(slot_t *slot);
bool slot_unpin_write(slot_t *slot);
/* The region is to go. True: nobody has it, and it is the caller's to recycle. */
bool slot_retire(slot_t *slot);
bool slot_idle(const slot_t *slot);
/* Waits a while for the pin that is in the way now: a writer's, or else the readers'. */
void slot_wait(const slot_t *slot);

#endif
