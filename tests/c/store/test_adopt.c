#include "helper.h"

#include "store/store.h"

#define Q 4096u

struct fixture {
    struct budget *budget;
    struct store *store;
    struct spares spares;
    struct iovec src[SPARES_MAX + 1];
    uint8_t body[8 * Q];
};

static struct fixture make(uint64_t max_bytes, uint64_t quantum)
{
    struct fixture f = {.budget = budget_new(max_bytes)};
    f.store = store_new(f.budget, quantum, 1);
    return f;
}

static void unmake(struct fixture *f)
{
    store_drop_spares(&f->spares);
    store_free(f->store);
    assert_int_equal(budget_used(f->budget), 0);
    budget_free(f->budget);
}

/* Lays spares out for `bytes`, as if `seed`'s pattern had been received into them. */
static void receive(struct fixture *f, size_t bytes, uint64_t seed)
{
    unsigned n = 0;
    uint8_t *data = filled(bytes + sizeof f->body, seed);
    store_fill_spares(f->store, &f->spares, bytes);
    size_t at = 0;
    for (; n < f->spares.count; n++) {
        size_t size = arena_region_bytes(f->spares.arena);
        f->src[n] = (struct iovec){arena_address(f->spares.arena, f->spares.region[n]), size};
        memcpy(f->src[n].iov_base, data + at, size);
        at += size;
    }
    memcpy(f->body, data + at, sizeof f->body);
    f->src[n] = (struct iovec){f->body, sizeof f->body};
    free(data);
}

static void expect(struct fixture *f, uint64_t pos, size_t n, uint64_t seed)
{
    uint8_t *data = filled(n, seed), *seen = malloc(n);
    assert_int_equal(store_read(f->store, pos, seen, n), n);
    assert_memory_equal(seen, data, n);
    free(data);
    free(seen);
}

/* Where quantum `number` lies. */
static const void *place(struct fixture *f, uint64_t number)
{
    struct read_plan plan;
    assert_int_equal(store_plan_read(f->store, number * Q, 1, 0, &plan), 0);
    assert_int_equal(plan.spans, 1);
    const void *at = plan.iov[0].iov_base;
    store_end_read(&plan);
    return at;
}

static void whole_aligned_quanta_are_adopted_and_the_tail_copied(void **state)
{
    (void)state;
    struct fixture f = make(MIB, Q);
    receive(&f, 4 * Q, 1);
    assert_int_equal(f.spares.count, 4);
    assert_int_equal(budget_used(f.budget), 0);
    const void *spare[4];
    for (unsigned i = 0; i < 4; i++)
        spare[i] = f.src[i].iov_base;
    assert_int_equal(store_write_from(f.store, 5 * Q, f.src, 3 * Q + 10, &f.spares, 0), 3 * Q + 10);
    for (unsigned i = 0; i < 3; i++)
        assert_ptr_equal(place(&f, 5 + i), spare[i]);
    assert_ptr_not_equal(place(&f, 8), spare[3]);
    assert_int_equal(f.spares.count, 1); /* the one not used */
    assert_ptr_equal(arena_address(f.spares.arena, f.spares.region[0]), spare[3]);
    expect(&f, 5 * Q, 3 * Q + 10, 1);
    assert_int_equal(info_of(f.store).size, 8 * Q + 10);
    assert_int_equal(budget_used(f.budget), 4 * Q);
    unmake(&f);
}

static void entries_past_the_spares_are_copied(void **state)
{
    (void)state;
    struct fixture f = make(MIB, Q);
    receive(&f, 2 * Q, 3);
    assert_int_equal(store_write_from(f.store, 0, f.src, 6 * Q + 1, &f.spares, 0), 6 * Q + 1);
    expect(&f, 0, 6 * Q + 1, 3);
    unmake(&f);
}

static void unaligned_writes_are_copied(void **state)
{
    (void)state;
    struct fixture f = make(MIB, Q);
    receive(&f, 4 * Q, 1);
    assert_int_equal(store_write_from(f.store, 7, f.src, 4 * Q, &f.spares, 0), 4 * Q);
    assert_int_equal(f.spares.count, 4);
    expect(&f, 7, 4 * Q, 1);
    unmake(&f);
}

static void what_is_replaced_takes_the_spares_place(void **state)
{
    (void)state;
    struct fixture f = make(2 * Q, Q); /* at the limit: no memory is needed */
    receive(&f, 2 * Q, 1);
    assert_int_equal(store_write_from(f.store, 0, f.src, 2 * Q, &f.spares, 0), 2 * Q);
    const void *first = place(&f, 0);
    for (unsigned turn = 2; turn < 6; turn++) {
        receive(&f, 2 * Q, turn);
        assert_int_equal(f.spares.count, 2);
        assert_int_equal(store_write_from(f.store, 0, f.src, 2 * Q, &f.spares, 0), 2 * Q);
        assert_int_equal(f.spares.count, 2);
        assert_int_equal(budget_used(f.budget), 2 * Q);
        expect(&f, 0, 2 * Q, turn);
        if (turn % 2 == 0)
            assert_ptr_equal(arena_address(f.spares.arena, f.spares.region[0]), first);
        else
            assert_ptr_equal(place(&f, 0), first);
    }
    unmake(&f);
}

static void what_is_replaced_stays_with_its_readers(void **state)
{
    (void)state;
    struct fixture f = make(2 * Q, Q);
    struct read_plan plan;
    receive(&f, 2 * Q, 1);
    assert_int_equal(store_write_from(f.store, 0, f.src, 2 * Q, &f.spares, 0), 2 * Q);
    assert_int_equal(store_plan_read(f.store, 0, Q, 0, &plan), 0);
    receive(&f, 2 * Q, 2);
    assert_int_equal(store_write_from(f.store, 0, f.src, 2 * Q, &f.spares, 0), 2 * Q);
    assert_int_equal(f.spares.count, 1);
    assert_int_equal(budget_used(f.budget), 2 * Q);
    uint8_t *old = filled(Q, 1);
    receive(&f, 2 * Q, 3); /* the next fill replaces it by another */
    assert_int_equal(f.spares.count, 2);
    assert_memory_equal(plan.iov[0].iov_base, old, Q);
    expect(&f, 0, 2 * Q, 2);
    store_end_read(&plan);
    free(old);
    unmake(&f);
}

static void the_limit_ends_adoption_short(void **state)
{
    (void)state;
    struct fixture f = make(2 * Q, Q);
    receive(&f, 4 * Q, 1);
    assert_int_equal(store_write_from(f.store, 0, f.src, 4 * Q, &f.spares, 0), 2 * Q);
    assert_int_equal(f.spares.count, 2);
    receive(&f, 2 * Q, 2);
    assert_int_equal(store_write_from(f.store, 2 * Q, f.src, 2 * Q, &f.spares, 0), -ENOSPC);
    assert_int_equal(f.spares.count, 2);
    expect(&f, 0, 2 * Q, 1);
    unmake(&f);
}

static void spares_of_another_geometry_are_copied(void **state)
{
    (void)state;
    const uint64_t quanta[] = {Q - 96, 2 * Q, 1}; /* the first keeps the arena */
    for (unsigned i = 0; i < 3; i++) {
        struct fixture f = make(64 * MIB, Q);
        receive(&f, 4 * Q, 1);
        assert_int_equal(store_trim(f.store, quanta[i], 1), 0);
        assert_int_equal(store_write_from(f.store, 0, f.src, 4 * Q, &f.spares, 0), 4 * Q);
        assert_int_equal(f.spares.count, 4);
        expect(&f, 0, 4 * Q, 1);
        store_fill_spares(f.store, &f.spares, 4 * Q);
        assert_int_equal(f.spares.count, i == 1 ? 2 : 0);
        assert_int_equal(f.spares.arena != NULL, i == 1);
        unmake(&f);
    }
}

static void a_trim_between_receipt_and_write_does_no_harm(void **state)
{
    (void)state;
    struct fixture f = make(MIB, Q);
    receive(&f, 4 * Q, 1);
    assert_int_equal(store_trim(f.store, Q, 1), 0);
    assert_int_equal(store_write_from(f.store, 0, f.src, 4 * Q, &f.spares, 0), 4 * Q);
    assert_int_equal(f.spares.count, 0); /* the same arena: adopted */
    expect(&f, 0, 4 * Q, 1);
    unmake(&f);
}

static void spares_fit_what_is_asked(void **state)
{
    (void)state;
    struct fixture f = make(64 * MIB, Q);
    const struct {
        uint64_t quantum;
        size_t bytes;
        unsigned count;
    } cases[] = {
        {Q, 32 * Q, 32}, {Q, 32 * Q, 32},    {Q, 31 * Q + 1, 31},          {Q, Q - 1, 0},
        {Q, Q, 1},       {Q, 1000 * Q, 64},  {16 * Q, 32 * Q, 2},          {64 * Q, 32 * Q, 0},
        {4000, 32 * Q, 0}, {1, 32 * Q, 0},   {3 * Q, 32 * Q, 10},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (info_of(f.store).quantum != cases[i].quantum)
            assert_int_equal(store_trim(f.store, cases[i].quantum, 1), 0);
        store_fill_spares(f.store, &f.spares, cases[i].bytes);
        assert_int_equal(f.spares.count, cases[i].count);
        bool adopts = store_adopts(f.store, 5 * cases[i].quantum, cases[i].bytes);
        assert_int_equal(adopts, cases[i].count > 0);
        assert_false(store_adopts(f.store, 5 * Q + 1, cases[i].bytes));
    }
    unmake(&f);
}

static void the_books_rules_adopt_one_quantum(void **state)
{
    (void)state;
    struct fixture f = make(MIB, Q);
    receive(&f, 2 * Q, 1);
    const void *spare = f.src[0].iov_base;
    assert_int_equal(store_write_from(f.store, 0, f.src, 2 * Q, &f.spares, STORE_LDD3), Q);
    assert_ptr_equal(place(&f, 0), spare);
    assert_int_equal(f.spares.count, 1);
    unmake(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_aligned_quanta_are_adopted_and_the_tail_copied),
        cmocka_unit_test(entries_past_the_spares_are_copied),
        cmocka_unit_test(unaligned_writes_are_copied),
        cmocka_unit_test(what_is_replaced_takes_the_spares_place),
        cmocka_unit_test(what_is_replaced_stays_with_its_readers),
        cmocka_unit_test(the_limit_ends_adoption_short),
        cmocka_unit_test(spares_of_another_geometry_are_copied),
        cmocka_unit_test(a_trim_between_receipt_and_write_does_no_harm),
        cmocka_unit_test(spares_fit_what_is_asked),
        cmocka_unit_test(the_books_rules_adopt_one_quantum),
    };
    return RUN_ALL(tests);
}
