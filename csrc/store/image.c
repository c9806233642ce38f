/* image: a file whose byte i, counted from its base, is the device's byte i.
 *
 * The file is the index, the size and the account. What clients write by another way (a view that the
 * kernel serves from the file, somebody else's program) counts at once, so nothing is remembered but
 * one stretch of data, as finding its end costs a walk over it: it is forgotten where we make a hole.
 *
 * Bytes go in and out by pread and pwrite, or to the kernel straight from a mapping: never by our own
 * loads and stores, which a file that is cut under us, or full, would answer with SIGBUS. A mapped
 * read of a hole would give it memory in tmpfs, so only data is shown so.
 *
 * Where the limit is ours to keep, a write first pays for the holes that it fills, and afterwards the
 * charge is set to what the file has. `lock` makes that one step. */
#include "store/image.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/lock.h"

#define SECTOR 512u                   /* bytes; what st_blocks counts */
#define MAPPED (UINT64_C(64) << 30)   /* bytes of address space; what lies beyond is copied */
#define PIECE 65536u                  /* zeros that are written at once */

#define CHUNK (UINT64_C(64) << 10)  /* bytes */
#define CHUNKS (UINT64_C(64) << 10) /* that are remembered */

struct image {
    int fd;
    uint64_t base, fixed, page; /* bytes */
    uint8_t *map;               /* of MAPPED bytes, from base rounded down to a page; or NULL */
    struct budget *budget;      /* held; NULL: the file system keeps the limit */
    struct stripes stripes;
    pthread_mutex_t lock;
    uint64_t charged;              /* lock; bytes */
    uint64_t data_from, data_end;  /* lock; known to be data */
    uint64_t holes;                /* lock; how often one was made */
    _Atomic uint64_t populated[CHUNKS / 64]; /* by chunk: this process has all its pages at hand */
};

static const uint8_t zeros[PIECE];

/* --- life ---------------------------------------------------------------------------------------- */

static uint64_t resident(const struct image *image)
{
    struct image_state state;

    image_state(image, &state);
    return state.resident;
}

/* With the lock held: the charge becomes what the file has. One that was larger than the limit when it
 * was opened is charged for as much as there is, so it takes no more. */
static void settle(struct image *image)
{
    uint64_t has, step;

    if (!image->budget)
        return;
    has = resident(image);
    if (has < image->charged) {
        budget_uncharge(image->budget, BUDGET_REGIONS, image->charged - has);
        image->charged = has;
    }
    for (step = has - image->charged; step > 0 && image->charged < has;) {
        if (step <= has - image->charged && budget_charge(image->budget, BUDGET_REGIONS, step))
            image->charged += step;
        else
            step /= 2;
    }
}

static void map(struct image *image)
{
    off_t from = (off_t)(image->base / image->page * image->page);
    void *at = mmap(NULL, MAPPED, PROT_READ, MAP_SHARED | MAP_NORESERVE, image->fd, from);

    image->map = at == MAP_FAILED ? NULL : at; /* then all is copied */
}

struct image *image_new(int fd, uint64_t base, uint64_t fixed, struct budget *budget)
{
    struct image *image = fault_here() ? NULL : calloc(1, sizeof(*image));

    if (!image) {
        close(fd);
        errno = ENOMEM;
        return NULL;
    }
    image->fd = fd;
    image->base = base;
    image->fixed = fixed;
    image->page = (uint64_t)sysconf(_SC_PAGESIZE);
    image->budget = budget ? budget_hold(budget) : NULL;
    pthread_mutex_init(&image->lock, NULL);
    stripes_init(&image->stripes);
    map(image);
    settle(image);
    return image;
}

void image_free(struct image *image)
{
    if (!image)
        return;
    if (image->map)
        munmap(image->map, MAPPED);
    close(image->fd);
    if (image->budget) {
        budget_uncharge(image->budget, BUDGET_REGIONS, image->charged);
        budget_free(image->budget);
    }
    stripes_destroy(&image->stripes);
    pthread_mutex_destroy(&image->lock);
    free(image);
}

int image_fd(const struct image *image)
{
    return image->fd;
}

struct stripes *image_stripes(struct image *image)
{
    return &image->stripes;
}

uint64_t image_base(const struct image *image)
{
    return image->base;
}

uint64_t image_fixed(const struct image *image)
{
    return image->fixed;
}

bool image_is_open_to_all(const struct image *image)
{
    return image->base == 0 && image->fixed == 0 && !image->budget;
}

/* --- what is there ------------------------------------------------------------------------------- */

void image_state(const struct image *image, struct image_state *state)
{
    struct stat st = {0};
    uint64_t size;

    fstat(image->fd, &st);
    size = (uint64_t)st.st_size > image->base ? (uint64_t)st.st_size - image->base : 0;
    *state = (struct image_state){
        .size = image->fixed && size > image->fixed ? image->fixed : size,
        .resident = (uint64_t)st.st_blocks * SECTOR,
        .modified_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec,
    };
}

/* Where the next data, or hole, begins; INT64_MAX: nowhere. */
static uint64_t seek_to(const struct image *image, uint64_t pos, int whence)
{
    off_t found;

    if (pos > (uint64_t)INT64_MAX - image->base)
        return INT64_MAX;
    found = lseek(image->fd, (off_t)(image->base + pos), whence);
    if (found < 0) /* a file system that knows no holes has data only */
        return errno == ENXIO || whence == SEEK_HOLE ? (uint64_t)INT64_MAX : pos;
    return (uint64_t)found - image->base;
}

static bool is_known_data(struct image *image, uint64_t pos, uint64_t *end, uint64_t *holes)
{
    LOCKED(&image->lock);
    *holes = image->holes;
    *end = image->data_end;
    return image->data_from <= pos && pos < image->data_end;
}

bool image_data_at(struct image *image, uint64_t pos, uint64_t *end)
{
    uint64_t holes, data;

    if (is_known_data(image, pos, end, &holes))
        return true;
    data = seek_to(image, pos, SEEK_DATA);
    if (data > pos) {
        *end = data;
        return false;
    }
    *end = seek_to(image, pos, SEEK_HOLE);
    LOCKED(&image->lock);
    if (image->holes == holes && *end != (uint64_t)INT64_MAX) {
        image->data_from = pos;
        image->data_end = *end;
    }
    return true;
}

bool image_next_data(const struct image *image, uint64_t pos, uint64_t *found)
{
    *found = seek_to(image, pos, SEEK_DATA);
    return *found != (uint64_t)INT64_MAX;
}

const uint8_t *image_map(const struct image *image, uint64_t pos, size_t len)
{
    uint64_t at = image->base % image->page + pos;

    return image->map && at < MAPPED && len <= MAPPED - at ? image->map + at : NULL;
}

/* Chunks that [at, end) of the mapping covers: [*first, *past). */
static bool chunks_within(uint64_t at, uint64_t end, uint64_t *first, uint64_t *past)
{
    *first = (at + CHUNK - 1) / CHUNK;
    *past = end / CHUNK;
    return end <= CHUNKS * CHUNK;
}

/* Whether all of it was populated before. A page that the kernel took away since, to swap it, is a risk
 * that is taken; those that we cut off are forgotten. */
static bool is_populated(struct image *image, uint64_t at, uint64_t end)
{
    uint64_t first, past;

    if (at % CHUNK || end % CHUNK || !chunks_within(at, end, &first, &past))
        return false;
    for (; first < past; first++)
        if (!(atomic_load_explicit(&image->populated[first / 64], memory_order_relaxed) >>
                  first % 64 & 1))
            return false;
    return true;
}

bool image_populate(struct image *image, const void *data, size_t len)
{
    uint64_t page = image->page - 1, first, past;
    const uint8_t *from = (const uint8_t *)((uintptr_t)data & ~page);
    uint64_t at = (uint64_t)(from - image->map);
    uint64_t end = ((uint64_t)((const uint8_t *)data - image->map) + len + page) & ~page;

    if (from < image->map || at >= MAPPED)
        return true; /* zeros of ours, for a hole */
    if (is_populated(image, at, end))
        return true;
    if (madvise((void *)(uintptr_t)from, end - at, MADV_POPULATE_READ) < 0)
        return false;
    if (chunks_within(at, end, &first, &past))
        for (; first < past; first++)
            atomic_fetch_or_explicit(&image->populated[first / 64], UINT64_C(1) << first % 64,
                                     memory_order_relaxed);
    return true;
}

/* With the lock held. */
static void forget_data(struct image *image)
{
    for (size_t i = 0; i < CHUNKS / 64; i++)
        atomic_store_explicit(&image->populated[i], 0, memory_order_relaxed);
    image->holes++;
    image->data_from = image->data_end = 0;
}

/* --- bytes --------------------------------------------------------------------------------------- */

ssize_t image_read(const struct image *image, uint64_t pos, void *data, size_t len)
{
    ssize_t n;

    do
        n = pread(image->fd, data, len, (off_t)(image->base + pos));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* The first `len` bytes of `src`. */
static ssize_t put(const struct image *image, uint64_t pos, const struct iovec *src, size_t len)
{
    struct iovec iov[64];
    int count = 0;
    ssize_t n;

    for (; len > 0 && count < 64; count++) {
        iov[count] = src[count];
        if (iov[count].iov_len > len)
            iov[count].iov_len = len;
        len -= iov[count].iov_len;
    }
    do
        n = pwritev(image->fd, iov, count, (off_t)(image->base + pos));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Zeros from `from` on, some of those up to `stop`: how many, or -errno. */
static ssize_t put_zeros(const struct image *image, uint64_t from, uint64_t stop)
{
    struct iovec some = {(void *)(uintptr_t)zeros, PIECE};
    ssize_t done = put(image, from, &some, stop - from < PIECE ? (size_t)(stop - from) : PIECE);

    return done ? done : -EIO;
}

/* With the lock held: pays for the holes of [pos, pos + len), page by page where the limit is near.
 * How many bytes may be written. */
static size_t pay(struct image *image, uint64_t pos, size_t len)
{
    uint64_t at = pos, end = pos + len;

    while (at < end) {
        uint64_t data = seek_to(image, at, SEEK_DATA), first, stop;

        if (data <= at) {
            at = seek_to(image, at, SEEK_HOLE);
            continue;
        }
        stop = data < end ? data : end;
        first = (image->base + at) / image->page * image->page;
        while (at < stop) {
            uint64_t whole = (image->base + stop - first + image->page - 1) / image->page;
            uint64_t wanted = whole * image->page;

            if (!budget_charge(image->budget, BUDGET_REGIONS, wanted)) {
                wanted = image->page;
                if (!budget_charge(image->budget, BUDGET_REGIONS, wanted))
                    return (size_t)(at - pos);
            }
            image->charged += wanted;
            first += wanted;
            at = first - image->base < stop ? first - image->base : stop;
        }
    }
    return len;
}

ssize_t image_write(struct image *image, uint64_t pos, const struct iovec *src, size_t len)
{
    ssize_t n;

    if (!image->budget)
        return put(image, pos, src, len);
    LOCKED(&image->lock);
    len = pay(image, pos, len);
    n = len ? put(image, pos, src, len) : -ENOSPC;
    settle(image);
    return n;
}

/* --- holes and sizes ----------------------------------------------------------------------------- */

int image_zero(struct image *image, uint64_t from, uint64_t end)
{
    struct image_state state;

    image_state(image, &state);
    if (end > state.size)
        end = state.size;
    while (from < end && image_next_data(image, from, &from) && from < end) {
        uint64_t data_end = seek_to(image, from, SEEK_HOLE);
        ssize_t done = put_zeros(image, from, data_end < end ? data_end : end);

        if (done < 0)
            return (int)done;
        from += (uint64_t)done;
    }
    return 0;
}

static int punch(const struct image *image, uint64_t from, uint64_t end)
{
    return fallocate(image->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     (off_t)(image->base + from), (off_t)(end - from)) < 0
               ? -errno
               : 0;
}

int image_punch(struct image *image, uint64_t from, uint64_t end)
{
    LOCKED(&image->lock);
    struct image_state state;
    int err = punch(image, from, end);

    forget_data(image);
    image_state(image, &state);
    if (err == -EFBIG) /* past the largest position of its file system there is nothing */
        err = from < state.size ? punch(image, from, state.size) : 0;
    if (err == -EOPNOTSUPP)
        err = image_zero(image, from, end);
    settle(image);
    return err;
}

int image_resize(struct image *image, uint64_t size)
{
    LOCKED(&image->lock);
    forget_data(image);
    if (ftruncate(image->fd, (off_t)(image->base + size)) < 0)
        return -errno;
    settle(image);
    return 0;
}

/* With the lock held: holes of [from, end) become zeros that are data, so that they are paid for
 * once and for all: what is only allocated looks like a hole. */
static int fill(struct image *image, uint64_t from, uint64_t end)
{
    while (from < end) {
        uint64_t data = seek_to(image, from, SEEK_DATA);
        ssize_t done;

        if (data <= from) {
            from = seek_to(image, from, SEEK_HOLE);
            continue;
        }
        done = put_zeros(image, from, data < end ? data : end);
        if (done < 0)
            return (int)done;
        from += (uint64_t)done;
    }
    return 0;
}

int image_allocate(struct image *image, uint64_t pos, uint64_t len, bool keep_size)
{
    LOCKED(&image->lock);
    struct image_state state;
    int err = 0;

    image_state(image, &state);
    if (image->budget && pay(image, pos, len) < len)
        err = -ENOSPC;
    else if (image->budget)
        err = fill(image, pos, !keep_size || pos + len < state.size ? pos + len : state.size);
    if (err == 0 && fallocate(image->fd, keep_size ? FALLOC_FL_KEEP_SIZE : 0,
                              (off_t)(image->base + pos), (off_t)len) < 0)
        err = -errno;
    settle(image);
    return err;
}

int image_sync(const struct image *image)
{
    return fsync(image->fd) < 0 && errno != EINVAL && errno != EROFS ? -errno : 0;
}
