/* chance: numbers that look random and are the same for the same seed. */
#ifndef CHANCE_H
#define CHANCE_H

#include <stdint.h>

#define CHANCE_ALWAYS (UINT64_C(1) << 32) /* of chance_next() >> 32 */

/* The next number of the row that `seed` begins: splitmix64 (Steele, Lea and Flood, "Fast splittable
 * pseudorandom number generators", 2014). */
static inline uint64_t chance_next(uint64_t *seed)
{
    uint64_t number = *seed += UINT64_C(0x9e3779b97f4a7c15);

    number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
    return number ^ number >> 31;
}

/* 0 … `below` - 1; 0 where there is nothing below. */
static inline uint64_t chance_below(uint64_t *seed, uint64_t below)
{
    return below ? chance_next(seed) % below : 0;
}

#endif
