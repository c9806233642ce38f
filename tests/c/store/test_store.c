#include <time.h>

#include "helper.h"

#include "store/store.h"

static void a_new_store_is_empty(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, 4000);
    struct store_info info = info_of(store);
    assert_int_equal(info.size, 0);
    assert_int_equal(info.quantum, 4000);
    assert_int_equal(info.region_bytes, 4096);
    assert_int_equal(store_count_quanta(store), 0);
    assert_int_equal(info.index_bytes, 0);
    assert_int_equal(info.qset, 10);
    store_free(store);
    store_free(NULL);
}

static void impossible_geometries_are_refused(void **state)
{
    (void)state;
    struct budget *budget = budget_new(MIB);
    assert_null(store_new(budget, 0, 1));
    assert_int_equal(errno, EINVAL);
    assert_null(store_new(budget, 64 * MIB + 1, 1));
    assert_null(store_new(budget, 4096, 0));
    struct store *store = store_new(budget, 64 * MIB, UINT32_MAX);
    assert_non_null(store);
    assert_int_equal(store_trim(store, 0, 1), -EINVAL);
    assert_int_equal(store_trim(store, 1, 0), -EINVAL);
    assert_int_equal(store_trim(store, 64 * MIB + 1, 1), -EINVAL);
    assert_int_equal(info_of(store).quantum, 64 * MIB);
    assert_int_equal(store_trim(store, 1, 1), 0);
    assert_int_equal(info_of(store).quantum, 1);
    store_free(store);
    budget_free(budget);
}

static void a_trim_empties_and_adopts_the_geometry(void **state)
{
    (void)state;
    struct budget *budget = budget_new(4 * MIB);
    struct store *store = store_new(budget, 4096, 5);
    const uint64_t quanta[] = {4096, 4000, 8192, 1, 100000, 4096};
    uint8_t *data = filled(20000, 1), *seen = malloc(20000);
    for (unsigned i = 0; i < sizeof quanta / sizeof *quanta; i++) {
        assert_int_equal(store_trim(store, quanta[i], i + 1), 0);
        struct store_info info = info_of(store);
        assert_int_equal(info.size, 0);
        assert_int_equal(store_count_quanta(store), 0);
        assert_int_equal(info.index_bytes, 0);
        assert_int_equal(info.quantum, quanta[i]);
        assert_int_equal(info.qset, i + 1);
        assert_int_equal(budget_used(budget), 0);
        /* Past the first byte all are holes: nothing of the last round shows through. */
        assert_int_equal(store_write(store, 500, data, 100), 100);
        assert_int_equal(store_resize(store, 20000), 0);
        assert_int_equal(store_read(store, 0, seen, 20000), 20000);
        assert_all(seen, 500, 0);
        assert_memory_equal(seen + 500, data, 100);
        assert_all(seen + 600, 20000 - 600, 0);
        assert_int_equal(store_write(store, 0, data, 800), 800);
    }
    free(data);
    free(seen);
    store_free(store);
    assert_int_equal(budget_used(budget), 0);
    budget_free(budget);
}

static void a_trim_gives_memory_back(void **state)
{
    (void)state;
    struct store *store = store_with(256 * MIB, 64 * KIB);
    uint8_t *data = filled(MIB, 1);
    const uint64_t next_quantum[] = {64 * KIB, 4096};
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned at = 0; at < 128; at++)
            assert_int_equal(store_write(store, at * MIB, data, MIB), MIB);
        uint64_t full = resident();
        assert_int_equal(store_trim(store, next_quantum[i], 1), 0);
        assert_true(falls_to(full - 117 * MIB));
    }
    free(data);
    store_free(store);
}

static void a_trim_leaves_readers_what_they_have(void **state)
{
    (void)state;
    const uint64_t next_quantum[] = {4096, 8192};
    for (unsigned i = 0; i < 2; i++) {
        struct budget *budget = budget_new(MIB);
        struct store *store = store_new(budget, 4096, 1);
        uint8_t *data = filled(16 * 4096, 3);
        struct read_plan plan;
        assert_int_equal(store_write(store, 0, data, 16 * 4096), 16 * 4096);
        assert_int_equal(store_plan_read(store, 0, 8 * 4096, 0, &plan), 0);
        assert_int_equal(store_trim(store, next_quantum[i], 1), 0);
        assert_int_equal(budget_used(budget), 0);
        if (i == 1) { /* of the arena that only the reader has now, nothing is kept for reuse */
            assert_true(budget_charge(budget, BUDGET_WARM, MIB));
            budget_uncharge(budget, BUDGET_WARM, MIB);
        }
        uint8_t *other = filled(64 * 4096, 4);
        assert_int_equal(store_write(store, 0, other, 64 * 4096), 64 * 4096);
        assert_int_equal(plan.spans, 1);
        assert_memory_equal(plan.iov[0].iov_base, data, 8 * 4096);
        store_free(store);
        assert_memory_equal(plan.iov[0].iov_base, data, 8 * 4096);
        store_end_read(&plan);
        free(data);
        free(other);
        budget_free(budget);
    }
}

static void stores_share_a_budget(void **state)
{
    (void)state;
    struct budget *budget = budget_new(4 * 4096);
    struct store *one = store_new(budget, 4096, 1), *two = store_new(budget, 4096, 1);
    uint8_t *data = filled(4 * 4096, 1);
    assert_int_equal(store_write(one, 0, data, 3 * 4096), 3 * 4096);
    assert_int_equal(store_write(two, 0, data, 3 * 4096), 4096);
    assert_int_equal(store_write(two, 4096, data, 1), -ENOSPC);
    assert_int_equal(budget_used(budget), 4 * 4096);
    store_free(one);
    assert_int_equal(store_write(two, 4096, data, 3 * 4096), 3 * 4096);
    store_free(two);
    free(data);
    assert_int_equal(budget_used(budget), 0);
    budget_free(budget);
}

static void a_held_store_outlives_its_maker(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, 4096);
    uint8_t seen;
    store_hold(store);
    assert_int_equal(store_write(store, 0, "x", 1), 1);
    store_free(store);
    assert_int_equal(store_read(store, 0, &seen, 1), 1);
    assert_int_equal(seen, 'x');
    store_drop(store);
}

struct told {
    unsigned times;
    uint64_t offset, length;
};

static void note(void *arg, uint64_t offset, uint64_t length)
{
    struct told *told = arg;
    *told = (struct told){told->times + 1, offset, length};
}

static void the_watcher_is_told_while_there_is_one(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, 4096);
    struct told told = {0, 0, 0};
    struct store_watch watch = {note, &told};
    store_tell_watch(store, 1, 2);
    store_set_watch(store, &watch);
    store_tell_watch(store, 3, 4);
    store_set_watch(store, NULL);
    store_tell_watch(store, 5, 6);
    assert_int_equal(told.times, 1);
    assert_int_equal(told.offset, 3);
    assert_int_equal(told.length, 4);
    store_free(store);
}

static void changes_are_dated_while_somebody_watches(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, 4096);
    struct told told = {0, 0, 0};
    struct store_watch watch = {note, &told};
    struct store_info info;
    struct timespec began;
    assert_int_equal(store_resize(store, 1), 0);
    store_get_info(store, &info);
    assert_int_equal(info.changed_ns, 0);
    store_set_watch(store, &watch);
    clock_gettime(CLOCK_REALTIME_COARSE, &began);
    uint64_t from = (uint64_t)began.tv_sec * 1000000000u + (uint64_t)began.tv_nsec;
    uint64_t last = 0;
    for (unsigned how = 0; how < 4; how++) {
        int64_t rc = how == 0   ? store_write(store, 0, "x", 1)
                     : how == 1 ? store_resize(store, 100)
                     : how == 2 ? store_punch(store, 0, 10)
                                : store_trim(store, 4096, 1);
        assert_int_equal(rc, how == 0 ? 1 : 0);
        store_get_info(store, &info);
        assert_in_range(info.changed_ns, last ? last : from, from + UINT64_C(60000000000));
        last = info.changed_ns;
    }
    store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_store_is_empty),
        cmocka_unit_test(impossible_geometries_are_refused),
        cmocka_unit_test(a_trim_empties_and_adopts_the_geometry),
        cmocka_unit_test(a_trim_gives_memory_back),
        cmocka_unit_test(a_trim_leaves_readers_what_they_have),
        cmocka_unit_test(stores_share_a_budget),
        cmocka_unit_test(a_held_store_outlives_its_maker),
        cmocka_unit_test(the_watcher_is_told_while_there_is_one),
        cmocka_unit_test(changes_are_dated_while_somebody_watches),
    };
    return RUN_ALL(tests);
}
