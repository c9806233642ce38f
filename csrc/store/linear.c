/* linear: a store over a file whose byte i is the device's byte i (image.c).
 *
 * A transfer has its quanta locked (range.c), so that a read sees one write whole or not at all
 * within a quantum, and both sides one geometry. Who comes to the file by another way keeps no such
 * rules but his file system's. */
#include <errno.h>
#include <unistd.h>

#include "base/lock.h"
#include "recover/journal.h"
#include "scullv.h"
#include "store/image.h"
#include "store/plan.h"
#include "store/presence.h"
#include "store/range.h"

#define COPY_MOST 1024u /* bytes: below, one pread is less work than to look for holes */
#define COPY_KEPT 16384u /* and than to have the pages at hand, where that matters (is_safe) */

/* --- reading ------------------------------------------------------------------------------------- */

/* With the range locked: how much of it a read gets. */
static size_t readable(struct store *store, const struct range *range, uint64_t pos, size_t len,
                       unsigned flags)
{
    struct image_state state;

    image_state(store->image, &state);
    if (pos >= state.size)
        return 0;
    if (len > state.size - pos)
        len = (size_t)(state.size - pos);
    if (!(flags & STORE_LDD3))
        return len;
    if (!presence_is_there(store, range->quantum, range->first))
        return 0;
    return range_within(range, pos, len);
}

static void end_read(struct read_plan *plan)
{
    stripes_unlock(image_stripes(plan->store->image), plan->first, plan->last);
}

static bool plan_spans(struct image *image, uint64_t pos, size_t len, struct read_plan *plan)
{
    while (plan->bytes < len) {
        uint64_t at = pos + plan->bytes, end;
        bool data = image_data_at(image, at, &end);
        size_t left = len - plan->bytes;
        size_t n = end - at < left ? (size_t)(end - at) : left;

        if (!(data ? plan_add(plan, image_map(image, at, n), n) : plan_add_hole(plan, n)))
            return false;
    }
    return true;
}

/* What the kernel copies for a process that is killed meanwhile has to be in its page tables: it takes
 * no fault then, and the client would get EIO (mm/gup.c: __get_user_pages). */
static bool is_safe(struct image *image, const struct read_plan *plan)
{
    if (!journal_current())
        return true;
    for (unsigned i = 0; i < plan->spans; i++)
        if (!image_populate(image, plan->iov[i].iov_base, plan->iov[i].iov_len))
            return false;
    return true;
}

static size_t copied_at_most(void)
{
    return journal_current() ? COPY_KEPT : COPY_MOST;
}

static int linear_plan_read(struct store *store, uint64_t pos, size_t len, unsigned flags,
                            struct read_plan *plan)
{
    struct range range;

    plan->end = NULL;
    plan->pins = plan->spans = 0;
    plan->bytes = 0;
    if (len <= copied_at_most())
        return len ? -E2BIG : 0;
    if (pos >= POSITION_MAX || len > POSITION_MAX - pos)
        return -E2BIG;
    range = range_lock(store, pos, pos + len, false);
    plan->store = store;
    plan->first = range.first;
    plan->last = range.last;
    plan->end = end_read;
    len = readable(store, &range, pos, len, flags);
    if (len == 0 || (len > copied_at_most() && image_map(store->image, pos, len) &&
                     plan_spans(store->image, pos, len, plan) && is_safe(store->image, plan)))
        return 0;
    store_end_read(plan);
    return -E2BIG;
}

static ssize_t linear_read(struct store *store, uint64_t pos, void *data, size_t len,
                           unsigned flags)
{
    struct range range;
    ssize_t n = 0;

    if (len == 0 || pos >= POSITION_MAX)
        return 0;
    if (len > POSITION_MAX - pos)
        len = (size_t)(POSITION_MAX - pos);
    range = range_lock(store, pos, pos + len, false);
    len = readable(store, &range, pos, len, flags);
    if (len)
        n = image_read(store->image, pos, data, len);
    range_unlock(store, &range);
    return n;
}

/* --- writing ------------------------------------------------------------------------------------- */

static void changed(struct store *store)
{
    LOCKED(&store->lock);
    store->changes++;
}

static ssize_t linear_write(struct store *store, uint64_t pos, const struct iovec *src, size_t len,
                            struct spares *spares, unsigned flags)
{
    uint64_t fixed = image_fixed(store->image);
    struct range range;
    int64_t before;
    ssize_t n;

    (void)spares; /* there are none: it does not adopt */
    if (journal_replays(&before))
        return before;
    if (fixed && pos >= fixed)
        return -ENOSPC;
    if (fixed && len > fixed - pos)
        len = (size_t)(fixed - pos);
    range = range_lock(store, pos, pos + len, true);
    if (flags & STORE_LDD3)
        len = range_within(&range, pos, len);
    n = image_write(store->image, pos, src, len);
    if (n > 0) {
        presence_wrote(store, range.quantum, range.first,
                       (pos + (uint64_t)n - 1) / range.quantum);
        changed(store);
    }
    journal_applied(n);
    range_unlock(store, &range);
    return n;
}

/* --- holes and sizes ----------------------------------------------------------------------------- */

/* The memory of whole quanta goes; parts of others are cleared, and those stay quanta. */
static int punch_locked(struct store *store, uint64_t quantum, uint64_t from, uint64_t end)
{
    struct image *image = store->image;
    uint64_t first = (from + quantum - 1) / quantum, past = end / quantum;
    int err;

    if (first >= past)
        return image_zero(image, from, end);
    presence_forget(store, first, past);
    err = image_zero(image, from, first * quantum);
    if (err == 0)
        err = image_punch(image, first * quantum, past * quantum);
    return err ? err : image_zero(image, past * quantum, end);
}

static int linear_punch(struct store *store, uint64_t from, uint64_t end)
{
    struct image_state state;
    uint64_t quantum;
    int64_t before;
    int err = 0;

    if (from >= end)
        return 0;
    if (journal_replays(&before))
        return (int)before;
    range_lock_all(store);
    quantum = atomic_load(&store->quantum);
    image_state(store->image, &state);
    /* Past the size are only zeros: a range that reaches it covers the last quantum. */
    if (end >= state.size)
        end = (end - 1) / quantum * quantum + quantum;
    if (end > POSITION_MAX)
        end = POSITION_MAX;
    if (image_fixed(store->image) && end > image_fixed(store->image))
        end = image_fixed(store->image);
    if (from < end)
        err = punch_locked(store, quantum, from, end);
    changed(store);
    journal_applied(err);
    range_unlock_all(store);
    return err;
}

/* `keeps`: the last quantum was there, so it is, though its data may have been cut off. */
static void cut(struct store *store, uint64_t quantum, uint64_t size, bool keeps)
{
    presence_forget(store, (size + quantum - 1) / quantum, UINT64_MAX);
    if (keeps)
        presence_keep(store, size / quantum, size / quantum);
    LOCKED(&store->lock);
    store->cuts++;
}

static int linear_resize(struct store *store, uint64_t size)
{
    struct image_state state;
    uint64_t quantum;
    int64_t before;
    int err;

    if (journal_replays(&before))
        return (int)before;
    range_lock_all(store);
    quantum = atomic_load(&store->quantum);
    image_state(store->image, &state);
    if (image_fixed(store->image)) {
        err = size == state.size ? 0 : -EPERM;
    } else {
        bool cuts = size < state.size;
        bool keeps = cuts && size % quantum && presence_is_there(store, quantum, size / quantum);

        err = image_resize(store->image, size);
        if (err == 0 && cuts)
            cut(store, quantum, size, keeps);
        changed(store);
    }
    journal_applied(err);
    range_unlock_all(store);
    return err;
}

static int linear_allocate(struct store *store, uint64_t offset, uint64_t length, bool keep_size)
{
    uint64_t fixed = image_fixed(store->image);
    struct range range;
    int64_t before;
    int err;

    if (journal_replays(&before))
        return (int)before;
    if (fixed && (offset > fixed || length > fixed - offset))
        return -ENOSPC;
    range = range_lock(store, offset, offset + length, true);
    err = image_allocate(store->image, offset, length, keep_size);
    if (err == 0)
        presence_keep(store, range.first, range.last);
    changed(store);
    journal_applied(err);
    range_unlock(store, &range);
    return err;
}

/* A device that is mapped memory keeps its bytes, as the book's ioremap. */
static int linear_trim(struct store *store, uint64_t quantum, uint32_t qset)
{
    int64_t before;
    int err = 0;

    if (journal_replays(&before))
        return (int)before;
    range_lock_all(store);
    if (!image_fixed(store->image))
        err = image_resize(store->image, 0);
    if (err == 0) {
        presence_forget(store, 0, UINT64_MAX);
        LOCKED(&store->lock);
        store_set_geometry(store, quantum, qset);
        store->cuts++;
        store->changes++;
    }
    journal_applied(err);
    range_unlock_all(store);
    return err;
}

/* --- what is there ------------------------------------------------------------------------------- */

static int64_t linear_seek_extent(struct store *store, uint64_t offset, bool hole)
{
    uint64_t quantum = atomic_load(&store->quantum), key = offset / quantum, at;
    struct image_state state;

    image_state(store->image, &state);
    if (offset >= state.size)
        return -ENXIO;
    at = state.size; /* where a hole begins that nobody made */
    if (hole)
        key = presence_gap(store, quantum, key);
    if ((hole || presence_next(store, quantum, key, &key)) && key <= (state.size - 1) / quantum)
        at = key * quantum;
    if (at < offset)
        at = offset;
    return at == state.size && !hole ? -ENXIO : (int64_t)at;
}

static int linear_next_quantum(struct store *store, uint64_t from, uint64_t *number,
                               uint64_t *offset)
{
    uint64_t quantum = atomic_load(&store->quantum);

    if (!presence_next(store, quantum, from, number))
        return 0;
    *offset = *number * quantum;
    return 1;
}

static uint64_t linear_count(struct store *store)
{
    uint64_t quantum = atomic_load(&store->quantum), count = 0, key = 0, end;

    while (presence_next(store, quantum, key, &key)) {
        end = presence_gap(store, quantum, key);
        count += end - key;
        key = end;
    }
    return count;
}

/* With the lock held. Times are the file's, as others may change it. */
static void linear_get_info(struct store *store, struct store_info *info)
{
    struct image_state state;

    image_state(store->image, &state);
    info->size = state.size;
    info->resident = state.resident;
    info->changes = store->changes + state.modified_ns;
    info->changed_ns = state.modified_ns;
}

static int linear_sync(struct store *store)
{
    return image_sync(store->image);
}

static void linear_unmake(struct store *store)
{
    index_drop(&store->index, NULL, NULL);
    image_free(store->image);
}

static int linear_descriptor(const struct store *store)
{
    return image_fd(store->image);
}

static bool linear_is_open_to_all(const struct store *store)
{
    return image_is_open_to_all(store->image);
}

static const struct backing linear = {
    .plan_read = linear_plan_read,
    .read = linear_read,
    .write = linear_write,
    .trim = linear_trim,
    .punch = linear_punch,
    .resize = linear_resize,
    .allocate = linear_allocate,
    .seek_extent = linear_seek_extent,
    .next_quantum = linear_next_quantum,
    .count_quanta = linear_count,
    .get_info = linear_get_info,
    .sync = linear_sync,
    .descriptor = linear_descriptor,
    .is_open_to_all = linear_is_open_to_all,
    .unmake = linear_unmake,
};

struct store *store_new_file(struct budget *budget, uint64_t quantum, uint32_t qset, int fd,
                             uint64_t offset, uint64_t fixed, bool limited)
{
    struct store *store = store_make(&linear, budget, quantum, qset);

    if (!store) {
        int error = errno;

        close(fd);
        errno = error;
        return NULL;
    }
    store->image = image_new(fd, offset, fixed, limited ? budget : NULL);
    if (!store->image) {
        store_discard(store);
        errno = ENOMEM;
        return NULL;
    }
    index_init(&store->index, budget);
    return store;
}
