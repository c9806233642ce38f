/* Messages under way: each is found once after a death, with what it has done, and moves once what
 * it moves. */
#include "channel/ledgers.h"

#include "channel/room.h"

/* --- what is found ---------------------------------------------------------------------------- */

static void test_a_greeting_is_found_before_all_that_follows_it(void **state)
{
    static const uint64_t order[] = {2, 6, 4};
    static const uint32_t greetings[] = {CUSE_INIT, FUSE_INIT};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct fixture f = make();
        struct seen seen;

        receive(&f, 0, FUSE_OPEN, 4);
        receive(&f, 1, greetings[i], 2); /* answered, so that the others came */
        keep(&f, FUSE_OPEN, 6);
        restart(&f);
        seen = look(f.ledger);
        assert_int_equal(seen.n, 3);
        assert_memory_equal(seen.unique, order, sizeof(order));
        unmake(&f);
    }
}

static void test_messages_are_found_once_calls_first_interrupts_last(void **state)
{
    static const uint64_t order[] = {8, 20, 10, 12, 3};
    struct fixture f = make();
    struct journal *journal[5];
    struct seen seen;

    (void)state;
    receive(&f, 0, FUSE_INTERRUPT, 3);
    receive(&f, 1, FUSE_READ, 10);
    receive(&f, 2, FUSE_WRITE, 0); /* answered */
    receive(&f, 3, FUSE_WRITE, 12);
    receive(&f, 4, FUSE_IOCTL, 20); /* and kept */
    keep(&f, FUSE_OPEN, 8);
    ledger_drop_call(f.ledger, keep(&f, FUSE_IOCTL, 6));
    keep(&f, FUSE_IOCTL, 20);
    restart(&f);
    seen = look(f.ledger);
    assert_int_equal(seen.n, 5);
    assert_memory_equal(seen.unique, order, sizeof(order));
    assert_ptr_equal(seen.journal[2], ledger_journal(f.ledger, 1));
    assert_ptr_equal(seen.journal[3], ledger_journal(f.ledger, 3));
    assert_ptr_equal(seen.journal[4], ledger_journal(f.ledger, 0));
    memcpy(journal, seen.journal, sizeof(journal));
    /* Rooms are empty then; calls stay until they are dropped. */
    seen = look(f.ledger);
    assert_int_equal(seen.n, 2);
    assert_memory_equal(seen.unique, order, 2 * sizeof(*order));
    for (unsigned i = 0; i < 2; i++) {
        assert_ptr_equal(seen.journal[i], journal[i]);
        ledger_drop_call(f.ledger, journal[i]);
    }
    assert_int_equal(look(f.ledger).n, 0);
    unmake(&f);
}

/* What is found is kept anew, as its worker leaves it to another thread, and dies again. */
static void keep_again(void *arg, const void *message, struct journal *journal)
{
    struct fixture *f = arg;
    const struct fuse_in_header *in = message;
    struct journal *kept;

    journal_begin(journal, in->unique);
    assert_int_equal(ledger_keep_call(f->ledger, message, in->len, &kept), 0);
    assert_int_equal(kept->unique, in->unique);
    assert_int_equal(kept->steps, 1);
    journal_end();
}

static void test_calls_that_are_replayed_are_kept_once(void **state)
{
    struct fixture f = make();
    struct seen seen;

    (void)state;
    for (unsigned room = 0; room < 2; room++) {
        receive(&f, room, FUSE_IOCTL, 4 + 2 * room);
        *ledger_journal(f.ledger, room) = (struct journal){.unique = 4 + 2 * room, .steps = 1};
    }
    for (unsigned deaths = 0; deaths < 3; deaths++) {
        restart(&f);
        ledger_each(f.ledger, keep_again, &f);
    }
    seen = look(f.ledger);
    assert_int_equal(seen.n, 2);
    assert_int_equal(seen.unique[0], 4);
    assert_int_equal(seen.unique[1], 6);
    unmake(&f);
}

static void test_a_call_is_kept_whole_with_what_it_has_done(void **state)
{
    struct fixture f = make();
    uint8_t *message = filled(LEDGER_CALL + 1, 3);
    struct journal *kept;
    struct seen seen;
    int64_t result;

    (void)state;
    ((struct fuse_in_header *)message)->len = LEDGER_CALL;
    ((struct fuse_in_header *)message)->unique = UNIQUE;
    ((struct fuse_in_header *)message)->opcode = FUSE_IOCTL;
    journal_begin(ledger_journal(f.ledger, 0), UNIQUE);
    journal_applied(-EBUSY);
    assert_int_equal(ledger_keep_call(f.ledger, message, LEDGER_CALL + 1, &kept), -EMSGSIZE);
    assert_null(kept);
    assert_int_equal(ledger_keep_call(f.ledger, message, LEDGER_CALL, &kept), 0);
    journal_end();
    assert_ptr_not_equal(kept, ledger_journal(f.ledger, 0));
    restart(&f);
    seen = look(f.ledger);
    assert_int_equal(seen.n, 1);
    assert_memory_equal(seen.message, message, LEDGER_CALL);
    ledger_begin_call(f.ledger, seen.journal[0]);
    assert_ptr_equal(journal_current(), seen.journal[0]);
    assert_true(journal_replays(&result));
    assert_int_equal(result, -EBUSY);
    journal_end();
    free(message);
    unmake(&f);
}

/* What the slot's call before has done is not taken for this one's. */
static void test_a_slot_that_is_used_again_begins_with_nothing_done(void **state)
{
    struct fixture f = make();
    struct journal *first = keep(&f, FUSE_IOCTL, 4), *second;
    int64_t result;

    (void)state;
    ledger_begin_call(f.ledger, first);
    journal_applied(0);
    journal_end();
    ledger_drop_call(f.ledger, first);
    second = keep(&f, FUSE_IOCTL, 6);
    assert_ptr_equal(second, first);
    ledger_begin_call(f.ledger, second);
    assert_int_equal(second->unique, 6);
    assert_false(journal_replays(&result));
    journal_end();
    unmake(&f);
}

static void test_there_are_so_many_slots_and_no_more(void **state)
{
    struct fixture f = make();
    const struct fuse_in_header message = header_of(FUSE_IOCTL, 2);
    const struct fuse_in_header end = header_of(FUSE_RELEASE, 4);
    struct journal *some = NULL, *kept;

    (void)state;
    for (unsigned i = 0; i < LEDGER_CALLS - LEDGER_RESERVED; i++) {
        kept = keep(&f, FUSE_IOCTL, 2 * i + 2);
        if (i == 1000)
            some = kept;
    }
    assert_int_equal(ledger_keep_call(f.ledger, &message, sizeof(message), &kept), -ENOBUFS);
    assert_null(kept);
    ledger_drop_call(f.ledger, some);
    assert_ptr_equal(keep(&f, FUSE_IOCTL, 4), some);
    restart(&f);
    assert_int_equal(ledger_keep_call(f.ledger, &message, sizeof(message), &kept), -ENOBUFS);
    for (unsigned i = 0; i < LEDGER_RESERVED; i++) /* what nobody would ask for again */
        keep(&f, FUSE_RELEASE, 2 * (LEDGER_CALLS + i));
    assert_int_equal(ledger_keep_call(f.ledger, &end, sizeof(end), &kept), -ENOBUFS);
    unmake(&f);
}

static bool is_present(const uint8_t *page, int pagemap)
{
    uint64_t entry;

    assert_int_equal(pread(pagemap, &entry, 8, (off_t)((uintptr_t)page / 4096 * 8)), 8);
    return entry >> 63;
}

static void test_a_room_is_at_hand_and_has_what_was_received(void **state)
{
    static const unsigned numbers[] = {0, 1, 2, LARGE_ROOMS - 1};
    struct fixture f = make();
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint8_t *room;

    (void)state;
    assert_int_equal(sysconf(_SC_PAGESIZE), 4096);
    for (unsigned life = 0; life < 2; life++) {
        for (unsigned i = 0; i < 4; i++) {
            room = ledger_room(f.ledger, numbers[i], LEDGER_ROOM);
            assert_int_equal((uintptr_t)room % 4096, 0);
            for (size_t at = 0; at < LEDGER_ROOM; at += 4096)
                assert_true(is_present(room + at, pagemap));
            assert_all(room, LEDGER_ROOM, life ? (uint8_t)(i + 1) : 0);
            memset(room, (int)(i + 1), LEDGER_ROOM);
        }
        restart(&f);
    }
    assert_int_equal(count_open(f.ledger), 0);
    close(pagemap);
    unmake(&f);
}

static void test_there_are_as_many_rooms_as_there_is_memory_for(void **state)
{
    struct fixture f = make();
    uint8_t *first = ledger_room(f.ledger, 0, ROOM_BYTES);
    struct room room;

    (void)state;
    assert_ptr_equal(ledger_room(f.ledger, LEDGER_ROOMS - 1, ROOM_BYTES),
                     first + (LEDGER_ROOMS - 1) * ROOM_BYTES);
    assert_null(ledger_room(f.ledger, LEDGER_ROOMS, ROOM_BYTES));
    assert_non_null(ledger_journal(f.ledger, LEDGER_ROOMS - 1));
    assert_null(ledger_journal(f.ledger, LEDGER_ROOMS));
    assert_null(ledger_room(f.ledger, LARGE_ROOMS, LEDGER_ROOM));
    /* Nobody reads into memory that dies with him. */
    assert_int_equal(room_init(&room, ROOM_BYTES, f.ledger, LEDGER_ROOMS), -EAGAIN);
    unmake(&f);
}

/* --- settling --------------------------------------------------------------------------------- */

static struct journal wrote(uint64_t unique, uint64_t number)
{
    return (struct journal){
        .unique = unique,
        .steps = 1,
        .moves_cell = MOVED_POSITION,
        .result = 5,
        .base = 10,
        .moves = 1,
        .file = number,
    };
}

static void test_positions_are_settled_for_rooms_and_calls(void **state)
{
    struct fixture f = make();
    uint64_t number[2] = {open_one(&f), open_one(&f)};

    (void)state;
    receive(&f, 0, FUSE_WRITE, UNIQUE);
    *ledger_journal(f.ledger, 0) = wrote(UNIQUE, number[0]);
    *keep(&f, FUSE_IOCTL, UNIQUE + 2) = wrote(UNIQUE + 2, number[1]);
    for (unsigned deaths = 0; deaths < 2; deaths++) {
        restart(&f);
        ledger_settle(f.ledger, NULL);
        assert_int_equal(handle_position(attached(&f, number[0])), 15);
        assert_int_equal(handle_position(attached(&f, number[1])), 15);
    }
    unmake(&f);
}

static void test_what_is_not_under_way_settles_nothing(void **state)
{
    struct fixture f = make();
    uint64_t closed = open_one(&f), number;

    (void)state;
    ledger_close(f.ledger, closed);
    number = open_one(&f);
    assert_int_equal(entry_of(number), entry_of(closed));
    receive(&f, 0, FUSE_WRITE, 0); /* answered */
    *ledger_journal(f.ledger, 0) = wrote(UNIQUE, number);
    receive(&f, 1, FUSE_WRITE, UNIQUE); /* the journal is of the message before */
    *ledger_journal(f.ledger, 1) = wrote(UNIQUE - 2, number);
    receive(&f, 2, FUSE_WRITE, 0); /* both are of none */
    *ledger_journal(f.ledger, 2) = wrote(0, number);
    receive(&f, 3, FUSE_WRITE, UNIQUE + 2); /* its file is closed, the entry another's */
    *ledger_journal(f.ledger, 3) = wrote(UNIQUE + 2, closed);
    receive(&f, 4, FUSE_OPEN, UNIQUE + 4); /* it made the file */
    *ledger_journal(f.ledger, 4) = wrote(UNIQUE + 4, number);
    ledger_journal(f.ledger, 4)->moves_cell = MOVED_NOTHING;
    restart(&f);
    ledger_settle(f.ledger, NULL);
    assert_int_equal(handle_position(attached(&f, number)), 0);
    unmake(&f);
}

static void test_pending_parameters_are_settled_but_where_there_is_no_state(void **state)
{
    struct fixture f = make();
    struct state *kept = state_open(f.fd);
    uint64_t value;

    (void)state;
    *keep(&f, FUSE_IOCTL, UNIQUE) = (struct journal){
        .unique = UNIQUE,
        .steps = 1,
        .moves_cell = MOVED_PENDING,
        .base = 1000,
        .moves = 1,
    };
    ledger_settle(f.ledger, NULL);
    assert_false(state_get_pending(kept, &value));
    ledger_settle(f.ledger, kept);
    assert_true(state_get_pending(kept, &value));
    assert_int_equal(value, 1000);
    state_close(kept);
    unmake(&f);
}

/* Two requests of one open file: the first fails, and is not answered yet; the other has written when
 * the worker dies. */
static void test_what_failed_does_not_use_another_ones_move_up(void **state)
{
    struct fixture f = make();
    uint64_t number = open_one(&f);
    const struct iovec data = {"lost", 5};

    (void)state;
    assert_int_equal(fcntl(f.file, F_ADD_SEALS, F_SEAL_GROW), 0);
    receive(&f, 0, FUSE_WRITE, UNIQUE);
    journal_begin(ledger_journal(f.ledger, 0), UNIQUE);
    assert_int_equal(handle_write(attached(&f, number), &data, 5, false, NULL), -EPERM);
    assert_int_equal(ledger_journal(f.ledger, 0)->steps, 1);
    journal_end();
    receive(&f, 1, FUSE_WRITE, UNIQUE + 2);
    *ledger_journal(f.ledger, 1) = wrote(UNIQUE + 2, number);
    restart(&f);
    ledger_settle(f.ledger, NULL);
    assert_int_equal(handle_position(attached(&f, number)), 15);
    unmake(&f);
}

/* --- a call that is killed -------------------------------------------------------------------- */

/* A reader's thread keeps the call that lies in its room; another answers it. */
static void keep_and_answer(void *arg)
{
    struct mortal *mortal = arg;
    struct fuse_in_header *message = message_in(&mortal->f, 0);
    struct journal *kept;

    journal_begin(ledger_journal(mortal->f.ledger, 0), UNIQUE);
    ledger_keep_call(mortal->f.ledger, message, sizeof(*message), &kept);
    journal_end();
    message->unique = 0;
    ledger_begin_call(mortal->f.ledger, kept);
    journal_applied(0);
    journal_end();
    mortal->ends = true;
    ledger_drop_call(mortal->f.ledger, kept);
    mortal->done = true;
}

static void look_for_call(void *arg)
{
    struct mortal *mortal = arg;
    struct ledger *ledger = ledger_new(mortal->f.fd, PLACE, false);
    uint64_t *in_room =
        &((struct fuse_in_header *)((uint8_t *)ledger_room(ledger, 0, ROOM_BYTES) +
                                    LEDGER_MESSAGE))->unique;
    uint64_t before = *in_room;
    struct seen seen = look(ledger);

    assert_in_range(seen.n, mortal->ends ? 0 : 1, mortal->done ? 0 : 1);
    if (seen.n) {
        assert_int_equal(seen.unique[0], UNIQUE);
        assert_int_equal(((struct fuse_in_header *)seen.message)->opcode, FUSE_IOCTL);
    }
    *in_room = before; /* which the process is not done with */
    ledger_free(ledger);
}

static void test_a_call_is_never_lost_and_never_there_twice(void **state)
{
    struct mortal *mortal = make_mortal();

    (void)state;
    receive(&mortal->f, 0, FUSE_IOCTL, UNIQUE);
    die_everywhere(keep_and_answer, look_for_call, mortal);
    unmake_mortal(mortal);
}

/* --- a write that is killed ------------------------------------------------------------------- */

static void write_in_journal(struct mortal *mortal, struct journal *journal)
{
    struct handle *handle = attached(&mortal->f, mortal->number);
    const struct iovec data = {"after", 5};

    journal_begin(journal, UNIQUE);
    mortal->done = handle_write(handle, &data, 5, false, NULL) == 5;
    journal_end();
}

static void write_one(void *arg)
{
    struct mortal *mortal = arg;

    write_in_journal(mortal, ledger_journal(mortal->f.ledger, 0));
}

static void write_again(void *arg, const void *message, struct journal *journal)
{
    assert_int_equal(((const struct fuse_in_header *)message)->unique, UNIQUE);
    write_in_journal(arg, journal);
}

/* False: the worker came to the end of it. */
static bool kill_in_a_write(unsigned instructions)
{
    struct mortal *mortal = make_mortal();
    struct fixture *f = &mortal->f;
    struct store_info info;
    char bytes[12];
    bool died;

    assert_int_equal(store_write(f->store, 0, "before-", 7), 7);
    mortal->number = open_one(f);
    assert_int_equal(handle_seek(attached(f, mortal->number), 7, SEEK_SET), 7);
    receive(f, 0, FUSE_WRITE, UNIQUE);
    died = die_after(instructions, write_one, mortal);
    restart(f);
    ledger_settle(f->ledger, NULL);
    mortal->done = false;
    ledger_each(f->ledger, write_again, mortal);
    assert_true(mortal->done);
    assert_int_equal(handle_position(attached(f, mortal->number)), 12);
    store_get_info(f->store, &info);
    assert_int_equal(info.size, 12);
    assert_int_equal(store_read(f->store, 0, bytes, 12), 12);
    assert_memory_equal(bytes, "before-after", 12);
    assert_int_equal(move_in_journal(f, mortal->number, UNIQUE + 2), 3);
    unmake_mortal(mortal);
    return died;
}

static void test_a_write_is_applied_once_wherever_its_worker_dies(void **state)
{
    struct mortal *mortal = make_mortal();
    unsigned instructions, deaths = 0;

    (void)state;
    kill_in_a_write(0); /* the functions that it calls are found for the first time */
    mortal->number = open_one(&mortal->f);
    instructions = die_everywhere(write_one, look_at_nothing, mortal);
    while (kill_in_a_write(deaths * instructions / DEATHS))
        deaths++;
    assert_in_range(deaths, DEATHS / 2, 2 * DEATHS);
    unmake_mortal(mortal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_greeting_is_found_before_all_that_follows_it),
        cmocka_unit_test(test_messages_are_found_once_calls_first_interrupts_last),
        cmocka_unit_test(test_calls_that_are_replayed_are_kept_once),
        cmocka_unit_test(test_a_call_is_kept_whole_with_what_it_has_done),
        cmocka_unit_test(test_a_slot_that_is_used_again_begins_with_nothing_done),
        cmocka_unit_test(test_there_are_so_many_slots_and_no_more),
        cmocka_unit_test(test_a_room_is_at_hand_and_has_what_was_received),
        cmocka_unit_test(test_there_are_as_many_rooms_as_there_is_memory_for),
        cmocka_unit_test(test_positions_are_settled_for_rooms_and_calls),
        cmocka_unit_test(test_what_is_not_under_way_settles_nothing),
        cmocka_unit_test(test_pending_parameters_are_settled_but_where_there_is_no_state),
        cmocka_unit_test(test_what_failed_does_not_use_another_ones_move_up),
        cmocka_unit_test(test_a_call_is_never_lost_and_never_there_twice),
        cmocka_unit_test(test_a_write_is_applied_once_wherever_its_worker_dies),
    };

    return RUN_ALL(tests);
}
