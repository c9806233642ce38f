/* dice: numbers that a seed decides. */
#ifndef DICE_H
#define DICE_H

#include <stdbool.h>
#include <stdint.h>

struct dice {
    uint64_t state;
};

/* splitmix64 */
static inline uint64_t dice_bits(struct dice *dice)
{
    uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0 … sides - 1 */
static inline uint64_t dice_roll(struct dice *dice, uint64_t sides)
{
    return dice_bits(dice) % sides;
}

static inline bool dice_one_in(struct dice *dice, uint64_t sides)
{
    return dice_roll(dice, sides) == 0;
}

/* As many small ones as large ones; now and then one at the edge of a type. */
static inline uint64_t dice_number(struct dice *dice)
{
    static const uint64_t edges[] = {0, 1, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
                                     INT64_MAX, UINT64_C(1) << 63, UINT64_MAX};

    if (dice_one_in(dice, 8))
        return edges[dice_roll(dice, sizeof(edges) / sizeof(*edges))];
    return dice_bits(dice) >> dice_roll(dice, 64);
}

#endif
