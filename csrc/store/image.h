/* image: the file of a linear store: its size, its data and holes, the part of it that is mapped, and
 * what it is charged for. See image.c. */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "memory/budget.h"
#include "store/stripes.h"

struct image;
/* `fd` is the image's from here on, on failure too. `base`: where in the file the device begins.
 * `fixed`: bytes of the device, which does not grow; 0: it does. `budget`: charged for what the file
 * has; NULL: its file system keeps the limit. NULL with errno set. */
struct image *image_new(int fd, uint64_t base, uint64_t fixed, struct budget *budget);
void image_free(struct image *image);

int image_fd(const struct image *image);
struct stripes *image_stripes(struct image *image);
uint64_t image_base(const struct image *image);
uint64_t image_fixed(const struct image *image);
/* Whether another may do I/O on the file without us: byte i of it is the device's, and nobody has to
 * be asked how much it may grow. */
bool image_is_open_to_all(const struct image *image);

struct image_state {
    uint64_t size, resident; /* bytes */
    uint64_t modified_ns;    /* since 1970 */
};
void image_state(const struct image *image, struct image_state *state);

/* What is at `pos` of the device: true: data, false: a hole; to `*end`, INT64_MAX at most. */
bool image_data_at(struct image *image, uint64_t pos, uint64_t *end);
/* The first byte of data at or after `pos`; false: there is none. */
bool image_next_data(const struct image *image, uint64_t pos, uint64_t *found);
/* Where the bytes of [pos, pos + len) are in memory; NULL: they are not. Only data may be looked at,
 * and by the kernel alone: what is cut off meanwhile is a fault. */
const uint8_t *image_map(const struct image *image, uint64_t pos, size_t len);

/* Has all pages of it, as image_map showed it, in the page tables. False: they cannot be. */
bool image_populate(struct image *image, const void *data, size_t len);

/* As preadv and pwritev; -errno. Of a write, less than asked where the limit is. Writers, and who
 * makes holes, have locked what they change (stripes.h). */
ssize_t image_read(const struct image *image, uint64_t pos, void *data, size_t len);
ssize_t image_write(struct image *image, uint64_t pos, const struct iovec *src, size_t len);
int image_zero(struct image *image, uint64_t from, uint64_t end); /* what is data of it */
int image_punch(struct image *image, uint64_t from, uint64_t end);
int image_resize(struct image *image, uint64_t size);
int image_allocate(struct image *image, uint64_t pos, uint64_t len, bool keep_size);
int image_sync(const struct image *image);

#endif
