/* journal: what a request has done so far, for the worker that may have to finish it. See journal.c. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "recover/cell.h"

/* In the state, beside the message it is of; zeros at first. */
struct journal {
    uint64_t unique;        /* of the message that the rest is about */
    _Atomic uint32_t steps; /* that are done; the rest counts from the first on */
    uint32_t moves_cell;    /* enum moved */
    int64_t result;         /* of the last step */
    uint64_t base;          /* the cell's new value is base + result */
    uint64_t before;        /* and the value that it had */
    uint64_t moves;         /* and what its `moves` becomes */
    uint64_t file;          /* the cell is this open file's position; what an OPEN made */
    _Atomic uint32_t opened; /* `file` is there */
    uint32_t unused;
};
enum moved { MOVED_NOTHING, MOVED_POSITION, MOVED_PENDING };

/* The calling thread works on a message from here on until journal_end. NULL: nobody keeps books. */
void journal_begin(struct journal *journal, uint64_t unique);
void journal_end(void);
/* What it was of is answered and under way no more: whatever comes next under its number is new. */
void journal_forget(struct journal *journal);
struct journal *journal_current(void); /* NULL: none */

/* A step that changes something asks before: true: a worker before this one did it, and had this
 * result. */
bool journal_replays(int64_t *result);
bool journal_will_replay(void); /* the next step is such a one */
/* … and says so after, before anybody else can see what it did. */
void journal_applied(int64_t result);
/* The next step moves this cell to base + its result. */
void journal_aim(enum moved which, const struct cell *cell, uint64_t file, uint64_t base);
/* The cell of the step before is moved now. */
void journal_move(struct cell *cell, uint64_t value);
/* … is not, after all: the step before failed, and the number of the move is another's. */
void journal_stay(void);
/* Of a step that is replayed: where it began, and what the cell was. */
uint64_t journal_base(void);
uint64_t journal_before(void);
/* Moves the cell if the worker that died did not get to it. */
void journal_settle(const struct journal *journal, struct cell *cell);

#endif
