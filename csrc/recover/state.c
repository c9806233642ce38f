/* state: the memory that outlives a worker: a file without a name that the keeper holds.
 *
 * A header (the parameters, what is in force on each device), then a part for each channel, the same
 * distance apart (ledger_private.h, and filters.h at its end). There are no addresses in it, only numbers: a later worker has it
 * elsewhere, and a later program may read it, if it knows the version. It outlives the kernel no more
 * than other memory does. */
#include "recover/state.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/killpoint.h"
#include "recover/journal.h"

#define MAGIC UINT64_C(0x76006c6c75637301)
#define VERSION 2u
#define HEAD ((size_t)1 << 16) /* bytes before the first channel's part */

_Static_assert(sizeof(struct state) <= HEAD, "the header");

static uint32_t checksum(const struct state *state)
{
    const uint64_t words[] = {state->magic, state->version, state->devices, state->channels,
                              sizeof(struct state), sizeof(struct journal), STATE_PLACE};
    uint32_t sum = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < sizeof(words); i++)
        sum = (sum ^ ((const uint8_t *)words)[i]) * 16777619u;
    return sum;
}

uint64_t state_place(uint32_t place)
{
    return HEAD + place * STATE_PLACE;
}

uint64_t state_filters(uint32_t place)
{
    return state_place(place + 1) - STATE_FILTERS;
}

static struct state *map_head(int fd)
{
    return mmap(NULL, HEAD, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

int state_create(uint32_t devices, uint32_t channels)
{
    int fd = memfd_create("scullv-state", MFD_CLOEXEC);
    struct state *state;

    if (fd < 0)
        return -errno;
    if (devices > STATE_DEVICES || ftruncate(fd, (off_t)state_place(channels)) < 0)
        goto fail;
    state = map_head(fd);
    if (state == MAP_FAILED)
        goto fail;
    state->magic = MAGIC;
    state->version = VERSION;
    state->devices = devices;
    state->channels = channels;
    state->checksum = checksum(state);
    munmap(state, HEAD);
    return fd;
fail:
    close(fd);
    return -ENOMEM;
}

struct state *state_open(int fd)
{
    off_t length = lseek(fd, 0, SEEK_END);
    struct state *state = length < (off_t)HEAD ? NULL : map_head(fd);

    if (state == MAP_FAILED)
        return NULL;
    if (state && state->magic == MAGIC && state->version == VERSION &&
        state->checksum == checksum(state) && length >= (off_t)state_place(state->channels))
        return state;
    if (state)
        munmap(state, HEAD);
    errno = EPROTO;
    return NULL;
}

void state_close(struct state *state)
{
    if (state)
        munmap(state, HEAD);
}

uint32_t state_version(void)
{
    return VERSION;
}

/* --- the pending parameters ---------------------------------------------------------------------- */

bool state_get_pending(struct state *state, uint64_t *value)
{
    *value = state->pending.value;
    return state->pending.moves > 0;
}

void state_set_pending(struct state *state, uint64_t before, uint64_t value)
{
    struct journal *journal = journal_current();

    journal_aim(MOVED_PENDING, &state->pending, 0, value);
    if (journal)
        journal->before = before; /* as the cell may never have been moved */
    journal_applied(0);
    journal_move(&state->pending, value);
}

bool state_replays_pending(uint64_t *before)
{
    struct journal *journal = journal_current();
    int64_t result;

    if (!journal || journal->moves_cell != MOVED_PENDING || !journal_replays(&result))
        return false;
    *before = journal_before();
    return true;
}

/* --- tests ----------------------------------------------------------------------------------------- */

#ifdef KILL_POINTS
#include <signal.h>

static struct state *mortal; /* whose `kill` is looked at */

static void die(enum death death)
{
    switch (death) {
    case DEATH_BY_WILD_WRITE:
        *(volatile char *)(uintptr_t)0xdead000 = 1;
        break;
    case DEATH_BY_EXEC:
        execl("/bin/sh", "sh", "-c", "sleep 60", NULL);
        break;
    case DEATH_BY_SIGNAL:
        break;
    }
    kill(getpid(), SIGKILL);
}

void kill_point(enum kill_point point)
{
    uint32_t asked = mortal ? atomic_load(&mortal->kill) : KILL_NOWHERE;

    if (asked % KILL_POINTS_END == point &&
        atomic_compare_exchange_strong(&mortal->kill, &asked, KILL_NOWHERE))
        die(asked / KILL_POINTS_END);
}
#endif

uint32_t state_kill_points(struct state *state)
{
#ifdef KILL_POINTS
    mortal = state;
    return KILL_POINTS_END;
#else
    (void)state;
    return 0;
#endif
}

void state_kill_at(struct state *state, uint32_t point, uint32_t death)
{
    atomic_store(&state->kill, death * KILL_POINTS_END + point);
}

bool state_was_killed(const struct state *state)
{
    return atomic_load(&state->kill) == KILL_NOWHERE;
}
