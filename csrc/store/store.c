/* store: the bytes of one device: what its backings have in common, and the way to each.
 *
 * Locks. `lock` guards index, arena, geometry and size. It is held to look up and to pin, never to
 * copy, to wait, or to give memory back (but for what does not fit a batch, and a few megabytes of
 * other stores' where the limit is passed). Order: CONTRIBUTING. */
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/lock.h"
#include "scullv.h"
#include "store/store_private.h"

#define QUANTUM_MAX (UINT64_C(64) << 20) /* bytes */

/* --- making and unmaking ------------------------------------------------------------------------- */

bool store_geometry_valid(uint64_t quantum, uint32_t qset)
{
    return quantum >= 1 && quantum <= QUANTUM_MAX && qset >= 1;
}

size_t store_region_bytes(uint64_t quantum)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (quantum + page - 1) / page * page;
}

struct store *store_make(const struct backing *backing, struct budget *budget, uint64_t quantum,
                         uint32_t qset)
{
    if (!store_geometry_valid(quantum, qset)) {
        errno = EINVAL;
        return NULL;
    }
    struct store *store = fault_here() ? NULL : calloc(1, sizeof *store);
    if (!store) {
        errno = ENOMEM;
        return NULL;
    }
    store->refs = 1;
    store->backing = backing;
    store->budget = budget_hold(budget);
    store->quantum = quantum;
    store->qset = qset;
    pthread_mutex_init(&store->lock, NULL);
    pthread_rwlock_init(&store->telling, NULL);
    return store;
}

void store_discard(struct store *store)
{
    pthread_rwlock_destroy(&store->telling);
    pthread_mutex_destroy(&store->lock);
    budget_free(store->budget);
    free(store);
}

struct store *store_hold(struct store *store)
{
    refs_hold(&store->refs);
    return store;
}

void store_drop(struct store *store)
{
    if (!refs_drop(&store->refs))
        return;
    store->backing->unmake(store);
    store_discard(store);
}

void store_free(struct store *store)
{
    if (store)
        store_drop(store);
}

void store_set_geometry(struct store *store, uint64_t quantum, uint32_t qset)
{
    atomic_store(&store->quantum, quantum);
    store->qset = qset;
    if (store->kept)
        atomic_store(&store->kept->geometry, quantum << 32 | qset);
}

void store_keep(struct store *store, struct state *state, uint32_t device)
{
    LOCKED(&store->lock);
    uint64_t geometry;

    store->kept = &state->device[device];
    geometry = atomic_load(&store->kept->geometry);
    if (geometry)
        store_set_geometry(store, geometry >> 32, (uint32_t)geometry);
}

/* By the clock that files' times are taken from: a tick is fine enough. It costs no system call, but
 * in user-mode-linux; so it is for those stores only whose files somebody can see. */
void store_touch(struct store *store)
{
    struct timespec now;
    store->changes++;
    if (!atomic_load_explicit(&store->watch, memory_order_relaxed))
        return;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    store->changed_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- the ways to the backing --------------------------------------------------------------------- */

int store_plan_read(struct store *store, uint64_t pos, size_t len, unsigned flags,
                    struct read_plan *plan)
{
    return store->backing->plan_read(store, pos, len, flags, plan);
}

void store_end_read(struct read_plan *plan)
{
    if (plan->end)
        plan->end(plan);
    plan->end = NULL;
}

ssize_t store_read_into(struct store *store, uint64_t pos, void *data, size_t len, unsigned flags)
{
    return store->backing->read(store, pos, data, len, flags);
}

int64_t store_read(struct store *store, uint64_t offset, void *data, uint64_t length)
{
    return store_read_into(store, offset, data, length < POSITION_MAX ? length : POSITION_MAX, 0);
}

ssize_t store_write_from(struct store *store, uint64_t pos, const struct iovec *src, size_t len,
                         struct spares *spares, unsigned flags)
{
    if (len == 0)
        return 0;
    if (pos >= POSITION_MAX)
        return -EFBIG;
    if (len > POSITION_MAX - pos)
        len = POSITION_MAX - pos;
    ssize_t n = store->backing->write(store, pos, src, len, spares, flags);
    return n == -ENOSPC && (flags & STORE_LDD3) ? -ENOMEM : n;
}

int64_t store_write(struct store *store, uint64_t offset, const void *data, uint64_t length)
{
    struct iovec src = {(void *)(uintptr_t)data, length};
    return store_write_from(store, offset, &src, length, NULL, 0);
}

int store_trim(struct store *store, uint64_t quantum, uint32_t qset)
{
    return store_geometry_valid(quantum, qset) ? store->backing->trim(store, quantum, qset)
                                               : -EINVAL;
}

int store_punch(struct store *store, uint64_t offset, uint64_t length)
{
    if (offset >= POSITION_MAX)
        return 0;
    uint64_t end = length < POSITION_MAX - offset ? offset + length : POSITION_MAX;
    return store->backing->punch(store, offset, end);
}

int store_resize(struct store *store, uint64_t size)
{
    return size > POSITION_MAX ? -EFBIG : store->backing->resize(store, size);
}

int store_allocate(struct store *store, uint64_t offset, uint64_t length, bool keep_size)
{
    if (length == 0)
        return 0;
    if (offset >= POSITION_MAX || length > POSITION_MAX - offset)
        return -EFBIG;
    return store->backing->allocate(store, offset, length, keep_size);
}

int64_t store_seek_extent(struct store *store, uint64_t offset, bool hole)
{
    return store->backing->seek_extent(store, offset, hole);
}

int store_next_quantum(struct store *store, uint64_t from, uint64_t *number, uint64_t *offset)
{
    return store->backing->next_quantum(store, from, number, offset);
}

uint64_t store_count_quanta(struct store *store)
{
    return store->backing->count_quanta(store);
}

int store_sync(struct store *store)
{
    return store->backing->sync ? store->backing->sync(store) : -ENOSYS;
}

int store_descriptor(const struct store *store)
{
    return store->backing->descriptor ? store->backing->descriptor(store) : -1;
}

int store_file(const struct store *store)
{
    return store->backing->descriptor && store->backing->is_open_to_all(store)
               ? store_descriptor(store)
               : -1;
}

void store_get_info(struct store *store, struct store_info *info)
{
    LOCKED(&store->lock);
    *info = (struct store_info){
        .quantum = store->quantum,
        .region_bytes = store_region_bytes(store->quantum),
        .index_bytes = store->index.bytes,
        .qset = store->qset,
        .cuts = store->cuts,
    };
    store->backing->get_info(store, info);
}

/* --- the watcher ----------------------------------------------------------------------------------- */

/* When it returns, nobody is in the midst of telling the watcher before. */
void store_set_watch(struct store *store, const struct store_watch *watch)
{
    atomic_store_explicit(&store->watch, watch, memory_order_release);
    pthread_rwlock_wrlock(&store->telling);
    pthread_rwlock_unlock(&store->telling);
}

void store_tell_watch(struct store *store, uint64_t offset, uint64_t length)
{
    const struct store_watch *watch = atomic_load_explicit(&store->watch, memory_order_acquire);
    if (!watch)
        return;
    pthread_rwlock_rdlock(&store->telling);
    watch = atomic_load_explicit(&store->watch, memory_order_acquire);
    if (watch)
        watch->drop(watch->arg, offset, length);
    pthread_rwlock_unlock(&store->telling);
}
