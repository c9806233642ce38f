/* helper: what the tests share. Included first: cmocka wants its headers in this order. */
#ifndef HELPER_H
#define HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scullv.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define RUN_ALL(tests) cmocka_run_group_tests(tests, NULL, NULL)

/* Bytes that tell seed and place. */
static inline uint8_t pattern(uint64_t seed, uint64_t at)
{
    return (uint8_t)((seed * 131 + at * 7 + (at >> 8) * 13 + 1) % 251 + 1);
}

static inline void fill(uint8_t *data, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        data[i] = pattern(seed, i);
}

static inline uint8_t *filled(size_t n, uint64_t seed)
{
    uint8_t *data = malloc(n);
    assert_non_null(data);
    fill(data, n, seed);
    return data;
}

static inline void assert_all(const uint8_t *data, size_t n, uint8_t value)
{
    for (size_t i = 0; i < n; i++)
        if (data[i] != value)
            fail_msg("byte %zu of %zu is %#x, not %#x", i, n, data[i], value);
}

/* Resident memory of this process, bytes. */
static inline uint64_t resident(void);

/* Whether the resident memory falls to so much; what is kept warm takes a second or two. */
static inline bool falls_to(uint64_t bytes)
{
    for (unsigned tries = 0; tries < 3000 && resident() > bytes; tries++)
        usleep(10000);
    return resident() <= bytes;
}

static inline uint64_t resident(void)
{
    unsigned long long size, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%llu %llu", &size, &pages), 2);
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

/* With zeros for padding, so that two can be compared as memory. */
static inline struct store_info info_of(struct store *store)
{
    struct store_info info, clean;
    store_get_info(store, &info);
    memset(&clean, 0, sizeof clean);
    memcpy(&clean, &info, offsetof(struct store_info, qset) + sizeof info.qset);
    memcpy(&clean.changes, &info.changes, sizeof info - offsetof(struct store_info, changes));
    return clean;
}

static inline struct store *store_with(uint64_t max_bytes, uint64_t quantum)
{
    struct budget *budget = budget_new(max_bytes);
    assert_non_null(budget);
    struct store *store = store_new(budget, quantum, 10);
    assert_non_null(store);
    budget_free(budget); /* the store holds it */
    return store;
}

#endif
