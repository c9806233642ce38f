#include "helper.h"

#include "store/index.h"

static struct index make(struct budget **budget, uint64_t max_bytes)
{
    struct index index;
    *budget = budget_new(max_bytes);
    index_init(&index, *budget);
    return index;
}

static void put(struct index *index, uint64_t key, region_t region)
{
    assert_int_equal(index_reserve(index, key), 0);
    index_set(index, key, region);
}

static void an_empty_index_names_nothing(void **state)
{
    (void)state;
    struct budget *budget;
    struct index index = make(&budget, 0);
    uint64_t key = 1;
    region_t region;
    assert_int_equal(index_get(&index, 0), REGION_NONE);
    assert_int_equal(index_get(&index, UINT64_MAX), REGION_NONE);
    assert_int_equal(index_remove(&index, 7), REGION_NONE);
    assert_false(index_next(&index, 0, &key, &region));
    assert_true(index_next_gap(&index, 9, &key));
    assert_int_equal(key, 9);
    index_drop(&index, NULL, NULL);
    budget_free(budget);
}

static void keys_at_every_height_are_found(void **state)
{
    (void)state;
    struct budget *budget;
    struct index index = make(&budget, 0);
    for (int order = 0; order < 2; order++) {
        for (unsigned i = 0; i < 64; i++) {
            unsigned bit = order ? 63 - i : i;
            put(&index, UINT64_C(1) << bit, bit);
        }
        put(&index, 0, 64);
        put(&index, UINT64_MAX, 65);
        assert_int_equal(index.count, 66);
        for (unsigned bit = 0; bit < 64; bit++) {
            assert_int_equal(index_get(&index, UINT64_C(1) << bit), bit);
            assert_int_equal(index_get(&index, (UINT64_C(1) << bit) + 5), REGION_NONE);
        }
        uint64_t key, from = 0;
        region_t region;
        for (unsigned n = 0; n < 65; n++, from = key + 1) {
            assert_true(index_next(&index, from, &key, &region));
            assert_int_equal(region, n == 0 ? 64 : n - 1);
        }
        assert_true(index_next(&index, from, &key, &region));
        assert_int_equal(key, UINT64_MAX);
        assert_true(index_next_gap(&index, 0, &key));
        assert_int_equal(key, 3);
        assert_false(index_next_gap(&index, UINT64_MAX, &key));
        for (unsigned bit = 0; bit < 64; bit++)
            assert_int_equal(index_remove(&index, UINT64_C(1) << bit), bit);
        assert_int_equal(index_remove(&index, 0), 64);
        assert_int_equal(index_remove(&index, UINT64_MAX), 65);
        assert_int_equal(index.count, 0);
        assert_int_equal(index.bytes, 0);
        assert_int_equal(index.height, 0);
    }
    budget_free(budget);
}

#define CANDIDATES 600

/* Keys that share leaves, neighbours across leaves, and keys far away. Ascending. */
static uint64_t candidate(unsigned i)
{
    if (i < 200)
        return i * 11;
    if (i < 400)
        return 1024 * 511 + (i - 200);
    if (i < 500)
        return (UINT64_C(1) << 30) + (uint64_t)(i - 400) * 1024 * 512;
    return (UINT64_C(1) << 62) + ((uint64_t)(i - 500) << 40);
}

static void check_walk(const struct index *index, const region_t *model, unsigned at)
{
    uint64_t key, expect = candidate(at);
    region_t region;
    unsigned next = at;
    while (next < CANDIDATES && model[next] == REGION_NONE)
        next++;
    assert_int_equal(index_next(index, candidate(at), &key, &region), next < CANDIDATES);
    if (next < CANDIDATES) {
        assert_int_equal(key, candidate(next));
        assert_int_equal(region, model[next]);
    }
    for (unsigned i = at; i < CANDIDATES && candidate(i) == expect; i++)
        if (model[i] != REGION_NONE)
            expect++;
    assert_true(index_next_gap(index, candidate(at), &key));
    assert_int_equal(key, expect);
}

static void random_changes_agree_with_a_plain_table(void **state)
{
    (void)state;
    struct budget *budget;
    struct index index = make(&budget, 64 * MIB);
    region_t model[CANDIDATES];
    uint64_t random = 1, count = 0;
    memset(model, 0xff, sizeof model);
    for (unsigned turn = 0; turn < 40000; turn++) {
        unsigned at = next_random(&random) % CANDIDATES;
        bool emptying = turn / 4000 % 2;
        if (next_random(&random) % 4 < (emptying ? 1 : 3)) {
            count += model[at] == REGION_NONE;
            model[at] = next_random(&random) % 1000;
            put(&index, candidate(at), model[at]);
        } else {
            count -= model[at] != REGION_NONE;
            assert_int_equal(index_remove(&index, candidate(at)), model[at]);
            model[at] = REGION_NONE;
        }
        assert_int_equal(index.count, count);
        check_walk(&index, model, next_random(&random) % CANDIDATES);
    }
    index_drop(&index, NULL, NULL);
    assert_int_equal(index.bytes, 0);
    assert_true(budget_charge(budget, BUDGET_INDEX, 12 * MIB)); /* all was uncharged */
    budget_free(budget);
}

static void dense_pages_cost_a_thousandth(void **state)
{
    (void)state;
    struct budget *budget;
    struct index index = make(&budget, GIB);
    const uint64_t keys = GIB / 4096;
    for (uint64_t key = 0; key < keys; key++)
        put(&index, key, (region_t)key);
    assert_in_range(index.bytes, GIB / 1100, GIB / 1000);
    uint64_t gap;
    assert_true(index_next_gap(&index, 17, &gap));
    assert_int_equal(gap, keys);
    index_drop(&index, NULL, NULL);
    budget_free(budget);
}

static void a_far_key_costs_nothing_once_it_is_gone(void **state)
{
    (void)state;
    struct budget *budget;
    struct index index = make(&budget, 0);
    put(&index, 3, 3);
    uint64_t bytes = index.bytes;
    put(&index, UINT64_C(1) << 51, 4);
    assert_true(index.bytes > bytes);
    assert_int_equal(index_remove(&index, UINT64_C(1) << 51), 4);
    assert_int_equal(index.bytes, bytes);
    assert_int_equal(index_get(&index, 3), 3);
    index_drop(&index, NULL, NULL);
    budget_free(budget);
}

static void running_out_of_memory_leaves_it_unchanged(void **state)
{
    (void)state;
    struct budget *budget;
    struct index index = make(&budget, 0);
    uint64_t key = 0;
    for (; index_reserve(&index, key << 40) == 0; key++)
        index_set(&index, key << 40, (region_t)key);
    assert_true(key > 100);
    uint64_t bytes = index.bytes;
    assert_int_equal(index_reserve(&index, key << 40), -ENOMEM);
    assert_int_equal(index_reserve(&index, UINT64_MAX), -ENOMEM);
    assert_int_equal(index.bytes, bytes);
    assert_int_equal(index.count, key);
    for (uint64_t i = 0; i < key; i++)
        assert_int_equal(index_remove(&index, i << 40), i);
    assert_int_equal(index.bytes, 0);
    budget_free(budget);
}

static void collect(void *arg, region_t region)
{
    region_t **at = arg;
    *(*at)++ = region;
}

static void dropping_hands_out_every_region_in_order(void **state)
{
    (void)state;
    struct budget *budget;
    struct index index = make(&budget, 0);
    put(&index, UINT64_C(1) << 40, 3);
    put(&index, 0, 0);
    put(&index, 5000, 2);
    put(&index, 1, 1);
    region_t seen[4], *at = seen;
    index_drop(&index, collect, &at);
    assert_ptr_equal(at, seen + 4);
    for (region_t i = 0; i < 4; i++)
        assert_int_equal(seen[i], i);
    assert_int_equal(index.count, 0);
    budget_free(budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_index_names_nothing),
        cmocka_unit_test(keys_at_every_height_are_found),
        cmocka_unit_test(random_changes_agree_with_a_plain_table),
        cmocka_unit_test(dense_pages_cost_a_thousandth),
        cmocka_unit_test(a_far_key_costs_nothing_once_it_is_gone),
        cmocka_unit_test(running_out_of_memory_leaves_it_unchanged),
        cmocka_unit_test(dropping_hands_out_every_region_in_order),
    };
    return RUN_ALL(tests);
}
