/* flip: bits that change on the way. */
#ifndef FLIP_H
#define FLIP_H

#include <stddef.h>
#include <stdint.h>

#include "filter/chance.h"

/* The byte and the bit of it that change next, of `bytes` > 0. The same bit may come twice. */
struct flip {
    size_t byte;
    uint8_t mask;
};

static inline struct flip flip_next(uint64_t *dice, size_t bytes)
{
    const uint64_t bit = chance_below(dice, (uint64_t)bytes * 8);

    return (struct flip){(size_t)(bit / 8), (uint8_t)(1u << bit % 8)};
}

static inline void flip_all(uint8_t *data, size_t bytes, uint32_t bits, uint64_t dice)
{
    for (uint32_t i = 0; bytes && i < bits; i++) {
        struct flip flip = flip_next(&dice, bytes);

        data[flip.byte] ^= flip.mask;
    }
}

#endif
