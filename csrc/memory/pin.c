/* pin: one word a region. How many readers have it pinned, or that a writer has; and whether it
 * was retired since, in which case the last to unpin it recycles it, exactly once.
 *
 * Pins are taken under the lock of the store whose index names the region, and a region is retired
 * only after the index ceased to name it: no pin is ever put on a retired region. A pin acquires
 * what the unpin before it released, so the bytes need no other order. */
#include "memory/pin.h"

#include <assert.h>
#include <sched.h>
#include <time.h>

#define WRITER (UINT32_C(1) << 31)
#define RETIRED (UINT32_C(1) << 30)
#define READER UINT32_C(1) /* each */
#define PINS (~RETIRED)

#define WAIT_YIELDS 8u
#define WAIT_TURNS 24u
#define WAIT_NAP_NS (20 * 1000L)

bool pin_read(pin_t *pins)
{
    uint32_t seen = atomic_load_explicit(pins, memory_order_relaxed);
    do {
        assert(!(seen & RETIRED));
        if (seen & WRITER)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(pins, &seen, seen + READER,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

bool pin_write(pin_t *pins)
{
    uint32_t none = 0;
    return atomic_compare_exchange_strong_explicit(pins, &none, WRITER, memory_order_acquire,
                                                   memory_order_relaxed);
}

static bool unpin(pin_t *pins, uint32_t pin)
{
    uint32_t before = atomic_fetch_sub_explicit(pins, pin, memory_order_acq_rel);
    assert((before & PINS) >= pin);
    if (before != (RETIRED | pin))
        return false;
    atomic_store_explicit(pins, 0, memory_order_relaxed);
    return true;
}

bool pin_end_read(pin_t *pins)
{
    return unpin(pins, READER);
}

bool pin_end_write(pin_t *pins)
{
    return unpin(pins, WRITER);
}

bool pin_retire(pin_t *pins)
{
    uint32_t before = atomic_fetch_or_explicit(pins, RETIRED, memory_order_acq_rel);
    assert(!(before & RETIRED));
    if (before != 0)
        return false;
    atomic_store_explicit(pins, 0, memory_order_relaxed);
    return true;
}

bool pin_idle(const pin_t *pins)
{
    return atomic_load_explicit(pins, memory_order_acquire) == 0;
}

/* Who has the pin is copying: microseconds, unless it has lost its CPU. On a single CPU it runs
 * only if we let it. The time is bounded, for the pins may come to serve another quantum. */
void pin_wait(const pin_t *pins)
{
    const struct timespec nap = {.tv_nsec = WAIT_NAP_NS};
    uint32_t first = atomic_load_explicit(pins, memory_order_relaxed);
    uint32_t in_the_way = first & WRITER ? WRITER : PINS;
    for (unsigned turn = 0; turn < WAIT_TURNS; turn++) {
        if (!(atomic_load_explicit(pins, memory_order_relaxed) & in_the_way))
            return;
        if (turn < WAIT_YIELDS)
            sched_yield();
        else
            nanosleep(&nap, NULL);
    }
}
