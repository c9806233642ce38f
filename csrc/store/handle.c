/* handle: an open file of a store.
 *
 * The position is shared by all who hold the open file (dup, fork), so the requests of one handle
 * take disjoint ranges: `lock` is held while a read is planned and while a write is done, never
 * across a system call but a watcher's (invalidate.c) and those that find memory. Lock order: handle,
 * then store. */
#include "store/handle.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/refs.h"
#include "recover/journal.h"
#include "scullv.h"

struct handle {
    refs_t refs;
    struct store *store; /* held */
    unsigned flags;
    pthread_mutex_t lock;
    struct cell own, *position; /* lock; `own` until it is kept elsewhere */
    uint64_t number;            /* of the open file; 0: none yet */
};

struct handle *handle_new(struct store *store, bool ldd3)
{
    struct handle *handle = calloc(1, sizeof(*handle));

    if (!handle)
        return NULL;
    refs_hold(&handle->refs);
    handle->store = store_hold(store);
    handle->flags = ldd3 ? STORE_LDD3 : 0;
    handle->position = &handle->own;
    pthread_mutex_init(&handle->lock, NULL);
    return handle;
}

struct handle *handle_hold(struct handle *handle)
{
    if (handle)
        refs_hold(&handle->refs);
    return handle;
}

void handle_free(struct handle *handle)
{
    if (!handle || !refs_drop(&handle->refs))
        return;
    store_drop(handle->store);
    pthread_mutex_destroy(&handle->lock);
    free(handle);
}

void handle_keep_position(struct handle *handle, struct cell *position, uint64_t number)
{
    handle->position = position;
    handle->number = number;
}

void handle_leave_position(struct handle *handle)
{
    LOCKED(&handle->lock);

    atomic_store_explicit(&handle->own.value, handle->position->value, memory_order_relaxed);
    handle->position = &handle->own;
    handle->number = 0;
}

static uint64_t position_of(const struct handle *handle)
{
    return atomic_load_explicit(&handle->position->value, memory_order_relaxed);
}

/* With the lock held: what comes next moves the position to `base` + its result. */
static void aim(const struct handle *handle, uint64_t base)
{
    journal_aim(MOVED_POSITION, handle->position, handle->number, base);
}

/* With the lock held: the system call has used its quantum up (LDD3 ch. 3, scull_read: "read only
 * up to the end of this quantum"). */
static bool spent(const struct handle *handle, bool continues)
{
    struct store_info info;

    if (!continues || !(handle->flags & STORE_LDD3))
        return false;
    store_get_info(handle->store, &info);
    return position_of(handle) % info.quantum == 0;
}

/* With the lock held: a read gave so much. */
static void have_read(struct handle *handle, size_t bytes)
{
    uint64_t position = position_of(handle);

    aim(handle, position);
    journal_applied((int64_t)bytes);
    journal_move(handle->position, position + bytes);
}

int handle_plan_read(struct handle *handle, size_t len, bool continues, struct read_plan *plan)
{
    LOCKED(&handle->lock);
    int rc;

    if (journal_will_replay()) /* by handle_read, once */
        return -E2BIG;
    if (spent(handle, continues))
        len = 0;
    rc = store_plan_read(handle->store, position_of(handle), len, handle->flags, plan);

    if (rc == 0 && plan->bytes)
        have_read(handle, plan->bytes);
    return rc;
}

ssize_t handle_read(struct handle *handle, void *data, size_t len, bool continues)
{
    LOCKED(&handle->lock);
    int64_t before;
    ssize_t done;

    if (journal_replays(&before)) /* the position has been moved past it */
        return store_read_into(handle->store, journal_base(), data, (size_t)before, handle->flags);
    if (spent(handle, continues))
        return 0;
    done = store_read_into(handle->store, position_of(handle), data, len, handle->flags);

    if (done > 0)
        have_read(handle, (size_t)done);
    return done;
}

ssize_t handle_write(struct handle *handle, const struct iovec *src, size_t len, bool continues,
                     struct spares *spares)
{
    LOCKED(&handle->lock);
    uint64_t position = position_of(handle);
    int64_t before;
    ssize_t done;

    if (journal_replays(&before))
        return before;
    if (spent(handle, continues))
        return 0;
    aim(handle, position);
    /* With our lock held, as only so the position is known: nobody who serves a file view wants it. */
    store_tell_watch(handle->store, position, len);
    done = store_write_from(handle->store, position, src, len, spares, handle->flags);
    store_tell_watch(handle->store, position, len);
    if (done > 0)
        journal_move(handle->position, position + (uint64_t)done);
    else
        journal_stay();
    return done;
}

static int64_t seek_target(struct handle *handle, int64_t offset, uint32_t whence)
{
    struct store_info info;
    int64_t base = 0, target;

    switch (whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = (int64_t)position_of(handle);
        break;
    case SEEK_END:
        store_get_info(handle->store, &info);
        base = (int64_t)info.size;
        break;
    case SEEK_DATA:
    case SEEK_HOLE:
        if (offset < 0)
            return -ENXIO;
        return store_seek_extent(handle->store, (uint64_t)offset, whence == SEEK_HOLE);
    default:
        return -EINVAL;
    }
    if (__builtin_add_overflow(base, offset, &target))
        return -EINVAL; /* as a sum that is negative: LDD3 ch. 6, scull_llseek */
    return target < 0 ? -EINVAL : target;
}

int64_t handle_seek(struct handle *handle, int64_t offset, uint32_t whence)
{
    LOCKED(&handle->lock);
    int64_t target;

    if (journal_replays(&target))
        return target;
    target = seek_target(handle, offset, whence);
    if (target < 0)
        return target;
    aim(handle, 0);
    journal_applied(target);
    journal_move(handle->position, (uint64_t)target);
    return target;
}

uint64_t handle_position(struct handle *handle)
{
    LOCKED(&handle->lock);
    return position_of(handle);
}

struct store *handle_store(const struct handle *handle)
{
    return handle->store;
}

unsigned handle_flags(const struct handle *handle)
{
    return handle->flags;
}
