/* cell: a number in the state that a request moves once, whoever finishes the request. See journal.c. */
#ifndef CELL_H
#define CELL_H

#include <stdatomic.h>
#include <stdint.h>

struct cell {
    _Atomic uint64_t value;
    _Atomic uint64_t moves; /* how often it was moved */
};

#endif
