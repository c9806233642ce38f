/* state: the memory that outlives a worker. See state.c. */
#ifndef STATE_H
#define STATE_H

#include <stddef.h>
#include <stdint.h>

#include "recover/cell.h"
#include "scullv.h"

#define STATE_DEVICES 256u

struct state_device {
    _Atomic uint64_t geometry; /* in force: quantum << 32 | qset; 0: as it was made */
};
struct state {
    uint64_t magic;
    uint32_t version, checksum; /* of what does not change */
    uint32_t devices, channels;
    _Atomic uint32_t kill; /* enum kill_point, for test builds */
    struct cell pending;   /* parameters, packed; moves 0: as they were made */
    struct state_device device[STATE_DEVICES];
};

/* The part of the memory that is of channel `place`: its offset in the file. */
uint64_t state_place(uint32_t place);
#define STATE_PLACE ((uint64_t)1 << 30)  /* bytes of each */
/* … of which so much, at its end, is for the filters of device `place`. */
uint64_t state_filters(uint32_t place);
#define STATE_FILTERS ((uint64_t)1 << 16)

#endif
