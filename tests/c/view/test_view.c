/* A whole file view with all its threads: clients that race with one another and with who changes
 * the stores by another way. Worth most under ThreadSanitizer. */
#include "helper.h"

#include "channel/race.h"

#include <linux/falloc.h>

#define CHANGERS 2u

static const struct channel_options options = {
    .threads = 3,
    .callers = 1,
    .placement = PLACEMENT_FOLLOW,
    .spin_us = -1,
};

static void begin(struct race *race)
{
    struct fileview_file files[PLAYED_STORES] = {{.name = "first"}, {.name = "second"}};
    struct fileview_setup setup = {
        .files = files,
        .n_files = PLAYED_STORES,
        .looker = -1,
        .mode = 0600,
    };

    race_make(race, true);
    race->allowed = -ENXIO; /* SEEK_DATA beyond all data */
    for (unsigned i = 0; i < PLAYED_STORES; i++)
        files[i].store = race->played.store[i];
    setup.budget = race->budget;
    setup.ledger = ledger_new(-1, 0, false);
    race_begin(race, fileview_open(race->kernel.server, &setup, &options, &race->played));
    fileview_settle(race->channel, NULL);
}

static void end(struct race *race)
{
    race->ending = true;
    fileview_forget(race->channel);
    assert_int_equal(channel_close(race->channel, 30000), 0);
}

static int call_with(struct racer *racer, uint32_t opcode, const void *body, size_t size)
{
    return kernel_call(&racer->race->kernel, racer->number, racer->node, opcode, body, size, NULL,
                       0);
}

static int change_size(struct racer *racer, uint64_t size)
{
    struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size};

    return call_with(racer, FUSE_SETATTR, &in, sizeof(in));
}

static int punch(struct racer *racer, uint64_t file, uint64_t at)
{
    struct fuse_fallocate_in in = {
        .fh = file,
        .offset = at,
        .length = BLOCK,
        .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
    };

    return call_with(racer, FUSE_FALLOCATE, &in, sizeof(in));
}

static int look_around(struct racer *racer, uint64_t file, uint64_t at)
{
    struct fuse_lseek_in seek = {.fh = file, .offset = at, .whence = SEEK_DATA};
    struct fuse_getattr_in attributes = {.fh = file};

    went_well(racer->race, call_with(racer, FUSE_LSEEK, &seek, sizeof(seek)));
    went_well(racer->race, call_with(racer, FUSE_STATFS, NULL, 0));
    return call_with(racer, FUSE_GETATTR, &attributes, sizeof(attributes));
}

static int read_and_look(struct racer *racer, uint64_t file, uint64_t at)
{
    struct race *race = racer->race;
    int error = kernel_pread(&race->kernel, racer->number, racer->node, file, at, BLOCK);

    if (!error && !race->kernel.gone)
        look(race, racer->number);
    return error;
}

static void step(struct racer *racer, uint64_t file)
{
    struct fakekernel *kernel = &racer->race->kernel;
    uint64_t at = next_random(&racer->random) % BLOCKS * BLOCK;
    unsigned what = next_random(&racer->random) % 32;
    uint8_t data[BLOCK];
    int error;

    if (what == 0) {
        error = change_size(racer, at);
    } else if (what == 1) {
        error = punch(racer, file, at);
    } else if (what == 2) {
        error = kernel_ioctl(kernel, racer->number, racer->node, file, CMD_PUNCH, at);
    } else if (what < 5) {
        error = look_around(racer, file, at);
    } else if (what < 18) {
        memset(data, (int)next_random(&racer->random), sizeof(data));
        error = kernel_pwrite(kernel, racer->number, racer->node, file, at, data, sizeof(data));
    } else {
        error = read_and_look(racer, file, at);
    }
    went_well(racer->race, error);
}

static void *client_main(void *arg)
{
    struct racer *racer = arg;
    struct race *race = racer->race;
    uint64_t file = 0;

    for (unsigned turn = 0; turn < TURNS && !race->kernel.gone;) {
        if (!went_well(race, kernel_open(&race->kernel, racer->number, racer->node, &file)))
            continue;
        for (unsigned i = 0; i < 20; i++, turn++)
            step(racer, file);
        went_well(race, kernel_release(&race->kernel, racer->number, racer->node, file));
    }
    return NULL;
}

/* As a node of the same device would. */
static void *change_main(void *arg)
{
    struct racer *racer = arg;
    struct store *store = racer->race->played.store[racer->number % PLAYED_STORES];
    uint8_t data[BLOCK];

    for (unsigned i = 0; i < TURNS / 4 && !racer->race->ending; i++) {
        uint64_t at = next_random(&racer->random) % BLOCKS * BLOCK;

        memset(data, (int)i, sizeof(data));
        if (i % 16 == 0)
            store_trim(store, BLOCK, 10);
        else if (i % 4 == 0)
            store_punch(store, at, BLOCK);
        else
            store_write(store, at, data, sizeof(data));
    }
    return NULL;
}

static void run(bool early)
{
    static struct race race;
    struct racer racer[KERNEL_CLIENTS], changer[CHANGERS];

    begin(&race);
    for (unsigned i = 0; i < KERNEL_CLIENTS; i++) {
        racer[i] = (struct racer){
            .race = &race,
            .number = i,
            .node = VIEW_FIRST + i % PLAYED_STORES,
            .random = i + 1,
        };
        pthread_create(&racer[i].thread, NULL, client_main, &racer[i]);
    }
    for (unsigned i = 0; i < CHANGERS; i++) {
        changer[i] = (struct racer){.race = &race, .number = i, .random = 100 + i};
        pthread_create(&changer[i].thread, NULL, change_main, &changer[i]);
    }
    if (early) {
        usleep(50000);
        end(&race);
    }
    for (unsigned i = 0; i < KERNEL_CLIENTS; i++)
        pthread_join(racer[i].thread, NULL);
    for (unsigned i = 0; i < CHANGERS; i++)
        pthread_join(changer[i].thread, NULL);
    if (!early)
        end(&race);
    race_unmake(&race);
}

static void test_clients_of_a_view_race_with_changes_by_another_way(void **state)
{
    (void)state;
    run(false);
}

static void test_a_view_ends_under_load(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        run(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_of_a_view_race_with_changes_by_another_way),
        cmocka_unit_test(test_a_view_ends_under_load),
    };

    return RUN_ALL(tests);
}
