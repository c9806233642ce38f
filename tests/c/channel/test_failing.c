/* System calls and allocations that fail, each in turn, under a whole channel: every request is answered,
 * one that is told an error has changed nothing, and the same works when it is made again. The linker
 * puts the functions below in the place of the real ones (ld(1): --wrap). */
#include "helper.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "channel/race.h"

#define PLACES 12u
#define AT(i) ((uint64_t)(i) * 5 * BLOCK / 2) /* blocks that cross quanta */
#define MOST 100000u

/* --- failing --------------------------------------------------------------------------------------- */

static atomic_uint countdown;
static atomic_bool fired;
static const char *_Atomic who;
static _Thread_local bool is_client; /* what the test does itself does not fail */

static bool fails(const char *name, int error)
{
    unsigned left = is_client ? 0 : countdown;

    while (left && !atomic_compare_exchange_weak(&countdown, &left, left - 1))
        continue;
    if (left != 1)
        return false;
    who = name;
    fired = true;
    errno = error;
    return true;
}

#define WRAP(result, name, types, names, failure, error) \
    result __real_##name types;                          \
    result __wrap_##name types;                          \
    result __wrap_##name types                           \
    {                                                    \
        if (fails(#name, error))                         \
            return failure;                              \
        return __real_##name names;                      \
    }

WRAP(void *, malloc, (size_t n), (n), NULL, ENOMEM)
WRAP(void *, calloc, (size_t n, size_t of), (n, of), NULL, ENOMEM)
WRAP(void *, realloc, (void *old, size_t n), (old, n), NULL, ENOMEM)
WRAP(char *, strdup, (const char *s), (s), NULL, ENOMEM)
WRAP(void *, mmap, (void *at, size_t n, int access, int flags, int fd, off_t from),
     (at, n, access, flags, fd, from), MAP_FAILED, ENOMEM)
WRAP(int, mprotect, (void *at, size_t n, int access), (at, n, access), -1, ENOMEM)
WRAP(int, madvise, (void *at, size_t n, int what), (at, n, what), -1, EAGAIN)
WRAP(int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n), -1, ENOSPC)
WRAP(int, ftruncate, (int fd, off_t n), (fd, n), -1, EIO)
WRAP(off_t, lseek, (int fd, off_t at, int whence), (fd, at, whence), -1, EIO)
WRAP(ssize_t, pread, (int fd, void *data, size_t n, off_t at), (fd, data, n, at), -1, EIO)
WRAP(ssize_t, pwritev, (int fd, const struct iovec *iov, int count, off_t at), (fd, iov, count, at),
     -1, ENOSPC)
WRAP(ssize_t, readv, (int fd, const struct iovec *iov, int count), (fd, iov, count), -1, EINTR)
WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *how, void *(*run)(void *), void *arg),
     (thread, how, run, arg), EAGAIN, EAGAIN)

/* --- what is tried ---------------------------------------------------------------------------------- */

enum kind { NODE_ANON, NODE_FILE, VIEW_ANON, VIEW_FILE, KINDS };

struct trial {
    struct race race;
    bool is_view, is_file;
    uint64_t node, file;
    uint8_t model[BLOCKS * BLOCK];
};

static void make_store(struct trial *trial)
{
    struct race *race = &trial->race;
    int fd;

    if (!trial->is_file)
        return;
    for (unsigned i = 0; i < PLAYED_STORES; i++) {
        store_free(race->played.store[i]);
        fd = memfd_create("store", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        race->played.store[i] = store_new_file(race->budget, BLOCK, 10, fd, 0, 0, false);
        assert_non_null(race->played.store[i]);
    }
}

static struct channel *open_channel(struct trial *trial)
{
    const struct channel_options options = {
        .threads = 2, .callers = 1, .placement = PLACEMENT_FOLLOW, .spin_us = -1};
    struct race *race = &trial->race;
    struct fileview_file files[PLAYED_STORES] = {{.name = "one", .store = race->played.store[0]},
                                                 {.name = "two", .store = race->played.store[1]}};
    struct ledger *ledger = ledger_new(-1, 0, false);

    if (!ledger) {
        close(race->kernel.server);
        errno = ENOMEM;
        return NULL;
    }
    return trial->is_view
               ? fileview_open(race->kernel.server,
                               &(struct fileview_setup){.files = files,
                                                        .n_files = PLAYED_STORES,
                                                        .looker = -1,
                                                        .budget = race->budget,
                                                        .mode = 0600,
                                                        .ledger = ledger},
                               &options, &race->played)
               : cuse_open(race->kernel.server,
                           &(struct cuse_setup){.name = "failing", .data_path = true, .ledger = ledger},
                           &options, &race->played);
}

/* False: it could not be, and nothing is left of it. */
static bool begin(struct trial *trial)
{
    struct race *race = &trial->race;
    int rc;

    is_client = false;
    race->channel = open_channel(trial);
    assert_true(race->channel || errno);
    rc = race->channel ? channel_begin(race->channel) : -errno;
    is_client = true;
    if (rc == 0 && kernel_init(&race->kernel) == 0 && channel_wait_ready(race->channel, 30000) == 0) {
        if (trial->is_view)
            fileview_settle(race->channel, (const int32_t[PLAYED_STORES]){0});
        return true;
    }
    assert_true(fired);
    if (race->channel)
        assert_int_equal(channel_close(race->channel, 30000), 0);
    return false;
}

/* A request that failed because something else did is made again. */
#define AGAIN(call)                                                              \
    do {                                                                         \
        int error_ = (call);                                                     \
        if (error_) {                                                            \
            if (!fired)                                                          \
                fail_msg("%s: %s without a reason", #call, strerror(-error_));   \
            error_ = (call);                                                     \
        }                                                                        \
        if (error_)                                                              \
            fail_msg("%s: %s after %s had failed", #call, strerror(-error_), who); \
    } while (0)

static struct kernel_client *client(struct trial *trial)
{
    return &trial->race.kernel.client[0];
}

static int seek(struct trial *trial, uint64_t at)
{
    if (trial->is_view)
        return 0;
    return kernel_ioctl(&trial->race.kernel, 0, trial->node, trial->file, CMD_SEEK, at);
}

/* Some of it may be written before something fails. */
static int write_block(struct trial *trial, uint64_t at, uint64_t seed)
{
    uint8_t data[BLOCK];
    struct fuse_write_out out;
    uint32_t done = 0;

    fill(data, sizeof(data), seed);
    while (done < sizeof(data)) {
        int error = seek(trial, at + done);

        if (!error)
            error = kernel_pwrite(&trial->race.kernel, 0, trial->node, trial->file, at + done,
                                  data + done, (uint32_t)sizeof(data) - done);
        if (error)
            return error;
        memcpy(&out, client(trial)->body, sizeof(out));
        assert_in_range(out.size, 1, sizeof(data) - done);
        memcpy(trial->model + at + done, data + done, out.size);
        done += out.size;
    }
    return 0;
}

static int check_block(struct trial *trial, uint64_t at)
{
    uint32_t done = 0;

    while (done < BLOCK) {
        int error = seek(trial, at + done);

        if (!error)
            error = kernel_pread(&trial->race.kernel, 0, trial->node, trial->file, at + done,
                                 BLOCK - done);
        if (error)
            return error;
        assert_in_range(client(trial)->length, 1, BLOCK - done);
        assert_memory_equal(client(trial)->body, trial->model + at + done, client(trial)->length);
        done += client(trial)->length;
    }
    return 0;
}

static int other(struct trial *trial, uint32_t cmd, uint64_t arg)
{
    return kernel_ioctl(&trial->race.kernel, 0, trial->node, trial->file, cmd, arg);
}

static void use(struct trial *trial)
{
    struct fakekernel *kernel = &trial->race.kernel;

    AGAIN(kernel_open(kernel, 0, trial->node, &trial->file));
    AGAIN(write_block(trial, (BLOCKS - 1) * (uint64_t)BLOCK, 99)); /* all before is a hole */
    for (unsigned i = 0; i < PLACES; i++)
        AGAIN(write_block(trial, AT(i), i + 1));
    for (unsigned i = 0; i < PLACES; i++)
        AGAIN(check_block(trial, AT(i)));
    AGAIN(other(trial, CMD_PUNCH, 2 * BLOCK));
    memset(trial->model + 2 * BLOCK, 0, BLOCK);
    AGAIN(write_block(trial, 3 * BLOCK, 7));
    for (uint64_t at = 0; at < BLOCKS * BLOCK; at += BLOCK)
        if (trial->is_file || at == 3 * BLOCK) /* else a hole ends a read */
            AGAIN(check_block(trial, at));
    AGAIN(other(trial, CMD_TRIM, 0));
    memset(trial->model, 0, sizeof(trial->model));
    AGAIN(write_block(trial, 0, 5));
    AGAIN(check_block(trial, 0));
    AGAIN(kernel_release(kernel, 0, trial->node, trial->file));
}

/* False: fewer than `nth` were called. */
static bool try_nth(enum kind kind, unsigned nth)
{
    struct trial trial = {
        .is_view = kind == VIEW_ANON || kind == VIEW_FILE,
        .is_file = kind == NODE_FILE || kind == VIEW_FILE,
    };

    trial.node = trial.is_view ? VIEW_FIRST : 0;
    is_client = true;
    race_make(&trial.race, trial.is_view);
    make_store(&trial);
    fired = false;
    who = "nothing";
    countdown = nth;
    if (begin(&trial)) {
        use(&trial);
        trial.race.ending = true;
        assert_int_equal(channel_close(trial.race.channel, 30000), 0);
    }
    countdown = 0;
    race_unmake(&trial.race);
    return fired;
}

static void walk(enum kind kind)
{
    unsigned nth = 1;

    while (nth < MOST && try_nth(kind, nth))
        nth++;
    printf("%u calls failed, one a run\n", nth - 1);
    assert_in_range(nth, 20, MOST - 1);
}

static void test_a_node(void **state)
{
    (void)state;
    walk(NODE_ANON);
}

static void test_a_node_of_a_file(void **state)
{
    (void)state;
    walk(NODE_FILE);
}

static void test_a_view(void **state)
{
    (void)state;
    walk(VIEW_ANON);
}

static void test_a_view_of_files(void **state)
{
    (void)state;
    walk(VIEW_FILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node),
        cmocka_unit_test(test_a_node_of_a_file),
        cmocka_unit_test(test_a_view),
        cmocka_unit_test(test_a_view_of_files),
    };

    return RUN_ALL(tests);
}
