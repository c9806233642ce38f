/* saved: what a device in Python has saved, and the answers that go with it.
 *
 * An answer and what the device was when it was given are committed by one store: after a death a
 * request has been answered, or nothing of it is left in what was saved. Of everything there are two
 * copies, each with the number of the commit that it is for: the one of the last commit that was made
 * counts, the other one is written.
 *
 * Lock: from the first put to the commit the thread has `lock`; it is a leaf. */
#include "channel/saved.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/killpoint.h"

#define DEVICE_MOST ((size_t)4 << 20)
#define GONE UINT64_MAX

struct stamp {
    _Atomic uint64_t commit; /* that it counts from; 0: it was never written */
    uint64_t number;         /* whose it is: of an open file, `unique` of a request */
    uint64_t size;           /* bytes; GONE: there is nothing */
};
#define FILE_MOST (4096 - sizeof(struct stamp))

struct device_copy {
    struct stamp stamp;
    _Alignas(4096) uint8_t data[DEVICE_MOST];
};
struct file_copy {
    struct stamp stamp;
    uint8_t data[FILE_MOST];
};
struct parcel {
    uint64_t begun, interrupted; /* `unique` of the call that was; 0: none */
    struct stamp stamp;          /* of the answer */
    _Alignas(4096) uint8_t message[SAVED_MESSAGE];
    uint8_t answer[SAVED_MESSAGE];
};
struct shelf {
    _Alignas(4096) _Atomic uint64_t commit; /* the last one */
    struct device_copy device[2];
    struct parcel parcel[SAVED_CALLS];
    struct file_copy file[SAVED_FILES][2];
};
_Static_assert(sizeof(struct shelf) <= SAVED_BYTES, "what is said of it");

struct saved {
    struct shelf *shelf;
    pthread_mutex_t lock;
};

static _Thread_local bool has_lock;

struct saved *saved_open(int fd, uint64_t offset)
{
    struct saved *saved = calloc(1, sizeof(*saved));

    if (!saved)
        return NULL;
    saved->shelf = mmap(NULL, sizeof(struct shelf), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset);
    if (saved->shelf == MAP_FAILED) {
        free(saved);
        return NULL;
    }
    pthread_mutex_init(&saved->lock, NULL);
    return saved;
}

void saved_close(struct saved *saved)
{
    if (!saved)
        return;
    munmap(saved->shelf, sizeof(struct shelf));
    pthread_mutex_destroy(&saved->lock);
    free(saved);
}

uint8_t *saved_message(struct saved *saved, uint32_t call)
{
    return saved->shelf->parcel[call].message;
}

/* --- commits --------------------------------------------------------------------------------------- */

static void hold(struct saved *saved)
{
    if (!has_lock)
        pthread_mutex_lock(&saved->lock);
    has_lock = true;
}

static bool counts(const struct saved *saved, const struct stamp *stamp, uint64_t number)
{
    uint64_t commit = atomic_load_explicit(&stamp->commit, memory_order_acquire);

    return commit && stamp->number == number &&
           commit <= atomic_load_explicit(&saved->shelf->commit, memory_order_acquire);
}

/* The copy that counts; NULL: neither does. */
static const struct stamp *newest(const struct saved *saved, const struct stamp *one,
                                  const struct stamp *other, uint64_t number)
{
    bool first = counts(saved, one, number), second = counts(saved, other, number);

    if (first && second)
        return one->commit > other->commit ? one : other;
    return first ? one : second ? other : NULL;
}

/* It counts with the next commit, whose data are there before. */
static void stamp_next(struct saved *saved, struct stamp *stamp, uint64_t number, uint64_t size)
{
    stamp->number = number;
    stamp->size = size;
    atomic_store_explicit(&stamp->commit, saved->shelf->commit + 1, memory_order_release);
}

static void two_copies(const struct saved *saved, uint64_t number, uint32_t entry,
                       struct stamp *copy[2], uint8_t *data[2])
{
    struct shelf *shelf = saved->shelf;

    for (int i = 0; i < 2; i++) {
        copy[i] = number ? &shelf->file[entry][i].stamp : &shelf->device[i].stamp;
        data[i] = number ? shelf->file[entry][i].data : shelf->device[i].data;
    }
}

/* Of the copy that does not count: what it was worth is over before its data change. */
static void take_copy(struct saved *saved, uint64_t number, uint32_t entry,
                      struct stamp **stamp, uint8_t **data)
{
    struct stamp *copy[2];
    uint8_t *bytes[2];
    int which;

    two_copies(saved, number, entry, copy, bytes);
    which = newest(saved, copy[0], copy[1], number) == copy[0];
    atomic_store_explicit(&copy[which]->commit, 0, memory_order_seq_cst);
    *stamp = copy[which];
    *data = bytes[which];
}

int saved_put(struct saved *saved, uint64_t number, uint32_t entry, const void *data, size_t size)
{
    struct stamp *stamp;
    uint8_t *to;

    if (size > (number ? FILE_MOST : DEVICE_MOST) || (number && entry >= SAVED_FILES))
        return -EFBIG;
    hold(saved);
    take_copy(saved, number, entry, &stamp, &to);
    memcpy(to, data, size);
    stamp_next(saved, stamp, number, size);
    return 0;
}

void saved_forget(struct saved *saved, uint64_t number, uint32_t entry)
{
    struct stamp *stamp;
    uint8_t *to;

    if (entry >= SAVED_FILES)
        return;
    hold(saved);
    take_copy(saved, number, entry, &stamp, &to);
    stamp_next(saved, stamp, number, GONE);
}

void saved_commit(struct saved *saved)
{
    hold(saved);
    KILL_POINT(KILL_UNCOMMITTED);
    atomic_store_explicit(&saved->shelf->commit, saved->shelf->commit + 1, memory_order_release);
    KILL_POINT(KILL_COMMITTED);
    has_lock = false;
    pthread_mutex_unlock(&saved->lock);
}

const void *saved_get(const struct saved *saved, uint64_t number, uint32_t entry, size_t *size)
{
    const struct stamp *stamp;
    struct stamp *copy[2];
    uint8_t *data[2];

    if (entry >= SAVED_FILES)
        return NULL;
    two_copies(saved, number, entry, copy, data);
    stamp = newest(saved, copy[0], copy[1], number);
    if (!stamp || stamp->size == GONE)
        return NULL;
    *size = stamp->size;
    return stamp == copy[0] ? data[0] : data[1];
}

static void settle(struct saved *saved, struct stamp *stamp)
{
    if (stamp->commit > saved->shelf->commit)
        stamp->commit = 0;
}

void saved_settle(struct saved *saved, uint32_t files, uint32_t calls)
{
    struct shelf *shelf = saved->shelf;

    for (int i = 0; i < 2; i++)
        settle(saved, &shelf->device[i].stamp);
    for (uint32_t entry = 0; entry < files && entry < SAVED_FILES; entry++)
        for (int i = 0; i < 2; i++)
            settle(saved, &shelf->file[entry][i].stamp);
    for (uint32_t call = 0; call < calls; call++)
        settle(saved, &shelf->parcel[call].stamp);
}

/* --- calls ------------------------------------------------------------------------------------------ */

bool saved_begin(struct saved *saved, uint32_t call, uint64_t unique)
{
    struct parcel *parcel = &saved->shelf->parcel[call];
    bool again = parcel->begun == unique;

    parcel->begun = unique;
    return again;
}

void saved_answer(struct saved *saved, uint32_t call, uint64_t unique, const struct iovec *iov,
                  int count)
{
    struct parcel *parcel = &saved->shelf->parcel[call];
    size_t size = 0;

    hold(saved);
    atomic_store_explicit(&parcel->stamp.commit, 0, memory_order_seq_cst);
    for (int i = 0; i < count && size + iov[i].iov_len <= sizeof(parcel->answer); i++) {
        memcpy(parcel->answer + size, iov[i].iov_base, iov[i].iov_len);
        size += iov[i].iov_len;
    }
    stamp_next(saved, &parcel->stamp, unique, size);
    saved_commit(saved);
}

size_t saved_answered(const struct saved *saved, uint32_t call, uint64_t unique,
                      const void **answer)
{
    const struct parcel *parcel = &saved->shelf->parcel[call];

    if (!counts(saved, &parcel->stamp, unique))
        return 0;
    *answer = parcel->answer;
    return parcel->stamp.size;
}

void saved_interrupt(struct saved *saved, uint32_t call, uint64_t unique)
{
    saved->shelf->parcel[call].interrupted = unique;
}

bool saved_is_interrupted(const struct saved *saved, uint32_t call, uint64_t unique)
{
    return saved->shelf->parcel[call].interrupted == unique;
}
