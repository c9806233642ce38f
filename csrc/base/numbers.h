/* numbers: those from 0 on that are given out, and taken back. See numbers.c. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeros but for the first two, which its owner sets. It has a lock for it, too. */
struct numbers {
    _Atomic uint32_t *used; /* those below have been given out at some time; may outlive the process */
    uint32_t most;
    uint32_t *free, count, room; /* a stack of those below `used` that are free */
};

bool numbers_take(struct numbers *numbers, uint32_t *number); /* false: there is none left */
void numbers_give_back(struct numbers *numbers, uint32_t number);
uint32_t numbers_left(const struct numbers *numbers); /* that can be taken, at least */
void numbers_end(struct numbers *numbers);

#endif
