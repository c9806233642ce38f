/* passthrough: where a store is a file (linear.c), the kernel can do the I/O of the view's file on that
 * file itself (FUSE_PASSTHROUGH, Linux 6.9): a read or write costs a system call instead of two context
 * switches, and a mapping is one of the file, so its stores count at once.
 *
 * The kernel wants the privilege to hand it files (CAP_SYS_ADMIN); who lacks it, and whose kernel
 * lacks this, is asked for every read and write as before. All opens of a file have to say the same, so
 * each is handed over once, by who may, and no open is answered before. Protocol 7.40; linux/fuse.h of Debian 12 is of 7.38. */
#include "view/passthrough.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/lock.h"
#include "scullv.h"

#define MINOR_PASSTHROUGH 40u
#define INIT_PASSTHROUGH_HIGH (1u << (37 - 32)) /* of flags2 */
#define INIT_HANDLE_KILLPRIV_V2 (1u << 28)
#define OPEN_PASSTHROUGH (1u << 7)
#define OPEN_DIRECT_IO_BITS (1u << 0 | 1u << 6) /* and PARALLEL_DIRECT_WRITES */

struct backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define BACKING_OPEN _IOW(229, 1, struct backing_map)

void passthrough_greet(struct fileview *view, struct fuse_init_out *out, size_t length)
{
    size_t depth = offsetof(struct fuse_init_out, flags2) + sizeof(out->flags2);

    view->passthrough = view->passthrough && view->kernel_minor >= MINOR_PASSTHROUGH &&
                        length >= depth + sizeof(uint32_t);
    if (!view->passthrough)
        return;
    /* Files without set-user-ID bits and capabilities have none to lose by a write: so the kernel
     * need not look for them at each one. */
    out->flags |= FUSE_INIT_EXT | INIT_HANDLE_KILLPRIV_V2;
    out->flags2 |= INIT_PASSTHROUGH_HIGH;
    *(uint32_t *)((char *)out + depth) = STACK_DEPTH; /* max_stack_depth */
}

int fileview_hand_over(int fd, int file)
{
    struct backing_map map = {.fd = file};
    int id = file < 0 ? 0 : ioctl(fd, BACKING_OPEN, &map);

    return id < 0 ? -errno : id;
}

void passthrough_wait(struct fileview *view)
{
    LOCKED(&view->settling);
    while (!view->settled)
        pthread_cond_wait(&view->is_settled, &view->settling);
}

void passthrough_open(const struct view_file *file, struct fuse_open_out *out)
{
    out->open_flags = (out->open_flags & ~OPEN_DIRECT_IO_BITS) | OPEN_PASSTHROUGH;
    /* backing_id, which is called `padding` in older headers. */
    memcpy((char *)out + offsetof(struct fuse_open_out, open_flags) + sizeof(out->open_flags),
           &file->backing_id, sizeof(file->backing_id));
}
