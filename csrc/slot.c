/* slot: one word a region. How many readers have it pinned, or that a writer has; and whether it
 * was retired since, in which case the last to unpin it recycles it, exactly once.
 *
 * Pins are taken under the lock of the store whose index names the region, and a region is retired
 * only after the index ceased to name it: no pin is ever put on a retired region. A pin acquires
 * what the unpin before it released, so the bytes need no other order. */
#include "slot.h"

#include <assert.h>
#include <sched.h>
#include <time.h>

#define WRITER (UINT32_C(1) << 31)
#define RETIRED (UINT32_C(1) << 30)
#define READER UINT32_C(1) /* each */
#define PINS (~RETIRED)

#define WAIT_YIELDS 8u
#define WAIT_TURNS 24u
#define WAIT_NAP_NS (20 * 1000)

bool slot_pin_read(slot_t *slot)
{
    uint32_t seen = atomic_load_explicit(slot, memory_order_relaxed);
    do {
        assert(!(seen & RETIRED));
        if (seen & WRITER)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(slot, &seen, seen + READER,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

bool slot_pin_write(slot_t *slot)
{
    uint32_t none = 0;
    return atomic_compare_exchange_strong_explicit(slot, &none, WRITER, memory_order_acquire,
                                                   memory_order_relaxed);
}

static bool unpin(slot_t *slot, uint32_t pin)
{
    uint32_t before = atomic_fetch_sub_explicit(slot, pin, memory_order_acq_rel);
    assert((before & PINS) >= pin);
    if (before != (RETIRED | pin))
        return false;
    atomic_store_explicit(slot, 0, memory_order_relaxed);
    return true;
}

bool slot_unpin_read(slot_t *slot)
{
    return unpin(slot, READER);
}

bool slot_unpin_write(slot_t *slot)
{
    return unpin(slot, WRITER);
}

bool slot_retire(slot_t *slot)
{
    uint32_t before = atomic_fetch_or_explicit(slot, RETIRED, memory_order_acq_rel);
    assert(!(before & RETIRED));
    if (before != 0)
        return false;
    atomic_store_explicit(slot, 0, memory_order_relaxed);
    return true;
}

bool slot_idle(const slot_t *slot)
{
    return atomic_load_explicit(slot, memory_order_acquire) == 0;
}

/* Who has the pin is copying: microseconds, unless it has lost its CPU. On a single CPU it runs
 * only if we let it. The time is bounded, for the slot may come to serve another quantum. */
void slot_wait(const slot_t *slot)
{
    const struct timespec nap = {.tv_nsec = WAIT_NAP_NS};
    uint32_t first = atomic_load_explicit(slot, memory_order_relaxed);
    uint32_t in_the_way = first & WRITER ? WRITER : PINS;
    for (unsigned turn = 0; turn < WAIT_TURNS; turn++) {
        if (!(atomic_load_explicit(slot, memory_order_relaxed) & in_the_way))
            return;
        if (turn < WAIT_YIELDS)
            sched_yield();
        else
            nanosleep(&nap, NULL);
    }
}
