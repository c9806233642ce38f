/* bits: a row of bits in 64-bit words, bit 0 the lowest of the first. */
#ifndef BITS_H
#define BITS_H

#include <stdbool.h>
#include <stdint.h>

#define BITS_WORD 64u

static inline bool bits_get(const uint64_t *bits, uint32_t at)
{
    return bits[at / BITS_WORD] >> (at % BITS_WORD) & 1;
}

static inline void bits_set(uint64_t *bits, uint32_t at)
{
    bits[at / BITS_WORD] |= UINT64_C(1) << (at % BITS_WORD);
}

static inline void bits_clear(uint64_t *bits, uint32_t at)
{
    bits[at / BITS_WORD] &= ~(UINT64_C(1) << (at % BITS_WORD));
}

/* The first of [from, end) that is `set`, or is not; `end`: there is none. */
static inline uint32_t bits_next(const uint64_t *bits, uint32_t from, uint32_t end, bool set)
{
    uint64_t flip = set ? 0 : UINT64_MAX;
    uint64_t above = UINT64_MAX << (from % BITS_WORD);
    for (uint64_t word = from / BITS_WORD; word * BITS_WORD < end; word++) {
        uint64_t found = (bits[word] ^ flip) & above;
        if (found) {
            uint64_t at = word * BITS_WORD + (unsigned)__builtin_ctzll(found);
            return at < end ? (uint32_t)at : end;
        }
        above = UINT64_MAX;
    }
    return end;
}

#endif
