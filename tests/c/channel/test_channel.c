/* Whole channels with all their threads, and clients that race: what a client reads was written at
 * once, every call is answered, and a channel ends under load. Worth most under ThreadSanitizer. */
#include "helper.h"

#include "channel/race.h"

static const struct channel_options options = {
    .threads = 3,
    .callers = 2,
    .placement = PLACEMENT_FOLLOW,
    .spin_us = -1,
};

static void begin(struct race *race, bool foreign, struct filters *filters)
{
    struct cuse_setup setup = {.name = "race", .data_path = !foreign, .filters = filters};

    race_make(race, false);
    race->played.foreign = foreign;
    setup.ledger = foreign ? NULL : ledger_new(-1, 0, false);
    race_begin(race, cuse_open(race->kernel.server, &setup, &options, &race->played));
}

static void end(struct race *race)
{
    race->ending = true;
    assert_int_equal(channel_close(race->channel, 30000), 0);
}

static void step_of_a_node(struct racer *racer, uint64_t file)
{
    struct fakekernel *kernel = &racer->race->kernel;
    uint64_t at = next_random(&racer->random) % BLOCKS * BLOCK;
    uint8_t data[BLOCK];
    int error = kernel_ioctl(kernel, racer->number, 0, file, CMD_SEEK, at);

    if (!went_well(racer->race, error))
        return;
    switch (next_random(&racer->random) % 16) {
    case 0:
        error = kernel_ioctl(kernel, racer->number, 0, file, CMD_TRIM, 0);
        break;
    case 1:
    case 2:
        error = kernel_ioctl(kernel, racer->number, 0, file, CMD_PUNCH, at);
        break;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
        memset(data, (int)next_random(&racer->random), sizeof(data));
        error = kernel_pwrite(kernel, racer->number, 0, file, 0, data, sizeof(data));
        break;
    default:
        error = kernel_pread(kernel, racer->number, 0, file, 0, BLOCK);
        if (!error && !racer->race->kernel.gone)
            look(racer->race, racer->number);
    }
    went_well(racer->race, error);
}

static void step_of_a_foreign_device(struct racer *racer, uint64_t file)
{
    struct fakekernel *kernel = &racer->race->kernel;
    struct fuse_poll_in poll = {.fh = file, .kh = racer->number, .flags = 1};
    unsigned number = racer->number;
    uint8_t data[100] = {0};

    if (racer->interrupts && next_random(&racer->random) % 4 == 0)
        kernel_interrupt(kernel, kernel_unique(kernel, number) +
                                     2 * KERNEL_CLIENTS * (next_random(&racer->random) % 2));
    switch (next_random(&racer->random) % 6) {
    case 0:
        went_well(racer->race, kernel_pwrite(kernel, number, 0, file, 0, data, sizeof(data)));
        break;
    case 1:
        went_well(racer->race, kernel_ioctl(kernel, number, 0, file, CMD_WAIT, 0));
        break;
    case 2:
        went_well(racer->race, kernel_ioctl(kernel, number, 0, file, CMD_LATER, 0));
        break;
    case 3:
        went_well(racer->race,
                  kernel_call(kernel, number, 0, FUSE_POLL, &poll, sizeof(poll), NULL, 0));
        break;
    default:
        went_well(racer->race, kernel_pread(kernel, number, 0, file, 0, 1000));
    }
}

static void *client_main(void *arg)
{
    struct racer *racer = arg;
    struct race *race = racer->race;
    uint64_t file = 0;

    for (unsigned turn = 0; turn < TURNS && !race->kernel.gone;) {
        if (!went_well(race, kernel_open(&race->kernel, racer->number, 0, &file)))
            continue;
        /* libfuse keeps one that comes late till the next request, and for ever if there is none. */
        racer->interrupts = !race->ends_early && turn + 40 < TURNS;
        for (unsigned i = 0; i < 20; i++, turn++)
            if (race->played.foreign)
                step_of_a_foreign_device(racer, file);
            else
                step_of_a_node(racer, file);
        went_well(race, kernel_release(&race->kernel, racer->number, 0, file));
    }
    return NULL;
}

static const struct filter_spec delay = {
    .kind = FILTER_DELAY,
    .ops = ~0u,
    .delay_ns = 200000,
    .jitter_ns = 200000,
    .chance = UINT64_C(1) << 28, /* one in 16 */
};

/* While clients are at work. */
static void change(struct filters *filters)
{
    for (unsigned i = 0; filters && i < 30; i++) {
        int64_t number = filters_add(filters, &delay);

        usleep(1000);
        assert_int_equal(filters_remove(filters, (uint64_t)number), 0);
    }
}

static void run_filtered(bool foreign, bool early, struct filters *filters)
{
    static struct race race;
    struct racer racer[KERNEL_CLIENTS];

    begin(&race, foreign, filters);
    race.allowed = filters ? -EINTR : 0;
    race.ends_early = early;
    for (unsigned i = 0; i < KERNEL_CLIENTS; i++) {
        racer[i] = (struct racer){.race = &race, .number = i, .random = i + 1};
        pthread_create(&racer[i].thread, NULL, client_main, &racer[i]);
    }
    change(filters);
    if (early) {
        usleep(50000);
        end(&race);
    }
    for (unsigned i = 0; i < KERNEL_CLIENTS; i++)
        pthread_join(racer[i].thread, NULL);
    if (!early)
        end(&race);
    race_unmake(&race);
}

static void run(bool foreign, bool early)
{
    run_filtered(foreign, early, NULL);
}

static void test_who_is_delayed_races_too(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct filters *filters = filters_new(-1, 0);

        filters_add(filters, &delay);
        run_filtered(i & 1, i & 2, filters);
        filters_free(filters);
    }
}

static void test_clients_of_a_node_read_what_was_written_at_once(void **state)
{
    (void)state;
    run(false, false);
}

static void test_a_node_ends_under_load(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        run(false, true);
}

static void test_calls_that_run_wait_and_are_answered_late_may_race(void **state)
{
    (void)state;
    run(true, false);
}

static void test_a_foreign_device_ends_under_load(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        run(true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_of_a_node_read_what_was_written_at_once),
        cmocka_unit_test(test_a_node_ends_under_load),
        cmocka_unit_test(test_calls_that_run_wait_and_are_answered_late_may_race),
        cmocka_unit_test(test_a_foreign_device_ends_under_load),
        cmocka_unit_test(test_who_is_delayed_races_too),
    };

    return RUN_ALL(tests);
}
