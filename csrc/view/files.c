/* files: what a file view shows, and what the kernel is told when a store changes by another way.
 *
 * Locks: view_file.lock is a leaf. What watches a store takes no lock that is held while a request
 * is answered, see invalidate.c. */
#include "view/files.h"

#include "channel/channel.h"

static _Thread_local bool own_change;

struct fileview *view_of(fuse_req_t req)
{
    return channel_arg(fuse_req_userdata(req));
}

struct view_file *view_find(struct fileview *view, fuse_ino_t ino)
{
    return ino >= VIEW_FIRST && ino - VIEW_FIRST < view->n_files ? &view->files[ino - VIEW_FIRST]
                                                                  : NULL;
}

struct call *view_call(fuse_req_t req, enum call_kind kind, fuse_ino_t ino,
                       const struct fuse_file_info *fi)
{
    struct call *call = call_new(req, kind, fi, NULL, 0);

    if (call)
        call->node = ino;
    return call;
}

/* --- stores that change by another way ----------------------------------------------------------- */

void view_begin_own(void)
{
    own_change = true;
}

void view_end_own(void)
{
    own_change = false;
}

static struct drop what_changed(struct view_file *file, uint64_t offset, uint64_t length)
{
    struct drop drop = {.ino = file->ino, .offset = offset, .length = length};
    struct store_info info;

    store_get_info(file->store, &info);
    if (atomic_exchange(&file->cuts, info.cuts) != info.cuts)
        drop.look = file->name;
    if (atomic_exchange(&file->size, info.size) != info.size)
        drop.look = file->name;
    return drop;
}

void view_store_changes(void *arg, uint64_t offset, uint64_t length)
{
    struct view_file *file = arg;
    struct fileview *view = file->view;
    struct drop drop;

    /* An open brings the size along and drops pages that outlived the last open file (there is no
     * FOPEN_KEEP_CACHE): nobody needs to be told before. */
    if (own_change || !atomic_load(&file->opens))
        return;
    if (file->backing_id)
        return; /* the kernel has no pages of its own, and asks the file for its size */
    drop = what_changed(file, offset, length);
    if (!channel_is_caller(view->channel)) {
        invalidate_pages(&view->invalidator, &drop);
    } else if (!invalidate_try(&view->invalidator, &drop)) {
        atomic_store(&file->cuts, UINT64_MAX);
        atomic_store(&file->missed, true);
    }
}

void view_hold(struct fileview *view, enum invalidate_hold what)
{
    invalidate_hold(&view->invalidator, what);
}

void view_release(struct fileview *view, enum invalidate_hold what)
{
    invalidate_release(&view->invalidator, what);
    for (uint32_t i = 0; i < view->n_files; i++) {
        struct view_file *other = &view->files[i];

        if (atomic_exchange(&other->missed, false))
            view_store_changes(other, 0, UINT64_MAX);
    }
}
