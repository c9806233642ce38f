/* door: every message is checked here once, before anything else looks at it.
 *
 * A kernel does not lie about sizes. But whoever has the other end of a socket may, a newer kernel may
 * surprise, and libfuse reads what a message says it has. So a message gets past here only if its
 * length is what its header says, its opcode is one that this side sends and that is served, and it
 * is as long as its fixed part, its names and its payload are together (linux/fuse.h has all of
 * these; protocol 7.38). Beyond the door nobody asks again. */
#include "channel/door.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

#define CUSE 1u /* sent on a CUSE channel */
#define FUSE 2u /* sent by a mounted file system */
#define BOTH (CUSE | FUSE)

/* Where the number of bytes is that follow the fixed part. */
enum payload { NONE, WRITTEN, IOCTL_IN, FORGOTTEN };

struct shape {
    uint8_t sides;
    uint8_t names;   /* strings that follow */
    uint16_t fixed;  /* bytes behind the header, at least */
    enum payload payload;
};

static const struct shape shapes[] = {
    [FUSE_LOOKUP] = {FUSE, 1, 0, NONE},
    [FUSE_FORGET] = {FUSE, 0, sizeof(struct fuse_forget_in), NONE},
    [FUSE_GETATTR] = {FUSE, 0, sizeof(struct fuse_getattr_in), NONE},
    [FUSE_SETATTR] = {FUSE, 0, sizeof(struct fuse_setattr_in), NONE},
    [FUSE_SYMLINK] = {FUSE, 2, 0, NONE},
    [FUSE_MKNOD] = {FUSE, 1, sizeof(struct fuse_mknod_in), NONE},
    [FUSE_MKDIR] = {FUSE, 1, sizeof(struct fuse_mkdir_in), NONE},
    [FUSE_UNLINK] = {FUSE, 1, 0, NONE},
    [FUSE_RMDIR] = {FUSE, 1, 0, NONE},
    [FUSE_RENAME] = {FUSE, 2, sizeof(struct fuse_rename_in), NONE},
    [FUSE_LINK] = {FUSE, 1, sizeof(struct fuse_link_in), NONE},
    [FUSE_OPEN] = {BOTH, 0, sizeof(struct fuse_open_in), NONE},
    [FUSE_READ] = {BOTH, 0, sizeof(struct fuse_read_in), NONE},
    [FUSE_WRITE] = {BOTH, 0, sizeof(struct fuse_write_in), WRITTEN},
    [FUSE_STATFS] = {FUSE, 0, 0, NONE},
    [FUSE_RELEASE] = {BOTH, 0, sizeof(struct fuse_release_in), NONE},
    [FUSE_FSYNC] = {BOTH, 0, sizeof(struct fuse_fsync_in), NONE},
    [FUSE_FLUSH] = {BOTH, 0, sizeof(struct fuse_flush_in), NONE},
    [FUSE_INIT] = {FUSE, 0, 16, NONE}, /* as it was before protocol 7.36 */
    [FUSE_OPENDIR] = {FUSE, 0, sizeof(struct fuse_open_in), NONE},
    [FUSE_READDIR] = {FUSE, 0, sizeof(struct fuse_read_in), NONE},
    [FUSE_RELEASEDIR] = {FUSE, 0, sizeof(struct fuse_release_in), NONE},
    [FUSE_FSYNCDIR] = {FUSE, 0, sizeof(struct fuse_fsync_in), NONE},
    [FUSE_ACCESS] = {FUSE, 0, sizeof(struct fuse_access_in), NONE},
    [FUSE_CREATE] = {FUSE, 1, sizeof(struct fuse_create_in), NONE},
    [FUSE_INTERRUPT] = {BOTH, 0, sizeof(struct fuse_interrupt_in), NONE},
    [FUSE_DESTROY] = {FUSE, 0, 0, NONE},
    [FUSE_IOCTL] = {BOTH, 0, sizeof(struct fuse_ioctl_in), IOCTL_IN},
    [FUSE_POLL] = {BOTH, 0, sizeof(struct fuse_poll_in), NONE},
    [FUSE_BATCH_FORGET] = {FUSE, 0, sizeof(struct fuse_batch_forget_in), FORGOTTEN},
    [FUSE_FALLOCATE] = {FUSE, 0, sizeof(struct fuse_fallocate_in), NONE},
    [FUSE_READDIRPLUS] = {FUSE, 0, sizeof(struct fuse_read_in), NONE},
    [FUSE_RENAME2] = {FUSE, 2, sizeof(struct fuse_rename2_in), NONE},
    [FUSE_LSEEK] = {FUSE, 0, sizeof(struct fuse_lseek_in), NONE},
};
static const struct shape cuse_init = {CUSE, 0, sizeof(struct cuse_init_in), NONE};

/* NULL: nobody here knows it. */
static const struct shape *shape_of(uint32_t opcode)
{
    if (opcode == CUSE_INIT)
        return &cuse_init;
    if (opcode >= sizeof(shapes) / sizeof(*shapes) || !shapes[opcode].sides)
        return NULL;
    return &shapes[opcode];
}

/* Bytes that the message says follow its fixed part. */
static uint64_t payload_of(const struct shape *shape, const void *fixed)
{
    struct fuse_batch_forget_in forget;
    struct fuse_ioctl_in ioctl;
    struct fuse_write_in write;

    switch (shape->payload) {
    case WRITTEN:
        memcpy(&write, fixed, sizeof(write));
        return write.size;
    case IOCTL_IN:
        memcpy(&ioctl, fixed, sizeof(ioctl));
        return ioctl.in_size;
    case FORGOTTEN:
        memcpy(&forget, fixed, sizeof(forget));
        return (uint64_t)forget.count * sizeof(struct fuse_forget_one);
    case NONE:
        break;
    }
    return 0;
}

int door_check(const void *head, size_t length, enum door_side side)
{
    const struct fuse_in_header *in = head;
    const struct shape *shape;
    size_t rest;

    if (length < sizeof(*in) || in->len != length)
        return -EPROTO;
    if (!in->unique) /* what answers it would be a notification (fs/fuse/dev.c: fuse_dev_do_write) */
        return -EPROTO;
    shape = shape_of(in->opcode);
    if (!shape || !(shape->sides & (side == DOOR_CUSE ? CUSE : FUSE)))
        return -ENOSYS;
    rest = length - sizeof(*in);
    if (rest < (size_t)shape->fixed + shape->names)
        return -EPROTO;
    if (shape->payload != NONE && rest - shape->fixed != payload_of(shape, in + 1))
        return -EPROTO;
    return 0;
}

int door_check_names(const void *message, size_t length)
{
    const struct fuse_in_header *in = message;
    const struct shape *shape = shape_of(in->opcode);
    const char *at, *end = (const char *)message + length;

    assert(shape); /* door_check */
    at = (const char *)message + sizeof(*in) + shape->fixed;
    for (unsigned i = 0; i < shape->names; i++) {
        at = memchr(at, '\0', (size_t)(end - at));
        if (!at)
            return -EPROTO;
        at++;
    }
    return 0;
}

bool door_is_answered(const void *head)
{
    const struct fuse_in_header *in = head;

    return in->opcode != FUSE_FORGET && in->opcode != FUSE_BATCH_FORGET &&
           in->opcode != FUSE_INTERRUPT && in->opcode != FUSE_NOTIFY_REPLY;
}
