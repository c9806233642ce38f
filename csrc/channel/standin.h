/* standin: threads that read where the one that reads is away for long. See standin.c. */
#ifndef STANDIN_H
#define STANDIN_H

#include <stdbool.h>

#include "channel/roster.h"

void standins_init(struct standins *standins);
void standins_destroy(struct standins *standins);
/* All with the lock held. A thread that reads stands by, until it is to read or the channel ends. */
void standin_wait(struct workers *workers);
/* Nobody reads: one that stands by does so at once. */
void standin_call(struct workers *workers);
/* Whether this thread may leave reading to others, to run a call; counts it out if so. `for_long`:
 * somebody has to read at once. */
bool standin_leave(struct workers *workers, bool for_long);

#endif
