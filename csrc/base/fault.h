/* fault: lets a test fail the Nth allocation. Compiled in only with CUSE_SCULLV_FAULTS. */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>

#ifdef CUSE_SCULLV_FAULTS

/* The `nth` allocation from now on fails (1: the next), once. 0: none does. */
void fault_arm(unsigned nth);
/* True: the armed one was reached. */
bool fault_fired(void);
/* Asked at each place that allocates. True: fail. */
bool fault_here(void);

#else

static inline bool fault_here(void)
{
    return false;
}

#endif

#endif
