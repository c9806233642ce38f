/* The ledger of a device in Python: longer calls, their answers, who polls, who was interrupted;
 * what was saved counts with its answer. */
#include "channel/ledgers.h"

#include "channel/saved.h"

static struct fixture make_saving(void)
{
    struct fixture f = make();

    assert_false(ledger_saves(f.ledger));
    ledger_free(f.ledger);
    f.ledger = ledger_new(f.fd, PLACE, true);
    assert_non_null(f.ledger);
    return f;
}

static void test_a_ledger_that_saves_keeps_longer_calls_and_fewer(void **state)
{
    struct fixture f = make_saving();
    struct fuse_in_header *message = (void *)filled(SAVED_MESSAGE + 1, 1);
    const struct fuse_in_header small = header_of(FUSE_IOCTL, 2);
    struct journal *kept;

    (void)state;
    message->unique = UNIQUE;
    assert_int_equal(ledger_keep_call(f.ledger, message, SAVED_MESSAGE + 1, &kept), -EMSGSIZE);
    assert_int_equal(ledger_keep_call(f.ledger, message, SAVED_MESSAGE, &kept), 0);
    for (unsigned i = 1; i < SAVED_CALLS - LEDGER_RESERVED; i++)
        keep(&f, FUSE_IOCTL, UNIQUE + 2 * i);
    restart(&f);
    assert_true(ledger_saves(f.ledger)); /* though it was not asked for again */
    assert_int_equal(ledger_keep_call(f.ledger, &small, sizeof(small), &kept), -ENOBUFS);
    unmake(&f);
    free(message);
}

struct long_call {
    const struct fuse_in_header *message;
    unsigned found;
};

static void find_long(void *arg, const void *message, struct journal *journal)
{
    struct long_call *call = arg;

    (void)journal;
    assert_memory_equal(message, call->message, SAVED_MESSAGE);
    call->found++;
}

static void test_a_long_call_is_kept_whole(void **state)
{
    struct fixture f = make_saving();
    struct fuse_in_header *message = (void *)filled(SAVED_MESSAGE, 1);
    struct long_call call = {message, 0};
    struct journal *kept;

    (void)state;
    message->unique = UNIQUE;
    message->opcode = FUSE_WRITE;
    assert_int_equal(ledger_keep_call(f.ledger, message, SAVED_MESSAGE, &kept), 0);
    restart(&f);
    ledger_each(f.ledger, find_long, &call);
    assert_int_equal(call.found, 1);
    unmake(&f);
    free(message);
}

static void test_an_answer_outlives_until_its_slot_is_anothers(void **state)
{
    struct fixture f = make_saving();
    const struct iovec answer[] = {{"head", 4}, {"body", 4}};
    struct journal *call = keep(&f, FUSE_IOCTL, UNIQUE);
    const void *bytes;

    (void)state;
    assert_false(ledger_begin_call(f.ledger, call));
    assert_int_equal(call->unique, UNIQUE);
    assert_int_equal(ledger_answered_call(f.ledger, call, &bytes), 0);
    restart(&f);
    call = look(f.ledger).journal[0];
    assert_true(ledger_begin_call(f.ledger, call)); /* it began in the life before */
    ledger_answer_call(f.ledger, call, answer, 2);
    restart(&f);
    ledger_settle(f.ledger, NULL);
    call = look(f.ledger).journal[0];
    assert_int_equal(ledger_answered_call(f.ledger, call, &bytes), 8);
    assert_memory_equal(bytes, "headbody", 8);
    ledger_drop_call(f.ledger, call);
    assert_ptr_equal(keep(&f, FUSE_IOCTL, UNIQUE + 2), call);
    assert_int_equal(ledger_answered_call(f.ledger, call, &bytes), 0);
    assert_false(ledger_begin_call(f.ledger, call));
    journal_end();
    unmake(&f);
}

static void interrupt_in(struct fixture *f, unsigned room, uint64_t unique)
{
    struct {
        struct fuse_in_header in;
        struct fuse_interrupt_in interrupt;
    } *message = (void *)message_in(f, room);

    message->in = header_of(FUSE_INTERRUPT, unique | 1);
    message->in.len = sizeof(*message);
    message->interrupt.unique = unique;
}

static void test_who_was_interrupted_is_found_last(void **state)
{
    struct fixture f = make_saving();
    const struct fuse_interrupt_in *interrupt;
    struct seen seen;

    (void)state;
    keep(&f, FUSE_IOCTL, 4);
    keep(&f, FUSE_IOCTL, 6);
    ledger_interrupt_call(f.ledger, 4);
    ledger_interrupt_call(f.ledger, 8); /* answered by now */
    interrupt_in(&f, 0, 4);             /* which its worker was not done with */
    restart(&f);
    seen = look(f.ledger);
    assert_int_equal(seen.n, 3);
    assert_int_equal(seen.unique[0], 4);
    assert_int_equal(seen.unique[1], 6);
    assert_null(seen.journal[2]);
    assert_int_equal(((struct fuse_in_header *)seen.message)->opcode, FUSE_INTERRUPT);
    interrupt = (const void *)(seen.message + sizeof(struct fuse_in_header));
    assert_int_equal(interrupt->unique, 4);
    unmake(&f);
}

struct keeping {
    struct fixture *f;
    struct seen seen;
};

/* As a worker does, which begins with calls that it finds in rooms when all are known. */
static void keep_and_see(void *arg, const void *message, struct journal *journal)
{
    struct keeping *keeping = arg;
    const struct fuse_in_header *in = message;

    if (in->opcode != FUSE_INTERRUPT)
        keep(keeping->f, in->opcode, in->unique);
    see(&keeping->seen, message, journal);
}

static void test_a_call_that_is_kept_only_now_may_have_been_interrupted(void **state)
{
    struct fixture f = make_saving();
    struct keeping keeping = {.f = &f};

    (void)state;
    receive(&f, 0, FUSE_IOCTL, 4);
    interrupt_in(&f, 1, 4);
    interrupt_in(&f, 2, 8); /* answered by now */
    restart(&f);
    ledger_each(f.ledger, keep_and_see, &keeping);
    assert_int_equal(keeping.seen.n, 2);
    assert_int_equal(keeping.seen.unique[0], 4);
    assert_int_equal(keeping.seen.unique[1], 4 | 1);
    unmake(&f);
}

static void poll_file(struct fixture *f, uint64_t number, uint64_t kh, uint32_t flags)
{
    struct {
        struct fuse_in_header in;
        struct fuse_poll_in poll;
    } message = {
        .in = header_of(FUSE_POLL, 2 * kh),
        .poll = {.fh = number, .kh = kh, .flags = flags},
    };
    struct journal *kept;

    assert_int_equal(ledger_keep_call(f->ledger, &message, sizeof(message), &kept), 0);
    ledger_drop_call(f->ledger, kept);
}

static void test_who_waits_in_poll_is_found_while_his_file_is_open(void **state)
{
    struct fixture f = make_saving();
    uint64_t number[3];
    uint32_t entry = 0;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        number[i] = ledger_open(f.ledger, NULL, &opening);
    poll_file(&f, number[0], 100, 0); /* does not wait */
    poll_file(&f, number[1], 101, FUSE_POLL_SCHEDULE_NOTIFY);
    poll_file(&f, number[2], 102, FUSE_POLL_SCHEDULE_NOTIFY);
    poll_file(&f, number[2] + GENERATION, 103, FUSE_POLL_SCHEDULE_NOTIFY);
    ledger_disown(f.ledger, number[1]);
    restart(&f);
    assert_int_equal(ledger_next_poll(f.ledger, &entry), 102);
    assert_int_equal(ledger_next_poll(f.ledger, &entry), 0);
    entry = 0;
    number[1] = ledger_open(f.ledger, NULL, &opening); /* where somebody waited */
    assert_int_equal(ledger_next_poll(f.ledger, &entry), 102);
    unmake(&f);
}

static void assert_saved(struct fixture *f, uint64_t number, const char *text)
{
    size_t size;
    const void *data = ledger_saved(f->ledger, number, &size);

    assert_int_equal(data != NULL, text != NULL);
    if (!text)
        return;
    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size);
}

static void test_what_is_saved_counts_from_the_commit_on(void **state)
{
    static const char *const texts[] = {"one", "another", "", "last"};
    struct fixture f = make_saving();
    uint64_t number = ledger_open(f.ledger, NULL, &opening);

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        const char *before = i ? texts[i - 1] : NULL;

        assert_int_equal(ledger_save(f.ledger, 0, texts[i], strlen(texts[i])), 0);
        assert_int_equal(ledger_save(f.ledger, number, texts[i], strlen(texts[i])), 0);
        assert_saved(&f, 0, before);
        assert_saved(&f, number, before);
        ledger_commit(f.ledger);
        restart(&f);
        assert_saved(&f, 0, texts[i]);
        assert_saved(&f, number, texts[i]);
        assert_saved(&f, number + 2 * GENERATION, NULL);
    }
    ledger_forget(f.ledger, number);
    assert_saved(&f, number, "last");
    ledger_commit(f.ledger);
    assert_saved(&f, number, NULL);
    assert_saved(&f, 0, "last");
    unmake(&f);
}

/* As a device in Python: what it is changes with the answer. */
static void save_and_answer(void *arg)
{
    struct mortal *mortal = arg;
    struct ledger *ledger = mortal->f.ledger;
    const struct iovec answer = {"answer", 6};
    struct journal *call = ledger_journal(ledger, 0);
    struct fuse_in_header message = header_of(FUSE_IOCTL, UNIQUE);

    journal_begin(call, UNIQUE);
    ledger_keep_call(ledger, &message, sizeof(message), &call);
    ledger_begin_call(ledger, call);
    ledger_save(ledger, 0, "new", 4);
    ledger_save(ledger, mortal->number, "new", 4);
    ledger_answer_call(ledger, call, &answer, 1);
    mortal->done = true;
}

static bool is_answered(struct ledger *ledger)
{
    struct seen seen = look(ledger);
    const void *answer;

    assert_in_range(seen.n, 0, 1);
    if (!seen.n || !ledger_answered_call(ledger, seen.journal[0], &answer))
        return false;
    assert_memory_equal(answer, "answer", 6);
    return true;
}

/* False: the worker came to the end of it. */
static bool kill_in_a_save(unsigned instructions)
{
    struct mortal *mortal = make_mortal();
    struct fixture *f = &mortal->f;
    const char *expected;
    size_t size;
    bool died;

    ledger_free(f->ledger);
    f->ledger = ledger_new(f->fd, PLACE, true);
    ledger_begin(f->ledger);
    mortal->number = ledger_open(f->ledger, NULL, &opening);
    ledger_save(f->ledger, 0, "old", 4);
    ledger_save(f->ledger, mortal->number, "old", 4);
    ledger_commit(f->ledger);
    died = die_after(instructions, save_and_answer, mortal);
    restart(f);
    ledger_settle(f->ledger, NULL);
    expected = is_answered(f->ledger) ? "new" : "old";
    assert_true(died || mortal->done);
    assert_string_equal(mortal->done ? "new" : expected, expected);
    /* The next commit is not one of what was left undone. */
    for (unsigned commits = 0; commits < 2; commits++) {
        assert_string_equal(ledger_saved(f->ledger, 0, &size), expected);
        assert_string_equal(ledger_saved(f->ledger, mortal->number, &size), expected);
        ledger_commit(f->ledger);
    }
    unmake_mortal(mortal);
    return died;
}

static void test_what_is_saved_counts_with_its_answer(void **state)
{
    struct mortal *mortal = make_mortal();
    unsigned instructions, deaths = 0;

    (void)state;
    kill_in_a_save(0);
    ledger_free(mortal->f.ledger);
    mortal->f.ledger = ledger_new(mortal->f.fd, PLACE, true);
    mortal->number = ledger_open(mortal->f.ledger, NULL, &opening);
    instructions = die_everywhere(save_and_answer, look_at_nothing, mortal);
    while (kill_in_a_save(deaths * instructions / DEATHS))
        deaths++;
    assert_in_range(deaths, DEATHS / 2, 2 * DEATHS);
    unmake_mortal(mortal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_ledger_that_saves_keeps_longer_calls_and_fewer),
        cmocka_unit_test(test_a_long_call_is_kept_whole),
        cmocka_unit_test(test_an_answer_outlives_until_its_slot_is_anothers),
        cmocka_unit_test(test_who_was_interrupted_is_found_last),
        cmocka_unit_test(test_a_call_that_is_kept_only_now_may_have_been_interrupted),
        cmocka_unit_test(test_who_waits_in_poll_is_found_while_his_file_is_open),
        cmocka_unit_test(test_what_is_saved_counts_from_the_commit_on),
        cmocka_unit_test(test_what_is_saved_counts_with_its_answer),
    };

    return RUN_ALL(tests);
}
