/* pin: who has one region pinned. See pin.c. */
#ifndef PIN_H
#define PIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zero: nobody has the region, and it was not retired. */
typedef _Atomic uint32_t pin_t;

bool pin_read(pin_t *pins);  /* false: a writer has it */
bool pin_write(pin_t *pins); /* false: somebody has it */
/* True: the region was retired and this was its last pin. The pins is zero again and the region
 * the caller's to recycle. */
bool pin_end_read(pin_t *pins);
bool pin_end_write(pin_t *pins);
/* The region is to go. True: nobody has it, and it is the caller's to recycle. */
bool pin_retire(pin_t *pins);
bool pin_idle(const pin_t *pins);
/* Waits a while for the pin that is in the way now: a writer's, or else the readers'. */
void pin_wait(const pin_t *pins);

#endif
