/* fileextent: sizes, allocation and holes of the file view's files.
 *
 * All but emptying a file is decided here: the kernel, which holds the file meanwhile, knows what
 * becomes of its own pages, so it is not told (view_begin_own). */
#include "view/fileextent.h"

#include <errno.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "channel/channel.h"
#include "view/fileattr.h"

static int reply_rc(fuse_req_t req, int rc)
{
    return fuse_reply_err(req, rc < 0 ? -rc : 0);
}

/* A call_done_hook: Python has emptied the file, or not. */
static int resized(struct call *call, int error)
{
    fuse_req_t req = call_request(call);
    struct fileview *view = view_of(req);
    int rc = error ? fuse_reply_err(req, error) : view_reply_stat(req, call->node);

    view_release(view, HOLD_PAGES);
    return rc;
}

static void resize_to_nothing(fuse_req_t req, struct view_file *file,
                              const struct fuse_file_info *fi)
{
    struct call *call = view_call(req, CALL_RESIZE, file->ino, fi);

    if (!call)
        return;
    call_set_done_hook(call, resized);
    view_hold(file->view, HOLD_PAGES);
    channel_submit(call);
}

void view_resize(fuse_req_t req, struct view_file *file, uint64_t size,
                 const struct fuse_file_info *fi)
{
    int rc;

    if (!size) {
        resize_to_nothing(req, file, fi);
        return;
    }
    view_begin_own();
    rc = store_resize(file->store, size);
    view_end_own();
    if (rc < 0)
        fuse_reply_err(req, -rc);
    else
        view_reply_stat(req, file->ino);
}

/* Zeros that have memory. What is not whole quanta is cleared by the punch as well. */
static int zero_range(struct store *store, uint64_t offset, uint64_t length, bool keep_size)
{
    int rc = store_punch(store, offset, length);

    return rc < 0 ? rc : store_allocate(store, offset, length, keep_size);
}

static int change_extent(struct store *store, int mode, uint64_t offset, uint64_t length)
{
    bool keep_size = mode & FALLOC_FL_KEEP_SIZE;

    switch (mode & ~FALLOC_FL_KEEP_SIZE) {
    case 0:
        return store_allocate(store, offset, length, keep_size);
    case FALLOC_FL_PUNCH_HOLE:
        return store_punch(store, offset, length);
    case FALLOC_FL_ZERO_RANGE:
        return zero_range(store, offset, length, keep_size);
    default:
        return -EOPNOTSUPP;
    }
}

void view_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                    struct fuse_file_info *fi)
{
    struct view_file *file = view_find(view_of(req), ino);
    int rc;

    (void)fi;
    if (!file) {
        reply_rc(req, -EBADF);
        return;
    }
    view_begin_own();
    rc = change_extent(file->store, mode, (uint64_t)offset, (uint64_t)length);
    view_end_own();
    reply_rc(req, rc);
}

/* SEEK_DATA and SEEK_HOLE only: the rest is the kernel's. */
void view_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                struct fuse_file_info *fi)
{
    struct view_file *file = view_find(view_of(req), ino);
    int64_t found = -EINVAL;

    (void)fi;
    if (file && (whence == SEEK_DATA || whence == SEEK_HOLE))
        found = offset < 0 ? -ENXIO
                           : store_seek_extent(file->store, (uint64_t)offset, whence == SEEK_HOLE);
    if (found < 0)
        reply_rc(req, (int)found);
    else
        fuse_reply_lseek(req, (off_t)found);
}
