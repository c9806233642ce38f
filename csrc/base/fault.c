/* fault: one counter for the whole program; a test arms it, calls, and looks whether it was
 * reached. A test that walks N = 1, 2, 3 … until fault_fired is false has seen every allocation. */
#include "base/fault.h"

#ifdef CUSE_SCULLV_FAULTS

#include <stdatomic.h>

static atomic_uint countdown;
static atomic_bool fired;

void fault_arm(unsigned nth)
{
    atomic_store(&fired, false);
    atomic_store(&countdown, nth);
}

bool fault_fired(void)
{
    return atomic_load(&fired);
}

bool fault_here(void)
{
    unsigned left = atomic_load(&countdown);
    while (left != 0 && !atomic_compare_exchange_weak(&countdown, &left, left - 1))
        continue;
    if (left != 1)
        return false;
    atomic_store(&fired, true);
    return true;
}

#endif
