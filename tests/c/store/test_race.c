/* Writers, readers and trims on one store: within a quantum a read shows one write, whole.
 *
 * Positions are cut into blocks of 4 KiB, each of two halves. Every write fills what it covers with
 * one number. Blocks with odd numbers are only written whole, the others also by halves, so in any
 * read all words of a half agree, and both halves of an odd block, unless quanta are smaller than
 * that; zeros are what nobody wrote. */
#include "helper.h"

#include <pthread.h>
#include <stdatomic.h>

#include "store/store.h"

#define BLOCK 4096u
#define HALF (BLOCK / 2)
#define BLOCKS 64u
#define WRITE_BLOCKS 16u

#if SANITIZED
#define TURNS 3000u
#else
#define TURNS 20000u
#endif

struct race {
    struct budget *budget;
    struct store *store;
    uint64_t quantum;
    atomic_uint working; /* writers and disturbers */
    atomic_uint reads;
    atomic_uint torn;
};

struct racer {
    struct race *race;
    uint64_t random;
    pthread_t thread;
};

static void stamp(void *at, size_t n, uint64_t number)
{
    for (size_t i = 0; i < n / 8; i++)
        ((uint64_t *)at)[i] = number;
}

/* Receives as a worker does: into spares where there are any, and the rest into `body`. */
static void write_blocks(struct racer *racer, struct spares *spares, uint8_t *body)
{
    struct store *store = racer->race->store;
    uint64_t number = ((uint64_t)next_random(&racer->random) << 8) + 1;
    unsigned count = 1 + next_random(&racer->random) % WRITE_BLOCKS;
    uint64_t pos = next_random(&racer->random) % BLOCKS * BLOCK;
    size_t len = count * BLOCK;
    struct iovec src[SPARES_MAX + 1];
    unsigned n = 0;
    store_fill_spares(store, spares, len);
    for (; n < spares->count; n++) {
        src[n].iov_base = arena_address(spares->arena, spares->region[n]);
        src[n].iov_len = arena_region_bytes(spares->arena);
        stamp(src[n].iov_base, src[n].iov_len, number);
    }
    stamp(body, len, number);
    src[n] = (struct iovec){body, len};
    ssize_t done = store_write_from(store, pos, src, len, spares, 0);
    if (done < 0)
        assert_int_equal(done, -ENOSPC);
}

static void write_half(struct racer *racer, uint8_t *body)
{
    uint64_t block = next_random(&racer->random) % (BLOCKS / 2) * 2;
    uint64_t half = next_random(&racer->random) % 2;
    stamp(body, HALF, next_random(&racer->random) + 1);
    int64_t done = store_write(racer->race->store, block * BLOCK + half * HALF, body, HALF);
    assert_true(done == HALF || done == -ENOSPC);
}

static void *writer(void *arg)
{
    struct racer *racer = arg;
    struct spares spares = {.count = 0};
    uint8_t *body = malloc(WRITE_BLOCKS * BLOCK);
    for (unsigned turn = 0; turn < TURNS; turn++)
        if (next_random(&racer->random) % 4 == 0)
            write_half(racer, body);
        else
            write_blocks(racer, &spares, body);
    store_drop_spares(&spares);
    free(body);
    atomic_fetch_sub(&racer->race->working, 1);
    return NULL;
}

static void *disturber(void *arg)
{
    struct racer *racer = arg;
    struct store *store = racer->race->store;
    for (unsigned turn = 0; turn < TURNS / 4; turn++) {
        uint64_t pos = next_random(&racer->random) % (BLOCKS / 2) * 2 * BLOCK;
        switch (next_random(&racer->random) % 16) {
        case 0:
            assert_int_equal(store_trim(store, racer->race->quantum, 1), 0);
            break;
        case 1: /* other regions, then back */
            assert_int_equal(store_trim(store, 4 * BLOCK, 1), 0);
            assert_int_equal(store_trim(store, racer->race->quantum, 1), 0);
            break;
        case 2:
            assert_int_equal(store_resize(store, pos + HALF), 0);
            break;
        case 3:
            store_allocate(store, pos, 8 * BLOCK, true);
            break;
        default:
            assert_int_equal(store_punch(store, pos + HALF, HALF + BLOCK), 0);
        }
    }
    atomic_fetch_sub(&racer->race->working, 1);
    return NULL;
}

static bool uniform(const uint64_t *words, size_t bytes)
{
    for (size_t i = 1; i < bytes / 8; i++)
        if (words[i] != words[0])
            return false;
    return true;
}

/* `data`: what was read at block `first`, whole blocks of it. */
static bool torn(const struct race *race, const uint8_t *data, size_t bytes, uint64_t first)
{
    for (uint64_t block = 0; block < bytes / BLOCK; block++) {
        const uint8_t *at = data + block * BLOCK;
        if ((first + block) % 2 == 1 && race->quantum >= BLOCK) {
            if (!uniform((const uint64_t *)at, BLOCK))
                return true;
        } else if (!uniform((const uint64_t *)at, HALF) ||
                   !uniform((const uint64_t *)(at + HALF), HALF)) {
            return true;
        }
    }
    return false;
}

static void *reader(void *arg)
{
    struct racer *racer = arg;
    struct race *race = racer->race;
    uint8_t *data = malloc(WRITE_BLOCKS * BLOCK);
    while (atomic_load(&race->working) > 0) {
        uint64_t first = next_random(&racer->random) % BLOCKS;
        size_t len = (1 + next_random(&racer->random) % WRITE_BLOCKS) * BLOCK;
        struct read_plan plan;
        size_t bytes = 0;
        assert_int_equal(store_plan_read(race->store, first * BLOCK, len, 0, &plan), 0);
        for (unsigned i = 0; i < plan.spans; i++) {
            memcpy(data + bytes, plan.iov[i].iov_base, plan.iov[i].iov_len);
            bytes += plan.iov[i].iov_len;
        }
        assert_int_equal(bytes, plan.bytes);
        if (torn(race, data, bytes, first))
            atomic_fetch_add(&race->torn, 1);
        store_end_read(&plan);
        atomic_fetch_add(&race->reads, 1);
    }
    free(data);
    return NULL;
}

static void run(uint64_t quantum, uint64_t max_bytes, bool disturb)
{
    struct race race = {.budget = budget_new(max_bytes), .quantum = quantum};
    race.store = store_new(race.budget, quantum, 1);
    struct racer racers[6];
    void *(*const roles[])(void *) = {writer, writer, reader, reader, writer, disturber};
    const unsigned threads = disturb ? 6 : 5;
    race.working = threads - 2;
    for (unsigned i = 0; i < threads; i++) {
        racers[i] = (struct racer){.race = &race, .random = i + 1};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, roles[i], &racers[i]), 0);
    }
    for (unsigned i = 0; i < threads; i++)
        pthread_join(racers[i].thread, NULL);
    assert_int_equal(race.torn, 0);
    assert_true(race.reads > 0);
    store_free(race.store);
    assert_int_equal(budget_used(race.budget), 0);
    assert_true(budget_charge(race.budget, BUDGET_WARM, max_bytes)); /* all was given back */
    budget_free(race.budget);
}

static void quanta_of_one_block(void **state)
{
    (void)state;
    run(BLOCK, 8 * MIB, false);
}

static void quanta_of_several_blocks(void **state)
{
    (void)state;
    run(2 * BLOCK, 8 * MIB, false);
}

static void quanta_that_cannot_be_adopted(void **state)
{
    (void)state;
    run(HALF, 8 * MIB, false);
}

static void trims_punches_and_cuts_meanwhile(void **state)
{
    (void)state;
    run(BLOCK, 8 * MIB, true);
    run(8 * BLOCK, 8 * MIB, true);
}

static void at_the_limit(void **state)
{
    (void)state;
    run(BLOCK, BLOCKS / 2 * BLOCK, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quanta_of_one_block),
        cmocka_unit_test(quanta_of_several_blocks),
        cmocka_unit_test(quanta_that_cannot_be_adopted),
        cmocka_unit_test(trims_punches_and_cuts_meanwhile),
        cmocka_unit_test(at_the_limit),
    };
    return RUN_ALL(tests);
}
