/* Fails allocation 1, 2, 3 … of each operation: it says so and leaves everything as it was, or it
 * does without. */
#include "helper.h"

#include "base/fault.h"
#include "store/store.h"

#define Q 4096u
#define FAR (UINT64_C(1) << 45) /* needs a higher index */

struct state {
    struct store_info info;
    uint64_t used;
    uint8_t bytes[8 * Q];
};

static struct budget *budget;

static struct state snapshot(struct store *store)
{
    struct state state = {.info = info_of(store), .used = budget_used(budget)};
    assert_true(store_read(store, 0, state.bytes, sizeof state.bytes) >= 0);
    return state;
}

static struct store *prepare(void)
{
    uint8_t *data = filled(6 * Q, 1);
    budget = budget_new(64 * MIB);
    struct store *store = store_new(budget, Q, 3);
    assert_non_null(store);
    assert_int_equal(store_write(store, 0, data, 6 * Q), 6 * Q);
    assert_int_equal(store_punch(store, 2 * Q, 2 * Q), 0);
    free(data);
    return store;
}

static void finish(struct store *store)
{
    store_free(store);
    assert_int_equal(budget_used(budget), 0);
    assert_true(budget_charge(budget, BUDGET_INDEX, 64 * MIB / 8 + 4 * MIB));
    budget_free(budget);
}

/* Runs `operation` with each allocation failing in turn, on a store of its own, where it is to
 * return `error` or, if it can do without, `success`. */
static void walk(int64_t (*operation)(struct store *store), int64_t success, int64_t error,
                 unsigned failures)
{
    unsigned nth = 1, failed = 0;
    for (;; nth++) {
        struct store *store = prepare();
        struct state before = snapshot(store);
        fault_arm(nth);
        int64_t result = operation(store);
        bool fired = fault_fired();
        fault_arm(0);
        if (result != success) {
            assert_true(fired);
            assert_int_equal(result, error);
            struct state after = snapshot(store);
            assert_memory_equal(&after, &before, sizeof before);
            assert_int_equal(operation(store), success); /* nothing stands in its way now */
            failed++;
        }
        finish(store);
        if (!fired)
            break;
    }
    assert_true(failed >= failures);
}

static int64_t write_into_a_hole(struct store *store)
{
    return store_write(store, 2 * Q, "abc", 3);
}

static int64_t write_far_away(struct store *store)
{
    return store_write(store, FAR, "abc", 3);
}

static int64_t allocate_some(struct store *store)
{
    return store_allocate(store, 0, 8 * Q, false);
}

static int64_t allocate_far_away(struct store *store)
{
    return store_allocate(store, FAR - 2 * Q, 4 * Q, false);
}

static int64_t trim_to_other_regions(struct store *store)
{
    return store_trim(store, 3 * Q, 4);
}

static void writes_fail_whole(void **state)
{
    (void)state;
    walk(write_into_a_hole, 3, -ENOSPC, 1);
    walk(write_far_away, 3, -ENOSPC, 4);
}

static void allocations_fail_whole(void **state)
{
    (void)state;
    walk(allocate_some, 0, -ENOSPC, 5);
    walk(allocate_far_away, 0, -ENOSPC, 8);
}

static void a_trim_that_fails_leaves_the_old_store(void **state)
{
    (void)state;
    walk(trim_to_other_regions, 0, -ENOMEM, 1);
}

/* Emptying and cutting must not depend on memory. */
static void what_gives_memory_back_needs_none(void **state)
{
    (void)state;
    for (unsigned operation = 0; operation < 4; operation++) {
        struct store *store = prepare();
        struct read_plan plan;
        fault_arm(1);
        assert_int_equal(store_plan_read(store, 0, 6 * Q, 0, &plan), 0);
        store_end_read(&plan);
        switch (operation) {
        case 0:
            assert_int_equal(store_trim(store, Q, 1), 0);
            break;
        case 1:
            assert_int_equal(store_resize(store, Q + 1), 0);
            break;
        case 2:
            assert_int_equal(store_resize(store, 0), 0);
            break;
        default:
            assert_int_equal(store_punch(store, 1, 5 * Q), 0);
        }
        assert_false(fault_fired());
        fault_arm(0);
        finish(store);
    }
}

static void adoption_without_memory_keeps_the_spares(void **state)
{
    (void)state;
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct store *store = prepare();
        struct state before = snapshot(store);
        struct spares spares = {.count = 0};
        store_fill_spares(store, &spares, 2 * Q);
        assert_int_equal(spares.count, 2);
        struct iovec src[2];
        for (unsigned i = 0; i < 2; i++) {
            src[i] = (struct iovec){arena_address(spares.arena, spares.region[i]), Q};
            fill(src[i].iov_base, Q, 1);
        }
        fault_arm(nth);
        ssize_t done = store_write_from(store, FAR, src, 2 * Q, &spares, 0);
        fired = fault_fired();
        fault_arm(0);
        assert_int_equal(done, fired ? -ENOSPC : (int)(2 * Q));
        assert_int_equal(spares.count, fired ? 2 : 0);
        if (fired) {
            struct state after = snapshot(store);
            assert_memory_equal(&after, &before, sizeof before);
        }
        store_drop_spares(&spares);
        finish(store);
    }
}

static void missing_spares_are_done_without(void **state)
{
    (void)state;
    struct store *store = prepare();
    struct spares spares = {.count = 0};
    fault_arm(3);
    store_fill_spares(store, &spares, 8 * Q);
    assert_true(fault_fired());
    assert_int_equal(spares.count, 2);
    store_fill_spares(store, &spares, 8 * Q);
    assert_int_equal(spares.count, 8);
    store_drop_spares(&spares);
    finish(store);
}

static void a_writer_without_memory_for_a_version_waits_for_readers(void **state)
{
    (void)state;
    struct store *store = prepare();
    struct read_plan plan;
    assert_int_equal(store_plan_read(store, 0, Q, 0, &plan), 0);
    fault_arm(1);
    assert_int_equal(store_write(store, 1, "abc", 3), 3); /* the second try has memory */
    assert_true(fault_fired());
    assert_int_equal(((uint8_t *)plan.iov[0].iov_base)[1], pattern(1, 1));
    store_end_read(&plan);
    finish(store);
}

static void making_fails_with_enomem(void **state)
{
    (void)state;
    fault_arm(1);
    assert_null(budget_new(MIB));
    budget = budget_new(64 * MIB);
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        errno = 0;
        fault_arm(nth);
        struct store *store = store_new(budget, Q, 1);
        fired = fault_fired();
        fault_arm(0);
        if (store)
            store_free(store);
        else
            assert_int_equal(errno, ENOMEM);
        assert_true(store || fired);
    }
    budget_free(budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_fail_whole),
        cmocka_unit_test(allocations_fail_whole),
        cmocka_unit_test(a_trim_that_fails_leaves_the_old_store),
        cmocka_unit_test(what_gives_memory_back_needs_none),
        cmocka_unit_test(adoption_without_memory_keeps_the_spares),
        cmocka_unit_test(missing_spares_are_done_without),
        cmocka_unit_test(a_writer_without_memory_for_a_version_waits_for_readers),
        cmocka_unit_test(making_fails_with_enomem),
    };
    return RUN_ALL(tests);
}
