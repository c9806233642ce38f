#include "helper.h"

#include "store/store.h"

#define Q 4096u

static ssize_t put(struct store *store, uint64_t pos, const void *data, size_t len, unsigned flags)
{
    struct iovec src = {(void *)(uintptr_t)data, len};
    return store_write_from(store, pos, &src, len, NULL, flags);
}

static void expect(struct store *store, uint64_t pos, const uint8_t *data, size_t n)
{
    uint8_t *seen = malloc(n + 1);
    assert_int_equal(store_read(store, pos, seen, n), n);
    assert_memory_equal(seen, data, n);
    free(seen);
}

static void what_was_written_is_read_at_any_quantum(void **state)
{
    (void)state;
    const uint64_t quanta[] = {1, 7, 4000, 4096, 65536, 100001};
    const size_t n = 30000;
    uint8_t *data = filled(n, 9);
    for (unsigned i = 0; i < sizeof quanta / sizeof *quanta; i++) {
        struct store *store = store_with(256 * MIB, quanta[i]);
        for (size_t at = 0, step = 1; at < n; at += step, step = step * 3 % 8191) {
            size_t len = step < n - at ? step : n - at;
            assert_int_equal(store_write(store, at, data + at, len), len);
            assert_int_equal(info_of(store).size, at + len);
        }
        expect(store, 0, data, n);
        expect(store, 1234, data + 1234, 20001);
        assert_int_equal(store_count_quanta(store), (n + quanta[i] - 1) / quanta[i]);
        store_free(store);
    }
    free(data);
}

static void the_source_may_come_in_pieces(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, Q);
    uint8_t *data = filled(3 * Q, 2);
    struct iovec src[] = {{data, 10}, {data + 10, 0}, {data + 10, 2 * Q}, {data + 10 + 2 * Q, Q}};
    assert_int_equal(store_write_from(store, 100, src, 3 * Q, NULL, 0), 3 * Q);
    expect(store, 100, data, 3 * Q);
    free(data);
    store_free(store);
}

static void holes_read_as_zeros_and_cost_nothing(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, Q);
    struct read_plan plan;
    uint8_t one = 1, *seen = malloc(300 * KIB);
    assert_int_equal(store_write(store, 300 * KIB - 1, &one, 1), 1);
    assert_int_equal(store_read(store, 0, seen, 300 * KIB), 300 * KIB);
    assert_all(seen, 300 * KIB - 1, 0);
    assert_int_equal(seen[300 * KIB - 1], 1);
    assert_int_equal(store_count_quanta(store), 1);
    assert_int_equal(store_plan_read(store, 1, 200 * KIB, 0, &plan), 0);
    assert_int_equal(plan.bytes, 200 * KIB);
    assert_int_equal(plan.spans, 4); /* 64 KiB of zeros, again and again */
    assert_null(plan.end);
    store_end_read(&plan);
    free(seen);
    store_free(store);
}

static void a_recycled_region_shows_nothing_old(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, 65536);
    uint8_t *old = filled(MIB, 5), *seen = malloc(65536);
    for (unsigned turn = 0; turn < 3; turn++) {
        assert_int_equal(store_write(store, 0, old, MIB), MIB);
        assert_int_equal(store_trim(store, 65536, 1), 0);
        assert_int_equal(store_write(store, 65536 + 1000, "abc", 3), 3);
        assert_int_equal(store_resize(store, 2 * 65536), 0);
        assert_int_equal(store_read(store, 65536, seen, 65536), 65536);
        assert_all(seen, 1000, 0);
        assert_memory_equal(seen + 1000, "abc", 3);
        assert_all(seen + 1003, 65536 - 1003, 0);
    }
    free(old);
    free(seen);
    store_free(store);
}

static void a_read_ends_at_the_size(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, Q);
    struct read_plan plan;
    uint8_t seen[10];
    assert_int_equal(store_read(store, 0, seen, 10), 0);
    assert_int_equal(store_write(store, 0, "hello", 5), 5);
    assert_int_equal(store_read(store, 3, seen, 10), 2);
    assert_int_equal(store_read(store, 5, seen, 10), 0);
    assert_int_equal(store_read(store, UINT64_MAX, seen, 10), 0);
    assert_int_equal(store_plan_read(store, 6, 10, 0, &plan), 0);
    assert_int_equal(plan.bytes, 0);
    assert_null(plan.end);
    store_end_read(&plan);
    assert_int_equal(store_write(store, 9, seen, 0), 0);
    assert_int_equal(info_of(store).size, 5);
    store_free(store);
}

static void positions_end_at_the_largest_offset(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, Q);
    const uint64_t end = INT64_MAX;
    uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8}, seen[8];
    assert_int_equal(store_write(store, end, data, 1), -EFBIG);
    assert_int_equal(store_write(store, end + 1, data, 1), -EFBIG);
    assert_int_equal(store_write(store, UINT64_MAX, data, 8), -EFBIG);
    assert_int_equal(store_write(store, end - 3, data, 8), 3);
    assert_int_equal(info_of(store).size, end);
    assert_int_equal(store_read(store, end - 3, seen, 8), 3);
    assert_memory_equal(seen, data, 3);
    store_free(store);
}

static void the_limit_ends_a_write_short_then_refuses(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags <= STORE_LDD3; flags++) {
        struct store *store = store_with(3 * Q + 100, Q);
        uint8_t *data = filled(5 * Q, 1);
        assert_int_equal(put(store, Q - 1, data, 5 * Q, 0), 2 * Q + 1);
        assert_int_equal(info_of(store).size, 3 * Q);
        assert_int_equal(put(store, 3 * Q, data, 1, flags), flags ? -ENOMEM : -ENOSPC);
        assert_int_equal(info_of(store).size, 3 * Q);
        assert_int_equal(put(store, 0, data, Q, flags), Q); /* what is there can be overwritten */
        store_free(store);
        free(data);
    }
}

static void the_books_rules_end_transfers_at_the_quantum(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, 4000);
    struct read_plan plan;
    uint8_t *data = filled(9000, 1);
    assert_int_equal(put(store, 3000, data, 9000, STORE_LDD3), 1000);
    assert_int_equal(info_of(store).size, 4000);
    assert_int_equal(put(store, 4000, data, 9000, STORE_LDD3), 4000);
    assert_int_equal(put(store, 12000, data, 1, STORE_LDD3), 1);
    assert_int_equal(store_plan_read(store, 3500, 9000, STORE_LDD3, &plan), 0);
    assert_int_equal(plan.bytes, 500);
    assert_memory_equal(plan.iov[0].iov_base, data + 500, 500);
    store_end_read(&plan);
    assert_int_equal(store_plan_read(store, 8000, 10, STORE_LDD3, &plan), 0);
    assert_int_equal(plan.bytes, 0); /* a hole */
    store_end_read(&plan);
    assert_int_equal(store_plan_read(store, 12000, 10, STORE_LDD3, &plan), 0);
    assert_int_equal(plan.bytes, 1);
    store_end_read(&plan);
    free(data);
    store_free(store);
}

static void a_plan_joins_neighbours_and_is_never_too_long(void **state)
{
    (void)state;
    struct store *store = store_with(4 * MIB, Q);
    uint8_t *data = filled(MIB, 1), *seen = malloc(MIB);
    struct read_plan plan;
    assert_int_equal(store_write(store, 0, data, MIB), MIB);
    assert_int_equal(store_plan_read(store, 100, 32 * Q, 0, &plan), 0);
    assert_int_equal(plan.bytes, 32 * Q);
    assert_int_equal(plan.pins, 33);
    assert_int_equal(plan.spans, 1);
    assert_memory_equal(plan.iov[0].iov_base, data + 100, 32 * Q);
    store_end_read(&plan);
    store_end_read(&plan); /* nothing is left to end */
    assert_int_equal(store_plan_read(store, 0, 64 * Q, 0, &plan), 0);
    store_end_read(&plan);
    assert_int_equal(store_plan_read(store, 0, 64 * Q + 1, 0, &plan), -E2BIG);
    assert_null(plan.end);
    assert_int_equal(store_read(store, 0, seen, MIB), MIB);
    assert_memory_equal(seen, data, MIB);
    free(data);
    free(seen);
    store_free(store);
}

static void a_plan_keeps_its_version_when_quanta_are_written(void **state)
{
    (void)state;
    struct budget *budget = budget_new(2 * Q); /* versions are not charged twice */
    struct store *store = store_new(budget, Q, 1);
    uint8_t *one = filled(2 * Q, 1), *two = filled(2 * Q, 2);
    struct read_plan plan;
    assert_int_equal(store_write(store, 0, one, 2 * Q), 2 * Q);
    assert_int_equal(store_plan_read(store, 0, 2 * Q, 0, &plan), 0);
    assert_int_equal(store_write(store, 0, two, Q), Q);              /* all of a quantum */
    assert_int_equal(store_write(store, Q + 50, two + 50, 100), 100); /* part of one */
    assert_int_equal(plan.bytes, 2 * Q);
    assert_memory_equal(plan.iov[0].iov_base, one, 2 * Q);
    expect(store, 0, two, Q);
    expect(store, Q, one + Q, 50);
    expect(store, Q + 50, two + 50, 100);
    expect(store, Q + 150, one + Q + 150, Q - 150);
    assert_int_equal(store_punch(store, Q, 10), 0);
    store_end_read(&plan);
    assert_int_equal(budget_used(budget), 2 * Q);
    uint8_t zeros[10] = {0};
    expect(store, Q, zeros, 10);
    free(one);
    free(two);
    store_free(store);
    assert_int_equal(budget_used(budget), 0);
    budget_free(budget);
}

static void versions_that_were_left_are_recycled(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, Q);
    uint8_t *data = filled(Q, 1);
    uint64_t number, offset;
    assert_int_equal(store_write(store, 0, data, Q), Q);
    for (unsigned turn = 0; turn < 40; turn++) {
        struct read_plan plan;
        assert_int_equal(store_plan_read(store, 0, Q, 0, &plan), 0);
        size_t len = turn % 2 ? Q : Q - 1; /* all of the quantum, or a part */
        assert_int_equal(store_write(store, 0, data, len), len);
        store_end_read(&plan);
        assert_int_equal(store_next_quantum(store, 0, &number, &offset), 1);
        assert_in_range(offset, 0, Q); /* two regions serve in turn */
    }
    free(data);
    store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_at_any_quantum),
        cmocka_unit_test(the_source_may_come_in_pieces),
        cmocka_unit_test(holes_read_as_zeros_and_cost_nothing),
        cmocka_unit_test(a_recycled_region_shows_nothing_old),
        cmocka_unit_test(a_read_ends_at_the_size),
        cmocka_unit_test(positions_end_at_the_largest_offset),
        cmocka_unit_test(the_limit_ends_a_write_short_then_refuses),
        cmocka_unit_test(the_books_rules_end_transfers_at_the_quantum),
        cmocka_unit_test(a_plan_joins_neighbours_and_is_never_too_long),
        cmocka_unit_test(a_plan_keeps_its_version_when_quanta_are_written),
        cmocka_unit_test(versions_that_were_left_are_recycled),
    };
    return RUN_ALL(tests);
}
