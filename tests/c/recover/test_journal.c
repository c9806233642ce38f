/* The journal: what it has before and after each step, and that a request which a death cut short
 * is applied once, wherever that was. */
#include "recover/death.h"

#include <pthread.h>

#include "recover/journal.h"

#define UNIQUE 14u
#define FILE_NUMBER (UINT64_C(5) << 32)
#define BASE 7u
#define LENGTH 5

/* What of a worker is shared with the next. */
struct left {
    struct journal journal;
    struct cell position;
    char bytes[32];
    int64_t answer;
};

static struct left blank(void)
{
    return (struct left){.position = {BASE, 3}, .bytes = "before-", .answer = INT64_MIN};
}

static void assert_moved(const struct cell *cell, uint64_t value, uint64_t moves)
{
    assert_int_equal(cell->value, value);
    assert_int_equal(cell->moves, moves);
}

/* --- steps ------------------------------------------------------------------------------------ */

static void test_what_was_forgotten_is_not_replayed_under_the_same_number(void **state)
{
    struct journal journal = {0};
    int64_t result;

    (void)state;
    journal_begin(&journal, UNIQUE);
    journal_applied(5000);
    journal_end();
    journal_begin(&journal, UNIQUE);
    assert_true(journal_replays(&result));
    journal_end();
    journal_forget(&journal);
    journal_begin(&journal, UNIQUE);
    assert_false(journal_replays(&result));
    journal_end();
}

static void test_without_a_journal_nothing_is_replayed(void **state)
{
    struct cell cell = {BASE, 3};
    int64_t result = 42;

    (void)state;
    journal_begin(NULL, UNIQUE);
    assert_null(journal_current());
    assert_false(journal_will_replay());
    journal_aim(MOVED_POSITION, &cell, FILE_NUMBER, BASE);
    journal_applied(LENGTH);
    assert_false(journal_replays(&result));
    assert_int_equal(result, 42);
    journal_move(&cell, BASE + LENGTH);
    assert_moved(&cell, BASE + LENGTH, 4); /* the cell is in use all the same */
    journal_end();
}

static void test_a_message_begins_with_nothing_done(void **state)
{
    struct journal journal = {
        .unique = UNIQUE - 2,
        .steps = 3,
        .moves_cell = MOVED_PENDING,
        .opened = 1,
    };
    int64_t result;

    (void)state;
    journal_begin(&journal, UNIQUE);
    assert_ptr_equal(journal_current(), &journal);
    assert_int_equal(journal.unique, UNIQUE);
    assert_int_equal(journal.steps, 0);
    assert_int_equal(journal.opened, 0);
    assert_int_equal(journal.moves_cell, MOVED_NOTHING);
    assert_false(journal_will_replay());
    assert_false(journal_replays(&result));
    journal_end();
    assert_null(journal_current());
}

static void test_the_same_message_replays_the_steps_that_were_done(void **state)
{
    struct journal journal = {0};
    int64_t result = 0;

    (void)state;
    journal_begin(&journal, UNIQUE);
    journal_applied(0);
    assert_false(journal_will_replay()); /* it was this one that did it */
    journal_applied(-ENOSPC);
    journal_end();
    assert_int_equal(journal.steps, 2);
    journal_begin(&journal, UNIQUE);
    assert_true(journal_will_replay());
    assert_true(journal_replays(&result));
    assert_true(journal_will_replay());
    assert_true(journal_replays(&result));
    assert_int_equal(result, -ENOSPC);
    assert_false(journal_will_replay());
    assert_false(journal_replays(&result));
    journal_applied(LENGTH);
    assert_int_equal(journal.steps, 3);
    assert_int_equal(journal.result, LENGTH);
    journal_end();
}

static void test_another_message_replays_nothing(void **state)
{
    struct journal journal = {0};
    int64_t result;

    (void)state;
    journal_begin(&journal, UNIQUE);
    journal_applied(LENGTH);
    journal_begin(&journal, UNIQUE + 2);
    assert_false(journal_will_replay());
    assert_false(journal_replays(&result));
    assert_int_equal(journal.steps, 0);
    journal_end();
}

static void test_a_step_says_before_what_it_will_move(void **state)
{
    struct journal journal = {0};
    struct cell cell = {BASE, 3};

    (void)state;
    journal_begin(&journal, UNIQUE);
    journal_aim(MOVED_POSITION, &cell, FILE_NUMBER, 100);
    assert_int_equal(journal.moves_cell, MOVED_POSITION);
    assert_int_equal(journal.file, FILE_NUMBER);
    assert_int_equal(journal_base(), 100);
    assert_int_equal(journal_before(), BASE);
    assert_int_equal(journal.moves, 4);
    assert_int_equal(journal.steps, 0);
    assert_moved(&cell, BASE, 3);
    journal_applied(LENGTH);
    assert_int_equal(journal.steps, 1);
    assert_moved(&cell, BASE, 3);
    journal_move(&cell, 100 + LENGTH);
    assert_moved(&cell, 100 + LENGTH, 4);
    journal_end();
}

static void *current_of_another(void *arg)
{
    int64_t result;

    (void)arg;
    return journal_replays(&result) ? &errno : (void *)journal_current();
}

static void test_a_journal_is_of_one_thread(void **state)
{
    struct journal journal = {.unique = UNIQUE, .steps = 1};
    pthread_t thread;
    void *current;

    (void)state;
    journal_begin(&journal, UNIQUE);
    pthread_create(&thread, NULL, current_of_another, NULL);
    pthread_join(thread, &current);
    assert_null(current);
    assert_true(journal_will_replay());
    journal_end();
}

/* --- settling --------------------------------------------------------------------------------- */

static void test_what_a_death_left_undone_is_moved(void **state)
{
    static const struct {
        uint32_t steps;
        int64_t result;
        uint64_t moves, value_after, moves_after;
    } cases[] = {
        {0, LENGTH, 4, BASE, 3},             /* the step was not done */
        {1, LENGTH, 4, 100 + LENGTH, 4},     /* it was */
        {2, LENGTH, 4, 100 + LENGTH, 4},
        {1, LENGTH, 3, BASE, 3},             /* the cell was moved, too */
        {1, LENGTH, 2, BASE, 3},             /* and by others since */
        {1, -ENOSPC, 4, BASE, 4},            /* there is nothing to move */
        {1, 0, 4, 100, 4},                   /* lseek to its base */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct cell cell = {BASE, 3};
        struct journal journal = {
            .unique = UNIQUE,
            .steps = cases[i].steps,
            .result = cases[i].result,
            .base = 100,
            .moves = cases[i].moves,
        };

        for (int again = 0; again < 2; again++) {
            journal_settle(&journal, &cell);
            assert_moved(&cell, cases[i].value_after, cases[i].moves_after);
        }
    }
}

/* --- deaths ----------------------------------------------------------------------------------- */

enum point { AT_BEGIN, AT_AIM, AT_HALF, AT_STEP, AT_RECORD, AT_MOVE, AT_END, POINTS };

/* Where a process dies; nowhere in this one. */
static enum point fatal = POINTS;

static void pass(enum point point)
{
    if (point == fatal)
        die();
}

/* As an open file that is written to at its position (handle.c, linear.c). */
static int64_t append(struct left *left, const char *data)
{
    uint64_t base = left->position.value;
    int64_t before;

    if (journal_replays(&before))
        return before;
    pass(AT_BEGIN);
    journal_aim(MOVED_POSITION, &left->position, FILE_NUMBER, base);
    pass(AT_AIM);
    memcpy(left->bytes + base, data, LENGTH / 2);
    pass(AT_HALF);
    memcpy(left->bytes + base, data, LENGTH);
    pass(AT_STEP);
    journal_applied(LENGTH);
    pass(AT_RECORD);
    journal_move(&left->position, base + LENGTH);
    pass(AT_MOVE);
    return LENGTH;
}

static void work(void *arg)
{
    struct left *left = arg;
    int64_t answer;

    journal_begin(&left->journal, UNIQUE);
    answer = append(left, "after");
    journal_end();
    pass(AT_END);
    left->answer = answer;
}

static void recover(struct left *left)
{
    if (left->journal.unique == UNIQUE) /* else the message was not begun: ledger.c */
        journal_settle(&left->journal, &left->position);
}

static void assert_once(const struct left *left)
{
    assert_int_equal(left->answer, LENGTH);
    assert_moved(&left->position, BASE + LENGTH, 4);
    assert_string_equal(left->bytes, "before-after");
}

static void test_a_request_that_was_killed_is_applied_once(void **state)
{
    struct left *left = shared(sizeof(*left));

    (void)state;
    for (enum point point = 0; point <= POINTS; point++) {
        *left = blank();
        fatal = point;
        live_and_die(work, left);
        fatal = POINTS;
        assert_int_equal(left->answer, point == POINTS ? LENGTH : INT64_MIN);
        assert_int_equal(left->journal.steps, point > AT_STEP);
        assert_int_equal(left->position.moves, point > AT_RECORD ? 4 : 3);
        recover(left);
        assert_int_equal(left->position.moves, point > AT_STEP ? 4 : 3);
        work(left);
        assert_once(left);
    }
    munmap(left, sizeof(*left));
}

static void work_after_a_death(void *arg)
{
    recover(arg);
    work(arg);
}

static void test_who_takes_over_may_die_too(void **state)
{
    struct left *left = shared(sizeof(*left));

    (void)state;
    for (unsigned i = 0; i < POINTS * POINTS; i++) {
        *left = blank();
        fatal = i / POINTS;
        live_and_die(work, left);
        fatal = i % POINTS;
        live_and_die(work_after_a_death, left);
        fatal = POINTS;
        work_after_a_death(left);
        assert_once(left);
    }
    munmap(left, sizeof(*left));
}

static void survive(void *arg)
{
    struct left left = *(const struct left *)arg;

    work_after_a_death(&left);
    assert_once(&left);
}

static void test_a_death_between_any_two_instructions_is_survived(void **state)
{
    struct left *left = shared(sizeof(*left));

    (void)state;
    *left = blank();
    die_everywhere(work, survive, left);
    assert_once(left);
    /* Room of the message before: it is not taken for this one's. */
    *left = blank();
    left->journal = (struct journal){
        .unique = UNIQUE - 2,
        .steps = 1,
        .moves_cell = MOVED_POSITION,
        .result = 20,
        .moves = 4,
    };
    die_everywhere(work, survive, left);
    assert_once(left);
    munmap(left, sizeof(*left));
}

static void recover_and_die(void *arg)
{
    recover(arg);
}

static void test_a_death_while_settling_is_survived(void **state)
{
    struct left *left = shared(sizeof(*left));

    (void)state;
    *left = blank();
    fatal = AT_RECORD;
    live_and_die(work, left);
    fatal = POINTS;
    die_everywhere(recover_and_die, survive, left);
    assert_moved(&left->position, BASE + LENGTH, 4);
    munmap(left, sizeof(*left));
}

/* --- what is there when ----------------------------------------------------------------------- */

static void do_two_steps(void *arg)
{
    struct left *left = arg;

    journal_begin(&left->journal, UNIQUE);
    journal_applied(11);
    journal_applied(12);
    journal_end();
}

static void look_at_steps(void *arg)
{
    const struct journal *journal = &((struct left *)arg)->journal;

    if (journal->unique == UNIQUE - 2) {
        assert_int_equal(journal->steps, 5);
    } else if (journal->unique == UNIQUE) {
        assert_in_range(journal->steps, 0, 2);
        assert_int_equal(journal->opened, 0);
        assert_int_equal(journal->moves_cell, MOVED_NOTHING);
    } else {
        assert_int_equal(journal->unique, 0); /* and so is nobody's */
    }
    if (journal->unique == UNIQUE && journal->steps == 2)
        assert_int_equal(journal->result, 12);
    else if (journal->unique == UNIQUE && journal->steps == 1)
        assert_in_range(journal->result, 11, 12);
}

static void test_a_count_of_steps_is_that_of_its_message(void **state)
{
    struct left *left = shared(sizeof(*left));

    (void)state;
    left->journal = (struct journal){
        .unique = UNIQUE - 2,
        .steps = 5,
        .moves_cell = MOVED_POSITION,
        .result = 10,
        .opened = 1,
    };
    die_everywhere(do_two_steps, look_at_steps, left);
    assert_int_equal(left->journal.steps, 2);
    munmap(left, sizeof(*left));
}

static void move_alone(void *arg)
{
    journal_move(&((struct left *)arg)->position, BASE + LENGTH);
}

static void look_at_cell(void *arg)
{
    const struct cell *cell = &((struct left *)arg)->position;

    if (cell->value == BASE)
        assert_int_equal(cell->moves, 3);
    else
        assert_int_equal(cell->value, BASE + LENGTH);
}

static void test_a_cell_is_counted_when_it_has_its_value(void **state)
{
    struct left *left = shared(sizeof(*left));

    (void)state;
    *left = blank();
    die_everywhere(move_alone, look_at_cell, left);
    assert_moved(&left->position, BASE + LENGTH, 4);
    munmap(left, sizeof(*left));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_forgotten_is_not_replayed_under_the_same_number),
        cmocka_unit_test(test_without_a_journal_nothing_is_replayed),
        cmocka_unit_test(test_a_message_begins_with_nothing_done),
        cmocka_unit_test(test_the_same_message_replays_the_steps_that_were_done),
        cmocka_unit_test(test_another_message_replays_nothing),
        cmocka_unit_test(test_a_step_says_before_what_it_will_move),
        cmocka_unit_test(test_a_journal_is_of_one_thread),
        cmocka_unit_test(test_what_a_death_left_undone_is_moved),
        cmocka_unit_test(test_a_request_that_was_killed_is_applied_once),
        cmocka_unit_test(test_who_takes_over_may_die_too),
        cmocka_unit_test(test_a_death_between_any_two_instructions_is_survived),
        cmocka_unit_test(test_a_death_while_settling_is_survived),
        cmocka_unit_test(test_a_count_of_steps_is_that_of_its_message),
        cmocka_unit_test(test_a_cell_is_counted_when_it_has_its_value),
    };

    return RUN_ALL(tests);
}
