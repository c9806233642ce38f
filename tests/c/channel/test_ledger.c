/* The ledger: numbers of open files, their positions, the greeting, and what the next worker finds
 * of each. */
#include "channel/ledgers.h"

#include <pthread.h>

/* --- numbers ---------------------------------------------------------------------------------- */

static void test_a_number_finds_its_handle(void **state)
{
    struct fixture f = make();
    struct handle *handle[3];
    uint64_t number[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        handle[i] = handle_new(f.store, false);
        number[i] = ledger_open(f.ledger, handle[i], &opening);
        assert_int_not_equal(number[i], 0);
        assert_int_equal(number[i] & 1, 0);
        assert_int_equal(entry_of(number[i]), i);
    }
    for (unsigned i = 0; i < 3; i++)
        assert_ptr_equal(ledger_handle(f.ledger, number[i]), handle[i]);
    unmake(&f);
}

static void test_what_was_never_given_is_nobodys(void **state)
{
    struct fixture f = make();
    const uint64_t number = open_one(&f);
    const uint64_t others[] = {
        0,
        1,
        2, /* an entry that nobody has, and its generation */
        number | 1,
        number + 2,
        number - GENERATION,
        number + GENERATION,
        number + 2 * GENERATION,
        GENERATION | (uint64_t)FILES_MOST << 1,
        GENERATION | 0xfffffffe,
        UINT64_MAX - 1,
        UINT64_MAX,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        assert_null(ledger_handle(f.ledger, others[i]));
        ledger_attach(f.ledger, others[i], NULL);
        ledger_disown(f.ledger, others[i]);
        ledger_close(f.ledger, others[i]);
        assert_non_null(ledger_handle(f.ledger, number));
        assert_int_equal(count_open(f.ledger), 1);
    }
    unmake(&f);
}

static void test_a_number_is_not_given_again_when_its_entry_is(void **state)
{
    struct fixture f = make();
    uint64_t number[100];

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        number[i] = open_one(&f);
        assert_int_equal(entry_of(number[i]), 0);
        for (unsigned old = 0; old < i; old++) {
            assert_int_not_equal(number[old], number[i]);
            assert_null(ledger_handle(f.ledger, number[old]));
            ledger_close(f.ledger, number[old]);
        }
        assert_non_null(ledger_handle(f.ledger, number[i]));
        ledger_close(f.ledger, number[i]);
        assert_null(ledger_handle(f.ledger, number[i]));
        if (i % 10 == 0)
            restart(&f);
    }
    assert_int_equal(count_open(f.ledger), 0);
    unmake(&f);
}

static void test_a_handle_that_is_disowned_is_the_callers_again(void **state)
{
    struct fixture f = make();
    struct handle *handle = handle_new(f.store, false);
    uint64_t number = ledger_open(f.ledger, handle, &opening);

    (void)state;
    ledger_disown(f.ledger, number);
    assert_null(ledger_handle(f.ledger, number));
    assert_int_equal(count_open(f.ledger), 0);
    assert_int_equal(handle_position(handle), 0);
    handle_free(handle); /* and not by the ledger, too */
    unmake(&f);
}

static void open_all_there_are(void *arg)
{
    struct fixture *f = arg;
    struct handle *handle = handle_new(f->store, false);

    while (ledger_open(f->ledger, handle, &opening))
        ;
}

static void test_a_full_table_has_no_number_until_one_is_closed(void **state)
{
    struct fixture f = make();
    struct handle *handle = handle_new(f.store, false);
    const uint64_t some = GENERATION | 2 * 123456;

    (void)state;
    live_and_die(open_all_there_are, &f);
    restart(&f);
    assert_int_equal(count_open(f.ledger), FILES_MOST);
    assert_int_equal(ledger_open(f.ledger, handle, &opening), 0);
    ledger_close(f.ledger, some);
    assert_int_equal(ledger_open(f.ledger, handle, &opening), some + 2 * GENERATION);
    assert_int_equal(ledger_open(f.ledger, handle, &opening), 0);
    unmake(&f);
}

static void test_entries_that_were_used_are_given_before_new_ones(void **state)
{
    struct fixture f = make();
    uint64_t number[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        number[i] = open_one(&f);
    ledger_close(f.ledger, number[1]);
    ledger_close(f.ledger, number[2]);
    restart(&f);
    assert_int_equal(entry_of(open_one(&f)), 1);
    assert_int_equal(entry_of(open_one(&f)), 2);
    assert_int_equal(entry_of(open_one(&f)), 4);
    unmake(&f);
}

/* Who takes files over may end some of them before the channel begins. */
static void test_what_ends_before_the_beginning_is_given_once(void **state)
{
    struct fixture f = make();
    const uint64_t first = open_one(&f);

    (void)state;
    open_one(&f);
    ledger_free(f.ledger);
    f.ledger = ledger_new(f.fd, PLACE, false);
    ledger_disown(f.ledger, first);
    ledger_begin(f.ledger);
    assert_int_equal(entry_of(open_one(&f)), entry_of(first));
    assert_int_equal(entry_of(open_one(&f)), 2);
    unmake(&f);
}

/* --- open files that outlive ------------------------------------------------------------------ */

static void test_open_files_are_found_with_how_they_were_opened(void **state)
{
    struct fixture f = make();
    struct open_file found;
    uint64_t number[3];
    uint32_t entry = 0;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        number[i] = open_one(&f);
    ledger_close(f.ledger, number[1]);
    restart(&f);
    for (unsigned i = 0; i < 3; i += 2) {
        assert_true(ledger_next_open(f.ledger, &entry, &found));
        assert_int_equal(found.number, number[i]);
        assert_int_equal(found.flags, opening.flags);
        assert_int_equal(found.node, opening.node);
        assert_int_equal(found.pid, opening.pid);
        assert_int_equal(found.uid, opening.uid);
        assert_int_equal(found.gid, opening.gid);
        assert_null(ledger_handle(f.ledger, found.number));
        assert_non_null(attached(&f, found.number));
    }
    assert_false(ledger_next_open(f.ledger, &entry, &found));
    unmake(&f);
}

static void test_a_position_is_of_the_open_file_and_of_no_other(void **state)
{
    struct fixture f = make();
    uint64_t number[2] = {open_one(&f), open_one(&f)};

    (void)state;
    assert_int_equal(handle_seek(attached(&f, number[0]), 77, SEEK_SET), 77);
    assert_int_equal(handle_seek(attached(&f, number[1]), 5, SEEK_SET), 5);
    restart(&f);
    assert_int_equal(handle_position(attached(&f, number[0])), 77);
    assert_int_equal(handle_seek(attached(&f, number[0]), 1, SEEK_CUR), 78);
    restart(&f);
    assert_int_equal(handle_position(attached(&f, number[0])), 78);
    assert_int_equal(handle_position(attached(&f, number[1])), 5);
    ledger_close(f.ledger, number[0]);
    number[0] = open_one(&f); /* in the same entry */
    assert_int_equal(entry_of(number[0]), 0);
    assert_int_equal(handle_position(attached(&f, number[0])), 0);
    unmake(&f);
}

static void test_moves_of_a_position_are_numbered_beyond_deaths(void **state)
{
    struct fixture f = make();
    uint64_t number = open_one(&f), other = open_one(&f);

    (void)state;
    assert_int_equal(move_in_journal(&f, number, 2), 1);
    assert_int_equal(move_in_journal(&f, number, 4), 2);
    assert_int_equal(move_in_journal(&f, other, 6), 1);
    restart(&f);
    assert_int_equal(move_in_journal(&f, number, 8), 3);
    assert_int_equal(move_in_journal(&f, other, 10), 2);
    ledger_close(f.ledger, number);
    number = open_one(&f);
    assert_int_equal(move_in_journal(&f, number, 12), 1);
    unmake(&f);
}

/* --- deaths ----------------------------------------------------------------------------------- */

static void open_in_journal(void *arg)
{
    struct mortal *mortal = arg;

    journal_begin(&mortal->journal, UNIQUE);
    mortal->number = open_one(&mortal->f);
    journal_end();
    mortal->done = true;
}

static void look_at_opening(void *arg)
{
    struct mortal *mortal = arg;
    struct ledger *ledger = ledger_new(mortal->f.fd, PLACE, false);
    struct open_file found;
    uint32_t entry = 0;

    if (ledger_next_open(ledger, &entry, &found)) {
        struct handle *handle = handle_new(mortal->f.store, false);

        /* Its OPEN can be told from the others, and it has all that belongs to it. */
        assert_int_equal(mortal->journal.opened, 1);
        assert_int_equal(mortal->journal.file, found.number);
        assert_int_equal(found.flags, opening.flags);
        assert_int_equal(found.node, opening.node);
        assert_int_equal(found.gid, opening.gid);
        ledger_attach(ledger, found.number, handle);
        assert_int_equal(handle_position(handle), 0);
        assert_false(ledger_next_open(ledger, &entry, &found));
    } else {
        assert_false(mortal->done);
    }
    ledger_free(ledger);
}

static void test_a_file_is_open_whole_or_not_at_all(void **state)
{
    struct mortal *mortal = make_mortal();
    uint64_t before = open_one(&mortal->f);

    (void)state;
    handle_seek(attached(&mortal->f, before), 99, SEEK_SET);
    ledger_close(mortal->f.ledger, before);
    die_everywhere(open_in_journal, look_at_opening, mortal);
    assert_int_equal(mortal->number, before + 2 * GENERATION);
    unmake_mortal(mortal);
}

static void close_one(void *arg)
{
    struct mortal *mortal = arg;

    ledger_close(mortal->f.ledger, mortal->number);
    mortal->done = true;
}

static void look_at_closing(void *arg)
{
    struct mortal *mortal = arg;
    struct ledger *ledger = ledger_new(mortal->f.fd, PLACE, false);
    unsigned open = count_open(ledger);

    assert_in_range(open, 0, mortal->done ? 0 : 1);
    ledger_free(ledger);
}

static void test_a_file_that_is_closed_is_closed_for_good(void **state)
{
    struct mortal *mortal = make_mortal();
    uint64_t number = mortal->number = open_one(&mortal->f);

    (void)state;
    die_everywhere(close_one, look_at_closing, mortal);
    restart(&mortal->f);
    assert_int_equal(open_one(&mortal->f), number + 2 * GENERATION);
    unmake_mortal(mortal);
}

/* --- the greeting ----------------------------------------------------------------------------- */

static void test_a_greeting_is_kept_when_it_has_been_answered(void **state)
{
    struct fixture f = make();
    uint8_t *first = filled(LEDGER_GREETING, 1), *second = filled(100, 2);
    uint8_t greeting[LEDGER_GREETING];

    (void)state;
    assert_int_equal(ledger_greeting(f.ledger, greeting), 0);
    ledger_keep_greeting(f.ledger, second, 100);
    restart(&f); /* died before the answer: the kernel's is lost, and another comes */
    assert_int_equal(ledger_greeting(f.ledger, greeting), 0);
    ledger_keep_greeting(f.ledger, first, LEDGER_GREETING);
    ledger_set_greeted(f.ledger);
    for (unsigned lives = 0; lives < 2; lives++) {
        assert_int_equal(ledger_greeting(f.ledger, greeting), LEDGER_GREETING);
        assert_memory_equal(greeting, first, LEDGER_GREETING);
        restart(&f);
        ledger_keep_greeting(f.ledger, second, 100); /* said once, and for all */
    }
    free(first);
    free(second);
    unmake(&f);
}

static void test_a_greeting_that_is_too_long_is_not_kept(void **state)
{
    struct fixture f = make();
    uint8_t *long_one = filled(LEDGER_GREETING + 1, 1), greeting[LEDGER_GREETING];

    (void)state;
    ledger_keep_greeting(f.ledger, long_one, LEDGER_GREETING + 1);
    ledger_set_greeted(f.ledger);
    assert_int_equal(ledger_greeting(f.ledger, greeting), 0);
    free(long_one);
    unmake(&f);
}

/* --- what is of one channel, and of one process ----------------------------------------------- */

static void test_channels_and_their_ends_are_apart(void **state)
{
    struct fixture f = make();
    struct ledger *other = ledger_new(f.fd, 0, false);
    uint8_t greeting[LEDGER_GREETING];

    (void)state;
    memset(ledger_room(other, LARGE_ROOMS - 1, LEDGER_ROOM), 0xff, LEDGER_ROOM);
    ledger_keep_greeting(other, "hello", 5);
    ledger_set_greeted(other);
    ledger_open(other, handle_new(f.store, false), &opening);
    restart(&f);
    assert_int_equal(count_open(f.ledger), 0);
    assert_int_equal(ledger_greeting(f.ledger, greeting), 0);
    assert_int_equal(look(f.ledger).n, 0);
    assert_int_equal(count_open(other), 1);
    ledger_free(other);
    unmake(&f);
}

static void test_where_nothing_outlives_there_are_open_files_only(void **state)
{
    struct fixture f = make();
    const struct fuse_in_header message = header_of(FUSE_IOCTL, UNIQUE);
    struct journal *kept = ledger_journal(f.ledger, 0);
    uint8_t greeting[LEDGER_GREETING];
    uint64_t number;

    (void)state;
    assert_true(ledger_outlives(f.ledger));
    ledger_free(f.ledger);
    f.ledger = ledger_new(-1, 0, false);
    assert_false(ledger_outlives(f.ledger));
    assert_null(ledger_room(f.ledger, 0, ROOM_BYTES));
    assert_null(ledger_journal(f.ledger, 0));
    assert_int_equal(ledger_keep_call(f.ledger, &message, sizeof(message), &kept), 0);
    assert_null(kept);
    ledger_keep_greeting(f.ledger, "hello", 5);
    ledger_set_greeted(f.ledger);
    assert_int_equal(ledger_greeting(f.ledger, greeting), 0);
    ledger_settle(f.ledger, NULL);
    assert_int_equal(look(f.ledger).n, 0);
    number = open_one(&f);
    assert_int_equal(handle_seek(ledger_handle(f.ledger, number), 5, SEEK_SET), 5);
    assert_int_equal(count_open(f.ledger), 1);
    ledger_close(f.ledger, number);
    assert_null(ledger_handle(f.ledger, number));
    unmake(&f);
}

/* --- who closes what another uses --------------------------------------------------------------- */

static void test_a_handle_that_is_held_stays_and_moves_nobody_elses_position(void **state)
{
    struct fixture f = make();
    uint64_t number = open_one(&f), next;
    struct handle *held = ledger_hold(f.ledger, number);

    (void)state;
    assert_ptr_equal(held, ledger_handle(f.ledger, number));
    handle_seek(held, 5, SEEK_SET);
    assert_true(ledger_close(f.ledger, number));
    assert_null(ledger_hold(f.ledger, number));
    next = open_one(&f);
    assert_int_equal(entry_of(next), entry_of(number));
    assert_int_equal(handle_position(held), 5);
    handle_seek(held, 7, SEEK_SET);
    assert_int_equal(handle_position(ledger_handle(f.ledger, next)), 0);
    handle_free(held);
    unmake(&f);
}

static void test_a_file_is_closed_once(void **state)
{
    struct fixture f = make();
    uint64_t number = open_one(&f);

    (void)state;
    assert_true(ledger_close(f.ledger, number));
    assert_false(ledger_close(f.ledger, number));
    assert_int_not_equal(entry_of(open_one(&f)), entry_of(open_one(&f)));
    unmake(&f);
}

static void test_a_file_is_of_the_node_that_it_was_opened_on(void **state)
{
    struct fixture f = make();
    uint64_t number = open_one(&f);

    (void)state;
    assert_true(ledger_is_of(f.ledger, number, opening.node));
    assert_false(ledger_is_of(f.ledger, number, opening.node + 1));
    assert_false(ledger_is_of(f.ledger, number + 2, opening.node));
    unmake(&f);
}

struct closer {
    struct ledger *ledger;
    uint64_t number;
    _Atomic unsigned closed;
};

static void *close_it(void *arg)
{
    struct closer *closer = arg;

    closer->closed += ledger_close(closer->ledger, closer->number);
    return NULL;
}

static void *use_it(void *arg)
{
    struct closer *closer = arg;
    struct handle *handle;

    while ((handle = ledger_hold(closer->ledger, closer->number))) {
        handle_seek(handle, 1, SEEK_CUR);
        handle_free(handle);
    }
    return NULL;
}

static void test_who_closes_a_file_and_who_uses_it_may_race(void **state)
{
    struct fixture f = make();

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        struct closer closer = {.ledger = f.ledger, .number = open_one(&f)};
        void *(*const does[])(void *) = {use_it, use_it, close_it, close_it};
        pthread_t thread[4];

        for (unsigned t = 0; t < 4; t++)
            pthread_create(&thread[t], NULL, does[t], &closer);
        for (unsigned t = 0; t < 4; t++)
            pthread_join(thread[t], NULL);
        assert_int_equal(closer.closed, 1);
    }
    assert_int_equal(count_open(f.ledger), 0);
    unmake(&f);
}

/* --- at the same time ------------------------------------------------------------------------- */

#define THREADS 4u
#define ROUNDS (SANITIZED ? 1000u : 20000u)

struct racer {
    struct fixture *f;
    uint64_t number; /* among the threads */
    unsigned wrong;
};

static void race_once(struct racer *racer, uint64_t unique)
{
    const struct fuse_in_header message = header_of(FUSE_IOCTL, unique);
    struct ledger *ledger = racer->f->ledger;
    struct handle *handle = handle_new(racer->f->store, false);
    uint64_t number = ledger_open(ledger, handle, &opening);
    struct journal *kept;

    racer->wrong += ledger_keep_call(ledger, &message, sizeof(message), &kept) != 0;
    ledger_begin_call(ledger, kept);
    handle_seek(handle, (int64_t)unique, SEEK_SET);
    journal_end();
    racer->wrong += kept->unique != unique || kept->result != (int64_t)unique;
    racer->wrong += ledger_handle(ledger, number) != handle;
    racer->wrong += handle_position(handle) != unique;
    ledger_drop_call(ledger, kept);
    ledger_close(ledger, number);
    racer->wrong += ledger_handle(ledger, number) != NULL;
}

static void *race(void *arg)
{
    struct racer *racer = arg;

    for (unsigned i = 0; i < ROUNDS; i++)
        race_once(racer, 2 * (i * THREADS + racer->number + 1));
    return NULL;
}

static void test_threads_have_numbers_and_slots_of_their_own(void **state)
{
    struct fixture f = make();
    struct racer racer[THREADS];
    pthread_t thread[THREADS];

    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        racer[i] = (struct racer){.f = &f, .number = i};
        pthread_create(&thread[i], NULL, race, &racer[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(racer[i].wrong, 0);
    }
    assert_int_equal(count_open(f.ledger), 0);
    assert_int_equal(look(f.ledger).n, 0);
    assert_in_range(entry_of(open_one(&f)), 0, THREADS - 1); /* no more were ever open */
    unmake(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_number_finds_its_handle),
        cmocka_unit_test(test_what_was_never_given_is_nobodys),
        cmocka_unit_test(test_a_number_is_not_given_again_when_its_entry_is),
        cmocka_unit_test(test_a_handle_that_is_disowned_is_the_callers_again),
        cmocka_unit_test(test_a_full_table_has_no_number_until_one_is_closed),
        cmocka_unit_test(test_entries_that_were_used_are_given_before_new_ones),
        cmocka_unit_test(test_what_ends_before_the_beginning_is_given_once),
        cmocka_unit_test(test_open_files_are_found_with_how_they_were_opened),
        cmocka_unit_test(test_a_position_is_of_the_open_file_and_of_no_other),
        cmocka_unit_test(test_moves_of_a_position_are_numbered_beyond_deaths),
        cmocka_unit_test(test_a_file_is_open_whole_or_not_at_all),
        cmocka_unit_test(test_a_file_that_is_closed_is_closed_for_good),
        cmocka_unit_test(test_a_greeting_is_kept_when_it_has_been_answered),
        cmocka_unit_test(test_a_greeting_that_is_too_long_is_not_kept),
        cmocka_unit_test(test_channels_and_their_ends_are_apart),
        cmocka_unit_test(test_where_nothing_outlives_there_are_open_files_only),
        cmocka_unit_test(test_a_handle_that_is_held_stays_and_moves_nobody_elses_position),
        cmocka_unit_test(test_a_file_is_closed_once),
        cmocka_unit_test(test_a_file_is_of_the_node_that_it_was_opened_on),
        cmocka_unit_test(test_who_closes_a_file_and_who_uses_it_may_race),
        cmocka_unit_test(test_threads_have_numbers_and_slots_of_their_own),
    };

    return RUN_ALL(tests);
}
