/* callers: who made a channel's requests since somebody looked.
 *
 * Noted at every request, so it is a few relaxed atomics, of which all but the count are only written
 * to where something has changed. A number that is lost now and then does no harm. */
#include "placement/callers.h"

#include <stdatomic.h>

#define LARGE_BYTES 32768 /* bytes: some 3 us to copy, as long as a hand-over on one CPU */

static void note_turn(struct callers *callers, uint32_t pid)
{
    if (atomic_load_explicit(&callers->last, memory_order_relaxed) == pid)
        return;
    atomic_store_explicit(&callers->last, pid, memory_order_relaxed);
    atomic_fetch_add_explicit(&callers->turns, 1, memory_order_relaxed);
    atomic_store_explicit(&callers->caller[pid % CALLERS_MOST], pid, memory_order_relaxed);
}

static void note_swap(struct callers *callers, unsigned worker, uint32_t pid)
{
    if (worker >= WORKERS_MAX ||
        atomic_load_explicit(&callers->last_of[worker], memory_order_relaxed) == pid)
        return;
    atomic_store_explicit(&callers->last_of[worker], pid, memory_order_relaxed);
    atomic_fetch_add_explicit(&callers->swaps, 1, memory_order_relaxed);
}

void callers_note(struct callers *callers, unsigned worker, const struct seen *seen)
{
    atomic_fetch_add_explicit(&callers->seen, 1, memory_order_relaxed);
    if (seen->left)
        atomic_store_explicit(&callers->left, true, memory_order_relaxed);
    if (seen->bytes >= LARGE_BYTES)
        atomic_fetch_add_explicit(&callers->large, 1, memory_order_relaxed);
    if (!seen->pid) /* some requests have no caller: a write-back, a close */
        return;
    note_turn(callers, seen->pid);
    note_swap(callers, worker, seen->pid);
}

struct callers_look callers_take(struct callers *callers)
{
    struct callers_look look = {
        .seen = atomic_exchange(&callers->seen, 0),
        .turns = atomic_exchange(&callers->turns, 0),
        .swaps = atomic_exchange(&callers->swaps, 0),
        .large = atomic_exchange(&callers->large, 0),
        .left = atomic_exchange(&callers->left, false),
    };

    for (unsigned i = 0; i < CALLERS_MOST; i++) {
        uint32_t pid = atomic_exchange(&callers->caller[i], 0);

        if (pid)
            look.pid[look.callers++] = pid;
    }
    return look;
}

uint32_t callers_last(const struct callers *callers)
{
    return atomic_load_explicit(&callers->last, memory_order_relaxed);
}
