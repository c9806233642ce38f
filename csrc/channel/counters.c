/* counters: what a channel has answered.
 *
 * Each thread counts in a stripe of its own, as long as there are no more threads than stripes, so no
 * cache line goes from one CPU to another, and nobody ever waits: the additions are atomic all the same,
 * as threads may share a stripe. Who asks adds the stripes up. A request is two or three additions
 * and two looks at the clock, which are a system call where the clock source cannot be read in user space
 * (vdso(7): hpet, user-mode-linux); so of those that are answered in C only some are timed
 * (request_time).
 *
 * Commands of ioctls are found in a table that only grows: a slot is taken once, by compare and swap.
 * A command that the device does not know (ENOTTY) takes none, so that a client cannot fill it; those
 * beyond it are only counted with the rest. */
#include "channel/counters.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/probe.h"


#define KINDS (CALL_REMOVE + 1u) /* those that are answered come first */
#define STRIPES 16u
#define IOCTLS COUNTED_IOCTLS
#define FIRST_BIT 10u /* the first bucket is of what took less than 2^10 ns */

_Static_assert(CALL_OPEN == 0 && CALL_REMOVE == 8, "the kinds that are counted");

struct count {
    _Atomic uint64_t bytes, errors, ns, latency[COUNTED_BUCKETS];
};

struct stripe {
    _Alignas(64) struct count kind[KINDS];
};

struct ioctl_slot {
    _Atomic uint64_t key; /* the command + 1; 0: free */
    struct count count;
};

struct counters {
    struct stripe stripe[STRIPES];
    struct ioctl_slot ioctl[IOCTLS];
};

static unsigned my_stripe(void)
{
    static _Atomic unsigned next;
    static _Thread_local unsigned mine; /* + 1 */

    if (!mine)
        mine = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % STRIPES + 1;
    return mine - 1;
}

struct counters *counters_new(void)
{
    struct counters *counters = aligned_alloc(64, sizeof(*counters));

    if (counters)
        memset(counters, 0, sizeof(*counters));
    return counters;
}

void counters_free(struct counters *counters)
{
    free(counters);
}

uint64_t counters_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- counting ---------------------------------------------------------------------------------- */

static void add(_Atomic uint64_t *to, uint64_t n)
{
    if (n)
        atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static unsigned bucket_of(uint64_t ns)
{
    unsigned bits = ns >> FIRST_BIT ? 64u - (unsigned)__builtin_clzll(ns >> FIRST_BIT) : 0;

    return bits < COUNTED_BUCKETS ? bits : COUNTED_BUCKETS - 1;
}

static void note(struct count *count, uint64_t bytes, int error, uint64_t ns)
{
    add(&count->latency[bucket_of(ns)], 1);
    add(&count->ns, ns);
    add(&count->bytes, bytes);
    add(&count->errors, error != 0);
}

/* The command's slot, taken for it if need be; NULL: there is none. */
static struct count *ioctl_count(struct counters *counters, uint32_t cmd, bool take)
{
    uint64_t key = (uint64_t)cmd + 1;

    for (unsigned i = 0; i < IOCTLS; i++) {
        struct ioctl_slot *slot = &counters->ioctl[(cmd + i) % IOCTLS];
        uint64_t found = atomic_load_explicit(&slot->key, memory_order_relaxed);

        if (!found && !take)
            return NULL;
        if (!found && atomic_compare_exchange_strong(&slot->key, &found, key))
            return &slot->count;
        if (found == key)
            return &slot->count;
    }
    return NULL;
}

void counters_note(struct counters *counters, enum call_kind kind, uint32_t cmd, uint64_t bytes,
                   int error, uint64_t ns)
{
    struct count *ioctl;

    PROBE5(answer, kind, cmd, bytes, error, ns);
    if (!counters || (unsigned)kind >= KINDS)
        return;
    note(&counters->stripe[my_stripe()].kind[kind], bytes, error, ns);
    if (kind != CALL_IOCTL)
        return;
    ioctl = ioctl_count(counters, cmd, error != ENOTTY);
    if (ioctl)
        note(ioctl, bytes, error, ns);
}

/* --- asking ------------------------------------------------------------------------------------ */

static uint64_t look(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static void sum_up(const struct count *count, struct counted *sum)
{
    sum->bytes += look(&count->bytes);
    sum->errors += look(&count->errors);
    sum->ns += look(&count->ns);
    for (unsigned i = 0; i < COUNTED_BUCKETS; i++)
        sum->latency[i] += look(&count->latency[i]);
}

void counters_sum(const struct counters *counters, enum call_kind kind, struct counted *sum)
{
    memset(sum, 0, sizeof(*sum));
    if ((unsigned)kind >= KINDS)
        return;
    for (unsigned i = 0; i < STRIPES; i++)
        sum_up(&counters->stripe[i].kind[kind], sum);
}

bool counters_sum_ioctl(const struct counters *counters, uint32_t index, uint32_t *cmd,
                        struct counted *sum)
{
    uint64_t key = index < IOCTLS ? look(&counters->ioctl[index].key) : 0;

    if (!key)
        return false;
    memset(sum, 0, sizeof(*sum));
    *cmd = (uint32_t)(key - 1);
    sum_up(&counters->ioctl[index].count, sum);
    return true;
}
