#include "helper.h"

#include "store/store.h"

#define Q 4096u

/* A store whose first `n` bytes are the pattern 1. */
static struct store *written(uint64_t quantum, size_t n)
{
    struct store *store = store_with(MIB, quantum);
    uint8_t *data = filled(n, 1);
    assert_int_equal(store_write(store, 0, data, n), n);
    free(data);
    return store;
}

/* The store is `n` bytes of pattern 1, but for [from, end), which are zeros. */
static void expect(struct store *store, size_t n, size_t from, size_t end)
{
    uint8_t *data = filled(n, 1), *seen = malloc(n + 1);
    memset(data + from, 0, end - from);
    assert_int_equal(store_read(store, 0, seen, n + 1), n);
    assert_memory_equal(seen, data, n);
    free(data);
    free(seen);
}

static void a_punch_frees_quanta_and_clears_the_ends(void **state)
{
    (void)state;
    const struct {
        size_t from, end, regions;
    } cases[] = {
        {0, 0, 10},        {10, 20, 10},         {0, Q, 9},          {Q, 3 * Q, 8},
        {1, 3 * Q, 8},     {Q, 3 * Q + 1, 8},    {Q - 1, Q + 1, 10}, {100, 5 * Q + 7, 6},
        {0, 10 * Q, 0},    {Q + 1, 2 * Q - 1, 10},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store *store = written(Q, 10 * Q);
        assert_int_equal(store_punch(store, cases[i].from, cases[i].end - cases[i].from), 0);
        assert_int_equal(store_count_quanta(store), cases[i].regions);
        assert_int_equal(info_of(store).size, 10 * Q);
        expect(store, 10 * Q, cases[i].from, cases[i].end);
        store_free(store);
    }
}

static void a_punch_that_reaches_the_size_frees_the_last_quantum(void **state)
{
    (void)state;
    struct store *store = written(Q, 3 * Q + 5);
    assert_int_equal(store_punch(store, 2 * Q, Q + 4), 0);
    assert_int_equal(store_count_quanta(store), 3);
    assert_int_equal(store_punch(store, 2 * Q, Q + 5), 0);
    assert_int_equal(store_count_quanta(store), 2);
    assert_int_equal(info_of(store).size, 3 * Q + 5);
    expect(store, 3 * Q + 5, 2 * Q, 3 * Q + 5);
    assert_int_equal(store_punch(store, 10, UINT64_MAX), 0);
    assert_int_equal(store_count_quanta(store), 1);
    expect(store, 3 * Q + 5, 10, 3 * Q + 5);
    assert_int_equal(store_punch(store, UINT64_MAX, UINT64_MAX), 0);
    store_free(store);
}

static void what_was_cut_off_reads_as_zeros_when_the_size_grows(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, Q - 1, Q, Q + 1, 5 * Q - 1, 10 * Q};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct store *store = written(Q, 10 * Q);
        assert_int_equal(store_resize(store, sizes[i]), 0);
        assert_int_equal(info_of(store).size, sizes[i]);
        assert_int_equal(store_count_quanta(store), (sizes[i] + Q - 1) / Q);
        assert_int_equal(store_resize(store, 10 * Q), 0);
        expect(store, 10 * Q, sizes[i], 10 * Q);
        store_free(store);
    }
}

static void growing_needs_no_memory(void **state)
{
    (void)state;
    struct store *store = written(Q, 10);
    assert_int_equal(store_resize(store, INT64_MAX), 0);
    assert_int_equal(info_of(store).size, INT64_MAX);
    assert_int_equal(store_count_quanta(store), 1);
    assert_int_equal(store_resize(store, (uint64_t)INT64_MAX + 1), -EFBIG);
    assert_int_equal(store_resize(store, 10), 0);
    expect(store, 10, 0, 0);
    store_free(store);
}

static void readers_keep_what_is_punched_or_cut(void **state)
{
    (void)state;
    for (unsigned cut = 0; cut < 2; cut++) {
        struct store *store = written(Q, 3 * Q);
        uint8_t *data = filled(3 * Q, 1);
        struct read_plan plan;
        assert_int_equal(store_plan_read(store, 0, 3 * Q, 0, &plan), 0);
        if (cut)
            assert_int_equal(store_resize(store, Q / 2), 0);
        else
            assert_int_equal(store_punch(store, Q / 2, 3 * Q), 0);
        assert_int_equal(store_count_quanta(store), 1);
        assert_memory_equal(plan.iov[0].iov_base, data, 3 * Q);
        store_end_read(&plan);
        assert_int_equal(store_resize(store, 3 * Q), 0);
        expect(store, 3 * Q, Q / 2, 3 * Q);
        free(data);
        store_free(store);
    }
}

static void allocated_quanta_read_as_zeros_and_hold_writes(void **state)
{
    (void)state;
    struct budget *budget = budget_new(4 * Q);
    struct store *store = store_new(budget, Q, 1);
    uint8_t *data = filled(4 * Q, 1), *seen = malloc(4 * Q);
    assert_int_equal(store_write(store, 0, data, 4 * Q), 4 * Q);
    assert_int_equal(store_trim(store, Q, 1), 0); /* leaves regions with old bytes to recycle */
    assert_int_equal(store_allocate(store, Q - 1, 2, true), 0);
    assert_int_equal(store_count_quanta(store), 2);
    assert_int_equal(info_of(store).size, 0);
    assert_int_equal(store_allocate(store, 0, 4 * Q, false), 0);
    assert_int_equal(info_of(store).size, 4 * Q);
    assert_int_equal(budget_used(budget), 4 * Q);
    assert_int_equal(store_read(store, 0, seen, 4 * Q), 4 * Q);
    assert_all(seen, 4 * Q, 0);
    assert_int_equal(store_write(store, Q, data, Q), Q);
    assert_int_equal(store_allocate(store, 0, 4 * Q, false), 0); /* again: nothing to do */
    assert_int_equal(store_read(store, Q, seen, Q), Q);
    assert_memory_equal(seen, data, Q);
    free(data);
    free(seen);
    store_free(store);
    budget_free(budget);
}

static void an_allocation_that_fails_changes_nothing(void **state)
{
    (void)state;
    struct store *store = written(Q, 5 * Q); /* of 256 */
    assert_int_equal(store_punch(store, Q, Q), 0);
    struct store_info before = info_of(store);
    const struct {
        uint64_t offset, length;
        int error;
    } cases[] = {
        {0, 257 * Q, -ENOSPC},
        {Q, 256 * Q, -ENOSPC},          /* four are there, but not all the others fit */
        {100 * Q, 253 * Q, -ENOSPC},    /* more than is left */
        {0, INT64_MAX, -ENOSPC},
        {INT64_MAX, 1, -EFBIG},
        {1, INT64_MAX, -EFBIG},
        {UINT64_MAX, UINT64_MAX, -EFBIG},
        {500 * Q, 0, 0},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(store_allocate(store, cases[i].offset, cases[i].length, false),
                         cases[i].error);
        struct store_info after = info_of(store);
        assert_memory_equal(&after, &before, sizeof before);
    }
    expect(store, 5 * Q, Q, 2 * Q);
    store_free(store);
}

static void resizing_frees_what_was_allocated_past_the_size(void **state)
{
    (void)state;
    struct store *store = written(Q, 10);
    assert_int_equal(store_allocate(store, 0, 8 * Q, true), 0);
    assert_int_equal(store_count_quanta(store), 8);
    assert_int_equal(info_of(store).size, 10);
    assert_int_equal(store_resize(store, 9), 0);
    assert_int_equal(store_count_quanta(store), 1);
    store_free(store);
}

static void data_and_holes_are_found(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, Q);
    assert_int_equal(store_seek_extent(store, 0, false), -ENXIO);
    assert_int_equal(store_seek_extent(store, 0, true), -ENXIO);
    assert_int_equal(store_write(store, 2 * Q + 10, "a", 1), 1);
    assert_int_equal(store_write(store, 3 * Q, "b", 1), 1);
    assert_int_equal(store_write(store, 6 * Q, "c", 1), 1);
    const struct {
        uint64_t from;
        int64_t data, hole;
    } cases[] = {
        {0, 2 * Q, 0},
        {2 * Q - 1, 2 * Q, 2 * Q - 1},
        {2 * Q, 2 * Q, 4 * Q},
        {2 * Q + 5, 2 * Q + 5, 4 * Q},
        {3 * Q + 1, 3 * Q + 1, 4 * Q},
        {4 * Q + 1, 6 * Q, 4 * Q + 1},
        {6 * Q, 6 * Q, 6 * Q + 1}, /* a hole nobody made, at the end */
        {6 * Q + 1, -ENXIO, -ENXIO},
        {UINT64_MAX, -ENXIO, -ENXIO},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(store_seek_extent(store, cases[i].from, false), cases[i].data);
        assert_int_equal(store_seek_extent(store, cases[i].from, true), cases[i].hole);
    }
    assert_int_equal(store_resize(store, 8 * Q), 0);
    assert_int_equal(store_seek_extent(store, 7 * Q, false), -ENXIO);
    assert_int_equal(store_seek_extent(store, 6 * Q, true), 7 * Q);
    assert_int_equal(store_allocate(store, 20 * Q, Q, true), 0); /* past the size: no data */
    assert_int_equal(store_seek_extent(store, 7 * Q, false), -ENXIO);
    store_free(store);
}

static void quanta_are_listed_in_order(void **state)
{
    (void)state;
    struct store *store = store_with(MIB, Q);
    const uint64_t numbers[] = {3, 0, UINT64_C(1) << 40};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(store_write(store, numbers[i] * Q, "x", 1), 1);
    uint64_t number, offset;
    assert_int_equal(store_next_quantum(store, 0, &number, &offset), 1);
    assert_int_equal(number, 0);
    assert_int_equal(offset, Q); /* the second region */
    assert_int_equal(store_next_quantum(store, 1, &number, &offset), 1);
    assert_int_equal(number, 3);
    assert_int_equal(offset, 0);
    assert_int_equal(store_next_quantum(store, 4, &number, &offset), 1);
    assert_int_equal(number, UINT64_C(1) << 40);
    assert_int_equal(store_next_quantum(store, number + 1, &number, &offset), 0);
    store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_punch_frees_quanta_and_clears_the_ends),
        cmocka_unit_test(a_punch_that_reaches_the_size_frees_the_last_quantum),
        cmocka_unit_test(what_was_cut_off_reads_as_zeros_when_the_size_grows),
        cmocka_unit_test(growing_needs_no_memory),
        cmocka_unit_test(readers_keep_what_is_punched_or_cut),
        cmocka_unit_test(allocated_quanta_read_as_zeros_and_hold_writes),
        cmocka_unit_test(an_allocation_that_fails_changes_nothing),
        cmocka_unit_test(resizing_frees_what_was_allocated_past_the_size),
        cmocka_unit_test(data_and_holes_are_found),
        cmocka_unit_test(quanta_are_listed_in_order),
    };
    return RUN_ALL(tests);
}
