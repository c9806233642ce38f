/* The state: where what is, what is refused, and parameters that are set once. */
#include "recover/death.h"

#include <fcntl.h>

#include "base/killpoint.h"
#include "recover/journal.h"
#include "recover/state.h"
#include "store/store.h"

#define DEVICES 2u
#define CHANNELS 3u
#define UNIQUE 14u
#define Q UINT64_C(4096)

struct fixture {
    int fd;
    struct state *state;
};

static struct fixture make(void)
{
    struct fixture f = {.fd = state_create(DEVICES, CHANNELS)};

    assert_true(f.fd >= 0);
    f.state = state_open(f.fd);
    assert_non_null(f.state);
    return f;
}

static void unmake(struct fixture *f)
{
    state_close(f->state);
    close(f->fd);
}

/* As state.c has it: what the header says of itself. */
static void seal(struct state *state)
{
    const uint64_t words[] = {state->magic, state->version, state->devices, state->channels,
                              sizeof(struct state), sizeof(struct journal), STATE_PLACE};
    const uint8_t *bytes = (const uint8_t *)words;

    state->checksum = 2166136261u;
    for (size_t i = 0; i < sizeof(words); i++)
        state->checksum = (state->checksum ^ bytes[i]) * 16777619u;
}

static void assert_refused(int fd)
{
    errno = 0;
    assert_null(state_open(fd));
    assert_int_equal(errno, EPROTO);
}

static void assert_opens(int fd)
{
    struct state *state = state_open(fd);

    assert_non_null(state);
    state_close(state);
}

/* The descriptor that is made next. */
static int next_fd(void)
{
    int fd = dup(0);

    close(fd);
    return fd;
}

/* --- layout ----------------------------------------------------------------------------------- */

static void test_a_new_state_says_what_it_is_of_and_is_zeros(void **state)
{
    struct fixture f = make();
    uint64_t pending;

    (void)state;
    assert_int_equal(f.state->version, state_version());
    assert_int_equal(f.state->devices, DEVICES);
    assert_int_equal(f.state->channels, CHANNELS);
    assert_false(state_get_pending(f.state, &pending));
    assert_all((uint8_t *)&f.state->kill, sizeof(*f.state) - offsetof(struct state, kill), 0);
    assert_int_equal(lseek(f.fd, 0, SEEK_END), state_place(CHANNELS));
    assert_int_equal(fcntl(f.fd, F_GETFD), FD_CLOEXEC);
    unmake(&f);
}

/* A program that has it otherwise would misread what one before it has left: it needs another
 * VERSION. */
static void test_version_2_is_laid_out_so(void **state)
{
    (void)state;
    assert_int_equal(state_version(), 2);
    assert_int_equal(offsetof(struct state, magic), 0);
    assert_int_equal(offsetof(struct state, version), 8);
    assert_int_equal(offsetof(struct state, checksum), 12);
    assert_int_equal(offsetof(struct state, devices), 16);
    assert_int_equal(offsetof(struct state, channels), 20);
    assert_int_equal(offsetof(struct state, kill), 24);
    assert_int_equal(offsetof(struct state, pending), 32);
    assert_int_equal(offsetof(struct state, device), 48);
    assert_int_equal(sizeof(struct state), 48 + 256 * 8);
    assert_int_equal(offsetof(struct cell, moves), 8);
    assert_int_equal(offsetof(struct journal, steps), 8);
    assert_int_equal(offsetof(struct journal, moves_cell), 12);
    assert_int_equal(offsetof(struct journal, result), 16);
    assert_int_equal(offsetof(struct journal, base), 24);
    assert_int_equal(offsetof(struct journal, before), 32);
    assert_int_equal(offsetof(struct journal, moves), 40);
    assert_int_equal(offsetof(struct journal, file), 48);
    assert_int_equal(offsetof(struct journal, opened), 56);
    assert_int_equal(sizeof(struct journal), 64);
    assert_int_equal(state_place(0), 64 * KIB);
    assert_int_equal(state_place(1), 64 * KIB + GIB);
    assert_int_equal(state_place(16), 64 * KIB + 16 * GIB);
}

static void test_channels_do_not_reach_the_header(void **state)
{
    struct fixture f = make();
    struct state before = *f.state;

    (void)state;
    for (uint32_t place = 0; place < CHANNELS; place++) {
        assert_int_equal(pwrite(f.fd, "\xff", 1, (off_t)state_place(place)), 1);
        assert_int_equal(pwrite(f.fd, "\xff", 1, (off_t)state_place(place + 1) - 1), 1);
    }
    assert_memory_equal(f.state, &before, sizeof(before));
    assert_opens(f.fd);
    unmake(&f);
}

static void test_more_than_there_is_room_for_is_not_made(void **state)
{
    int next = next_fd(), fd = state_create(STATE_DEVICES, 0);

    (void)state;
    assert_int_equal(fd, next);
    assert_opens(fd);
    close(fd);
    assert_true(state_create(STATE_DEVICES + 1, 1) < 0);
    assert_int_equal(next_fd(), next);
}

/* --- what is refused -------------------------------------------------------------------------- */

static void test_what_is_no_state_is_refused(void **state)
{
    struct fixture f = make();
    int fd = memfd_create("none", MFD_CLOEXEC);

    (void)state;
    assert_refused(-1);
    assert_refused(fd);
    assert_int_equal(ftruncate(fd, (off_t)state_place(CHANNELS)), 0);
    assert_refused(fd); /* zeros */
    assert_int_equal(pwrite(fd, f.state, sizeof(*f.state), 0), sizeof(*f.state));
    assert_opens(fd);
    assert_int_equal(ftruncate(fd, (off_t)state_place(CHANNELS) - 1), 0);
    assert_refused(fd);
    close(fd);
    unmake(&f);
}

static void test_another_version_is_refused_though_it_is_whole(void **state)
{
    struct fixture f = make();

    (void)state;
    for (uint32_t version = 0; version < 4; version++) {
        f.state->version = version;
        seal(f.state);
        if (version == state_version())
            assert_opens(f.fd);
        else
            assert_refused(f.fd);
    }
    f.state->version = state_version();
    f.state->magic ^= 1;
    seal(f.state);
    assert_refused(f.fd);
    unmake(&f);
}

static void test_each_bit_of_what_does_not_change_is_checked(void **state)
{
    struct fixture f = make();
    uint8_t *bytes = (uint8_t *)f.state;

    (void)state;
    for (size_t bit = 0; bit < 8 * sizeof(*f.state); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (bit / 8 < offsetof(struct state, kill))
            assert_refused(f.fd);
        else
            assert_opens(f.fd); /* what changes may be anything */
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_opens(f.fd);
    unmake(&f);
}

/* --- what outlives ---------------------------------------------------------------------------- */

static void test_pending_parameters_are_seen_by_who_opens_it_later(void **state)
{
    struct fixture f = make();
    struct state *other = state_open(f.fd);
    uint64_t value;

    (void)state;
    state_set_pending(f.state, 1, 0); /* nobody keeps books; 0 is as good as any */
    assert_true(state_get_pending(other, &value));
    assert_int_equal(value, 0);
    state_set_pending(f.state, 0, UINT64_MAX);
    state_close(f.state);
    assert_true(state_get_pending(other, &value));
    assert_int_equal(value, UINT64_MAX);
    assert_int_equal(other->pending.moves, 2);
    f.state = other;
    unmake(&f);
}

/* Of the kind that outlives its worker. */
static struct store *file_store(void)
{
    struct budget *budget = budget_new(MIB);
    struct store *store =
        store_new_file(budget, Q, 10, memfd_create("store", MFD_CLOEXEC), 0, 0, false);

    assert_non_null(store);
    budget_free(budget);
    return store;
}

static void test_a_geometry_in_force_outlives_its_store(void **state)
{
    struct fixture f = make();

    (void)state;
    for (unsigned life = 0; life < 2; life++) {
        struct store *store = file_store();

        store_keep(store, f.state, 1);
        assert_int_equal(info_of(store).quantum, life ? 2 * Q : Q);
        assert_int_equal(info_of(store).qset, life ? 5 : 10);
        assert_int_equal(store_trim(store, 2 * Q, 5), 0);
        assert_int_equal(f.state->device[1].geometry, 2 * Q << 32 | 5);
        assert_int_equal(f.state->device[0].geometry, 0);
        store_free(store);
    }
    unmake(&f);
}

/* --- an ioctl that is killed ------------------------------------------------------------------ */

/* What a worker finds of the one before. */
struct ioctl {
    struct state *state;
    struct journal journal;
    uint64_t before; /* what the client is told */
};

#define OLD 70u
#define NEW 80u

/* As Shared.decide (device.py): sets NEW and returns what was pending, OLD where that never
 * changed. */
static uint64_t exchange(struct state *state)
{
    uint64_t before = 0;

    if (state_replays_pending(&before))
        return before;
    if (!state_get_pending(state, &before))
        before = OLD;
    state_set_pending(state, before, NEW);
    return before;
}

static void run_ioctl(void *arg)
{
    struct ioctl *ioctl = arg;

    journal_begin(&ioctl->journal, UNIQUE);
    ioctl->before = exchange(ioctl->state);
    journal_end();
}

/* And puts it back as it was, for the next instruction. */
static void survive(void *arg)
{
    struct ioctl *ioctl = arg, after = *ioctl;
    struct cell cell = ioctl->state->pending;

    if (after.journal.unique == UNIQUE && after.journal.moves_cell == MOVED_PENDING)
        journal_settle(&after.journal, &ioctl->state->pending);
    run_ioctl(&after);
    assert_int_equal(after.before, OLD);
    assert_int_equal(ioctl->state->pending.value, NEW);
    assert_int_equal(ioctl->state->pending.moves, 1);
    ioctl->state->pending = cell;
}

static void test_parameters_are_set_once_wherever_a_worker_dies(void **state)
{
    struct fixture f = make();
    struct ioctl *ioctl = shared(sizeof(*ioctl));

    (void)state;
    ioctl->state = f.state;
    die_everywhere(run_ioctl, survive, ioctl);
    assert_int_equal(ioctl->before, OLD);
    assert_int_equal(f.state->pending.moves, 1);
    munmap(ioctl, sizeof(*ioctl));
    unmake(&f);
}

static void test_another_step_replays_no_parameters(void **state)
{
    struct fixture f = make();
    struct journal journal = {0};
    struct cell position = {0};
    uint64_t before = 42;

    (void)state;
    assert_false(state_replays_pending(&before));
    journal_begin(&journal, UNIQUE);
    journal_aim(MOVED_POSITION, &position, 2, 0);
    journal_applied(0);
    journal_begin(&journal, UNIQUE);
    assert_false(state_replays_pending(&before));
    assert_true(journal_will_replay()); /* the step is still to be replayed */
    journal_end();
    assert_int_equal(before, 42);
    unmake(&f);
}

/* --- kill points ------------------------------------------------------------------------------ */

static void test_a_kill_point_is_asked_for_by_another_process(void **state)
{
    struct fixture f = make();
    struct state *other = state_open(f.fd);

    (void)state;
    assert_int_equal(state_kill_points(f.state), 0); /* this build has none */
    assert_true(state_was_killed(f.state));
    state_kill_at(other, KILL_MOVED, DEATH_BY_SIGNAL);
    assert_int_equal(f.state->kill, KILL_MOVED);
    assert_false(state_was_killed(f.state));
    state_kill_at(other, KILL_NOWHERE, DEATH_BY_SIGNAL);
    assert_true(state_was_killed(f.state));
    state_close(other);
    unmake(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_state_says_what_it_is_of_and_is_zeros),
        cmocka_unit_test(test_version_2_is_laid_out_so),
        cmocka_unit_test(test_channels_do_not_reach_the_header),
        cmocka_unit_test(test_more_than_there_is_room_for_is_not_made),
        cmocka_unit_test(test_what_is_no_state_is_refused),
        cmocka_unit_test(test_another_version_is_refused_though_it_is_whole),
        cmocka_unit_test(test_each_bit_of_what_does_not_change_is_checked),
        cmocka_unit_test(test_pending_parameters_are_seen_by_who_opens_it_later),
        cmocka_unit_test(test_a_geometry_in_force_outlives_its_store),
        cmocka_unit_test(test_parameters_are_set_once_wherever_a_worker_dies),
        cmocka_unit_test(test_another_step_replays_no_parameters),
        cmocka_unit_test(test_a_kill_point_is_asked_for_by_another_process),
    };

    return RUN_ALL(tests);
}
