/* journal: what a request has done so far, for the worker that may have to finish it.
 *
 * A worker may die between any two instructions. What it was at is in the state: the message, as the
 * kernel wrote it there, and beside it a journal. A step (a write, a trim, a read that moves a
 * position) writes its result down before the lock is released that keeps others from seeing what it
 * did: so of two requests the second is never applied first. The next worker runs the whole request
 * again; steps that were done return what they returned then.
 *
 * What a step moves besides (a position, the pending parameters) is a cell with a count of its
 * moves. The journal has the count that the step produces: the cell is moved once, by this worker or
 * by the next. */
#include "recover/journal.h"

#include <stddef.h>

#include "base/killpoint.h"

static _Thread_local struct journal *current;
static _Thread_local uint32_t done;  /* steps that this thread has come to */
static _Thread_local uint32_t found; /* steps that were done before it began */

void journal_begin(struct journal *journal, uint64_t unique)
{
    current = journal;
    done = found = 0;
    if (!journal)
        return;
    if (journal->unique == unique) {
        found = atomic_load_explicit(&journal->steps, memory_order_acquire);
        return;
    }
    journal->unique = 0;
    atomic_store_explicit(&journal->steps, 0, memory_order_release);
    atomic_store_explicit(&journal->opened, 0, memory_order_release);
    journal->moves_cell = MOVED_NOTHING;
    atomic_signal_fence(memory_order_seq_cst);
    journal->unique = unique;
}

void journal_end(void)
{
    current = NULL;
}

void journal_forget(struct journal *journal)
{
    journal->unique = 0;
}

struct journal *journal_current(void)
{
    return current;
}

bool journal_will_replay(void)
{
    return current && done < found;
}

bool journal_replays(int64_t *result)
{
    if (!journal_will_replay())
        return false;
    done++;
    *result = current->result;
    return true;
}

void journal_applied(int64_t result)
{
    if (!current)
        return;
    KILL_POINT(KILL_UNRECORDED);
    current->result = result;
    atomic_store_explicit(&current->steps, ++done, memory_order_release);
    KILL_POINT(KILL_RECORDED);
}

void journal_aim(enum moved which, const struct cell *cell, uint64_t file, uint64_t base)
{
    if (!current)
        return;
    current->base = base;
    current->before = cell->value;
    current->moves = cell->moves + 1;
    current->file = file;
    current->moves_cell = which;
}

void journal_move(struct cell *cell, uint64_t value)
{
    KILL_POINT(KILL_UNMOVED);
    atomic_store_explicit(&cell->value, value, memory_order_release);
    KILL_POINT(KILL_HALF_MOVED);
    atomic_store_explicit(&cell->moves, cell->moves + 1, memory_order_release);
    KILL_POINT(KILL_MOVED);
}

void journal_stay(void)
{
    if (current)
        current->moves_cell = MOVED_NOTHING;
}

uint64_t journal_base(void)
{
    return current->base;
}

uint64_t journal_before(void)
{
    return current->before;
}

void journal_settle(const struct journal *journal, struct cell *cell)
{
    if (!journal->steps || cell->moves >= journal->moves)
        return;
    if (journal->result >= 0)
        cell->value = journal->base + (uint64_t)journal->result;
    cell->moves = journal->moves;
}
