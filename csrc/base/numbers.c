/* numbers: those from 0 on that are given out, and taken back. The lowest that were never given come
 * last, so that memory that goes by number is touched only as far as it has to be. */
#include "base/numbers.h"

#include <stdlib.h>

bool numbers_take(struct numbers *numbers, uint32_t *number)
{
    if (numbers->count) {
        *number = numbers->free[--numbers->count];
        return true;
    }
    if (*numbers->used == numbers->most)
        return false;
    *number = (*numbers->used)++;
    return true;
}

/* Where there is no memory to note it, it is never given again. */
void numbers_give_back(struct numbers *numbers, uint32_t number)
{
    if (numbers->count == numbers->room) {
        uint32_t room = numbers->room ? 2 * numbers->room : 64;
        uint32_t *more = realloc(numbers->free, room * sizeof(*more));

        if (!more)
            return;
        numbers->free = more;
        numbers->room = room;
    }
    numbers->free[numbers->count++] = number;
}

uint32_t numbers_left(const struct numbers *numbers)
{
    return numbers->most - *numbers->used + numbers->count;
}

void numbers_end(struct numbers *numbers)
{
    free(numbers->free);
}
