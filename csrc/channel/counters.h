/* counters: what a channel has answered, by operation and ioctl command. See counters.c. */
#ifndef COUNTERS_H
#define COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "scullv.h"

struct counters;
struct counters *counters_new(void); /* NULL: no memory */
void counters_free(struct counters *counters);
uint64_t counters_now_ns(void); /* monotonic, from anywhere on */
/* A request was answered, with `bytes` of payload both ways, or with an error (errno, or 0). `cmd`: of an
 * IOCTL; `ns`: that it took. Any thread. */
void counters_note(struct counters *counters, enum call_kind kind, uint32_t cmd, uint64_t bytes,
                   int error, uint64_t ns);
/* Sums that were so while they were read. */
void counters_sum(const struct counters *counters, enum call_kind kind, struct counted *sum);
bool counters_sum_ioctl(const struct counters *counters, uint32_t index, uint32_t *cmd,
                        struct counted *sum);

#endif
