/* clock: the time, as cheaply as it can be had. See clock.c. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

/* Once, before the first clock_now_ns: takes some milliseconds where the kernel's clock is dear. */
void clock_prepare(void);
uint64_t clock_now_ns(void); /* monotonic, from anywhere on; nearly so between CPUs */

#endif
