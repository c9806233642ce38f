/* filters: those of one device, in order.
 *
 * A request goes by all of them, each adds to the verdict what it makes of it, or ends it. Numbers are
 * given once, so that `remove 2` means what it meant when the list was shown.
 *
 * The table may lie in the state: then filters, their counts and their chances outlive a worker. A
 * filter is there once its number is, which is stored last, and gone once the number is 0; so a death in
 * between leaves the table as it was. The lock is of the process: there is one worker at a time. */
#include "filter/filters.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/lock.h"

static _Thread_local const struct verdict *passing;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- life ---------------------------------------------------------------------------------------- */

static struct filters_table *map_table(int fd, uint32_t place)
{
    const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    const off_t at = fd < 0 ? 0 : (off_t)state_filters(place);
    void *table = fault_here() ? MAP_FAILED
                               : mmap(NULL, sizeof(struct filters_table), PROT_READ | PROT_WRITE,
                                      flags, fd, at);

    return table == MAP_FAILED ? NULL : table;
}

/* With the lock held: what the table has, by number. */
static void put_in_order(struct filters *filters)
{
    const struct filter *filter = filters->table->filter;

    filters->count = 0;
    for (unsigned i = 0; i < FILTERS_MAX; i++) {
        unsigned at = filters->count;

        if (!filter[i].number)
            continue;
        for (; at && filter[filters->order[at - 1]].number > filter[i].number; at--)
            filters->order[at] = filters->order[at - 1];
        filters->order[at] = (uint8_t)i;
        filters->count++;
    }
    filters->on = filters->count > 0;
}

struct filters *filters_new(int fd, uint32_t place)
{
    struct filters *filters = fault_here() ? NULL : calloc(1, sizeof(*filters));

    if (!filters)
        return NULL;
    filters->table = map_table(fd, place);
    if (!filters->table) {
        free(filters);
        return NULL;
    }
    refs_hold(&filters->refs);
    pthread_mutex_init(&filters->lock, NULL);
    waits_init(&filters->waits);
    put_in_order(filters);
    return filters;
}

struct filters *filters_hold(struct filters *filters)
{
    if (filters)
        refs_hold(&filters->refs);
    return filters;
}

void filters_begin(struct filters *filters)
{
    LOCKED(&filters->lock);
    put_in_order(filters);
}

void filters_free(struct filters *filters)
{
    if (!filters || !refs_drop(&filters->refs))
        return;
    munmap(filters->table, sizeof(*filters->table));
    waits_destroy(&filters->waits);
    pthread_mutex_destroy(&filters->lock);
    free(filters);
}

/* --- polls --------------------------------------------------------------------------------------- */

void filters_note_poll(struct filters *filters, uint64_t poll, int fd)
{
    LOCKED(&filters->lock);
    for (unsigned i = 0; i < FILTERS_POLLS; i++)
        if (filters->polled[i].poll == poll && filters->polled[i].fd == fd)
            return;
    filters->polled[filters->next_polled].poll = poll;
    filters->polled[filters->next_polled].fd = fd;
    filters->next_polled = (filters->next_polled + 1) % FILTERS_POLLS;
}

/* Whoever polls asks again, and hears what is so now. */
static void wake_polls(struct filters *filters)
{
    for (unsigned i = 0; i < FILTERS_POLLS; i++) {
        struct {
            struct fuse_out_header out;
            struct fuse_notify_poll_wakeup_out wakeup;
        } message = {
            .out = {.len = sizeof(message), .error = FUSE_NOTIFY_POLL},
            .wakeup = {.kh = filters->polled[i].poll},
        };

        if (filters->polled[i].poll &&
            write(filters->polled[i].fd, &message, sizeof(message)) < 0)
            continue; /* that channel has ended: who reads it hears of it */
    }
    memset(filters->polled, 0, sizeof(filters->polled));
}

/* --- changes ------------------------------------------------------------------------------------- */

/* With the lock held. */
static void changed(struct filters *filters)
{
    put_in_order(filters);
    waits_release(&filters->waits);
    wake_polls(filters);
}

int64_t filters_add(struct filters *filters, const struct filter_spec *spec)
{
    LOCKED(&filters->lock);
    struct filters_table *table = filters->table;

    for (unsigned i = 0; i < FILTERS_MAX; i++) {
        if (table->filter[i].number)
            continue;
        filter_begin(&table->filter[i], spec, now_ns());
        table->filter[i].number = ++table->last;
        changed(filters);
        return (int64_t)table->last;
    }
    return -ENOSPC;
}

int filters_remove(struct filters *filters, uint64_t number)
{
    LOCKED(&filters->lock);
    for (unsigned i = 0; i < filters->count; i++) {
        struct filter *filter = &filters->table->filter[filters->order[i]];

        if (filter->number != number)
            continue;
        filter->number = 0;
        changed(filters);
        return 0;
    }
    return -ENOENT;
}

bool filters_next(struct filters *filters, uint64_t after, struct filter_seen *found)
{
    LOCKED(&filters->lock);
    for (unsigned i = 0; i < filters->count; i++) {
        const struct filter *filter = &filters->table->filter[filters->order[i]];

        if (filter->number <= after)
            continue;
        *found = (struct filter_seen){
            .number = filter->number,
            .seen = filter->seen,
            .acted = filter->acted,
            .kind = filter->spec.kind,
        };
        memcpy(found->text, filter->spec.text, sizeof(found->text));
        return true;
    }
    return false;
}

/* --- requests ------------------------------------------------------------------------------------ */

void filters_judge(struct filters *filters, const struct filtered *request,
                   struct verdict *verdict)
{
    LOCKED(&filters->lock);
    bool goes_on = true;

    struct filtered seen = *request;

    seen.now_ns = now_ns(); /* under the lock: after the filters were added */
    *verdict = (struct verdict){.bytes = request->bytes, .changes = filters->waits.changes};
    for (unsigned i = 0; i < filters->count && goes_on; i++) {
        struct filter *filter = &filters->table->filter[filters->order[i]];
        const bool hung = filter->hung;

        goes_on = filter_judge(filter, &seen, verdict);
        if (filter->hung && !hung)
            changed(filters);
    }
}

enum wait_end filters_wait(struct filters *filters, struct wait *wait, uint64_t until_ns)
{
    LOCKED(&filters->lock);
    return waits_until(&filters->waits, &filters->lock, wait, until_ns);
}

bool filters_interrupt(struct filters *filters, const void *owner, uint64_t unique)
{
    LOCKED(&filters->lock);
    return waits_interrupt(&filters->waits, owner, unique);
}

void filters_stop(struct filters *filters, int fd)
{
    LOCKED(&filters->lock);
    waits_look(&filters->waits);
    for (unsigned i = 0; i < FILTERS_POLLS; i++)
        if (filters->polled[i].fd == fd)
            filters->polled[i].poll = 0;
}

void filters_pass(const struct verdict *verdict)
{
    passing = verdict;
}

const struct verdict *filters_passing(void)
{
    return passing;
}
