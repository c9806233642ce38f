/* Stores that are files: what a reader is shown, what it costs, and who waits for whom. */
#include "helper.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "store/store.h"
#include "store/stripes.h"

#define Q (64 * KIB)

struct fixture {
    struct budget *budget;
    struct store *store;
    int file; /* the same open file */
};

static struct fixture make(uint64_t max_bytes, uint64_t quantum, bool limited)
{
    struct fixture f = {.budget = budget_new(max_bytes)};
    int fd = memfd_create("linear", MFD_CLOEXEC);
    f.file = dup(fd);
    f.store = store_new_file(f.budget, quantum, 10, fd, 0, 0, limited);
    assert_non_null(f.store);
    return f;
}

static void unmake(struct fixture *f)
{
    store_free(f->store);
    budget_free(f->budget);
    close(f->file);
}

static uint64_t file_bytes(const struct fixture *f)
{
    struct stat st;
    fstat(f->file, &st);
    return (uint64_t)st.st_blocks * 512;
}

static void a_plan_shows_data_where_it_lies_and_holes_as_zeros(void **state)
{
    (void)state;
    struct fixture f = make(MIB, Q, false);
    uint8_t *data = filled(Q, 1), *seen = malloc(5 * Q);
    assert_int_equal(store_write(f.store, Q, data, Q), Q);
    assert_int_equal(store_write(f.store, 4 * Q, data, Q), Q);
    struct read_plan plan;
    assert_int_equal(store_plan_read(f.store, 0, 5 * Q, 0, &plan), 0);
    assert_int_equal(plan.bytes, 5 * Q);
    store_copy_plan(&plan, seen);
    store_end_read(&plan);
    assert_all(seen, Q, 0);
    assert_memory_equal(seen + Q, data, Q);
    assert_all(seen + 2 * Q, 2 * Q, 0);
    assert_memory_equal(seen + 4 * Q, data, Q);
    assert_int_equal(file_bytes(&f), 2 * Q); /* the holes are holes still */
    free(data);
    free(seen);
    unmake(&f);
}

static void small_reads_and_far_ones_are_copied(void **state)
{
    (void)state;
    struct fixture f = make(MIB, Q, false);
    uint8_t seen[2048];
    struct read_plan plan;
    const uint64_t far = UINT64_C(1) << 50;
    assert_int_equal(store_write(f.store, far, "far", 3), 3);
    assert_int_equal(store_plan_read(f.store, far - 2000, 2003, 0, &plan), -E2BIG);
    assert_null(plan.end);
    assert_int_equal(store_read(f.store, far - 2000, seen, 2048), 2003);
    assert_memory_equal(seen + 2000, "far", 3);
    assert_int_equal(store_plan_read(f.store, far, 3, 0, &plan), -E2BIG);
    assert_int_equal(store_plan_read(f.store, far + 3, 4096, 0, &plan), 0);
    assert_int_equal(plan.bytes, 0);
    store_end_read(&plan);
    unmake(&f);
}

static void what_was_data_is_a_hole_after_a_punch(void **state)
{
    (void)state;
    struct fixture f = make(MIB, Q, false);
    uint8_t *data = filled(8 * Q, 1), *seen = malloc(8 * Q);
    store_write(f.store, 0, data, 8 * Q);
    assert_int_equal(store_read(f.store, 0, seen, 8 * Q), 8 * Q);
    struct read_plan plan;
    assert_int_equal(store_plan_read(f.store, 0, 8 * Q, 0, &plan), 0);
    assert_int_equal(plan.spans, 1); /* and is known to be data from here on */
    store_end_read(&plan);
    assert_int_equal(store_punch(f.store, 2 * Q, 3 * Q), 0);
    assert_int_equal(store_plan_read(f.store, 0, 8 * Q, 0, &plan), 0);
    store_copy_plan(&plan, seen);
    store_end_read(&plan);
    assert_memory_equal(seen, data, 2 * Q);
    assert_all(seen + 2 * Q, 3 * Q, 0);
    assert_memory_equal(seen + 5 * Q, data + 5 * Q, 3 * Q);
    assert_int_equal(file_bytes(&f), 5 * Q);
    free(data);
    free(seen);
    unmake(&f);
}

static void quanta_that_share_pages_are_told_apart(void **state)
{
    (void)state;
    struct fixture f = make(MIB, 1000, false);
    const uint8_t zeros[1000] = {0};
    uint64_t number, offset;
    assert_int_equal(store_write(f.store, 2000, zeros, 1000), 1000);
    assert_int_equal(store_count_quanta(f.store), 1);
    assert_int_equal(store_next_quantum(f.store, 0, &number, &offset), 1);
    assert_int_equal(number, 2);
    /* One that came by another way has only its bytes to speak for it. */
    assert_int_equal(pwrite(f.file, "x", 1, 500), 1);
    assert_int_equal(pwrite(f.file, "\0", 1, 5500), 1);
    assert_int_equal(store_count_quanta(f.store), 2);
    struct read_plan plan;
    assert_int_equal(store_plan_read(f.store, 1000, 4096, STORE_LDD3, &plan), 0);
    assert_int_equal(plan.bytes, 0); /* quantum 1 is a hole, which ends a read by the book */
    store_end_read(&plan);
    unmake(&f);
}

static void the_limit_holds_to_the_page(void **state)
{
    (void)state;
    struct fixture f = make(3 * 4096 + 1000, 4096, true);
    uint8_t *data = filled(MIB, 1);
    assert_int_equal(store_write(f.store, 5000, data, MIB), 3 * 4096 - (5000 - 4096));
    assert_int_equal(store_write(f.store, 20480, data, 1), -ENOSPC);
    assert_int_equal(store_write_from(f.store, 20480, &(struct iovec){data, 1}, 1, NULL,
                                      STORE_LDD3), -ENOMEM);
    assert_int_equal(store_allocate(f.store, 0, 4096, false), -ENOSPC);
    assert_int_equal(budget_used(f.budget), 3 * 4096);
    assert_int_equal(store_write(f.store, 5000, data, 1000), 1000); /* over what is there */
    assert_int_equal(store_punch(f.store, 4096, 4096), 0);
    assert_int_equal(store_allocate(f.store, 0, 4096, false), 0);
    assert_int_equal(store_write(f.store, 0, data, 4096), 4096);
    assert_int_equal(budget_used(f.budget), 3 * 4096);
    assert_int_equal(store_trim(f.store, 8192, 1), 0);
    assert_int_equal(budget_used(f.budget), 0);
    free(data);
    unmake(&f);
}

static void a_fixed_store_neither_grows_nor_goes(void **state)
{
    (void)state;
    struct budget *budget = budget_new(MIB);
    int fd = memfd_create("fixed", MFD_CLOEXEC), file = dup(fd);
    char seen[16];
    assert_int_equal(pwrite(fd, "0123456789", 10, 0), 10);
    struct store *store = store_new_file(budget, 4, 10, fd, 2, 6, false);
    assert_int_equal(store_read(store, 0, seen, 16), 6);
    assert_memory_equal(seen, "234567", 6);
    assert_int_equal(store_write(store, 4, "abcdef", 6), 2);
    assert_int_equal(store_write(store, 6, "x", 1), -ENOSPC);
    assert_int_equal(store_resize(store, 3), -EPERM);
    assert_int_equal(store_resize(store, 6), 0);
    assert_int_equal(store_allocate(store, 0, 7, false), -ENOSPC);
    assert_int_equal(store_trim(store, 8, 1), 0);
    assert_int_equal(store_file(store), -1);
    assert_int_equal(store_punch(store, 0, 100), 0);
    store_free(store);
    assert_int_equal(pread(file, seen, 16, 0), 10);
    assert_memory_equal(seen, "01\0\0\0\0\0\0" "89", 10);
    close(file);
    budget_free(budget);
}

/* --- at the same time ---------------------------------------------------------------------------- */

struct racer {
    struct store *store;
    uint64_t seed;
    unsigned torn;
};

static void *write_quanta(void *arg)
{
    struct racer *racer = arg;
    uint8_t *data = malloc(3 * Q);
    for (unsigned i = 0; i < 400; i++) {
        memset(data, (int)(next_random(&racer->seed) & 0xff), 3 * Q);
        store_write(racer->store, next_random(&racer->seed) % 5 * Q, data, 3 * Q);
    }
    free(data);
    return NULL;
}

static void *read_quanta(void *arg)
{
    struct racer *racer = arg;
    uint8_t *seen = malloc(8 * Q);
    for (unsigned i = 0; i < 400; i++) {
        struct read_plan plan;
        if (store_plan_read(racer->store, 0, 8 * Q, 0, &plan) != 0)
            continue;
        store_copy_plan(&plan, seen);
        size_t bytes = plan.bytes;
        store_end_read(&plan);
        for (size_t at = 0; at + Q <= bytes; at += Q)
            racer->torn += memcmp(seen + at, seen + at + 1, Q - 1) != 0;
    }
    free(seen);
    return NULL;
}

static void *change(void *arg)
{
    struct racer *racer = arg;
    for (unsigned i = 0; i < 200; i++) {
        store_punch(racer->store, next_random(&racer->seed) % 8 * Q, Q);
        if (i % 50 == 0)
            store_trim(racer->store, Q, 10);
    }
    return NULL;
}

static void a_quantum_is_never_seen_torn(void **state)
{
    (void)state;
    struct fixture f = make(MIB, Q, false);
    void *(*const does[])(void *) = {write_quanta, write_quanta, read_quanta, read_quanta, change};
    struct racer racer[5];
    pthread_t thread[5];
    for (unsigned i = 0; i < 5; i++) {
        racer[i] = (struct racer){.store = f.store, .seed = i + 1};
        pthread_create(&thread[i], NULL, does[i], &racer[i]);
    }
    for (unsigned i = 0; i < 5; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(racer[i].torn, 0);
    }
    unmake(&f);
}

static void ranges_that_share_no_stripe_do_not_wait(void **state)
{
    (void)state;
    struct stripes stripes;
    stripes_init(&stripes);
    stripes_lock(&stripes, 3, 5, true);
    assert_int_equal(pthread_rwlock_tryrdlock(&stripes.lock[6]), 0);
    assert_int_equal(pthread_rwlock_unlock(&stripes.lock[6]), 0);
    assert_int_equal(pthread_rwlock_tryrdlock(&stripes.lock[4]), EBUSY);
    stripes_unlock(&stripes, 3, 5);
    stripes_lock(&stripes, 14, 17, false); /* 14, 15, 0, 1 */
    assert_int_equal(pthread_rwlock_trywrlock(&stripes.lock[1]), EBUSY);
    assert_int_equal(pthread_rwlock_trywrlock(&stripes.lock[2]), 0);
    pthread_rwlock_unlock(&stripes.lock[2]);
    stripes_unlock(&stripes, 14, 17);
    stripes_lock(&stripes, 5, UINT64_MAX, true);
    for (unsigned i = 0; i < STRIPES; i++)
        assert_int_equal(pthread_rwlock_tryrdlock(&stripes.lock[i]), EBUSY);
    stripes_unlock(&stripes, 5, UINT64_MAX);
    stripes_destroy(&stripes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_shows_data_where_it_lies_and_holes_as_zeros),
        cmocka_unit_test(small_reads_and_far_ones_are_copied),
        cmocka_unit_test(what_was_data_is_a_hole_after_a_punch),
        cmocka_unit_test(quanta_that_share_pages_are_told_apart),
        cmocka_unit_test(the_limit_holds_to_the_page),
        cmocka_unit_test(a_fixed_store_neither_grows_nor_goes),
        cmocka_unit_test(a_quantum_is_never_seen_torn),
        cmocka_unit_test(ranges_that_share_no_stripe_do_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
