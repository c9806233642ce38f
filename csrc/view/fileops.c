/* fileops: what clients of the file view do to names, attributes and open files.
 *
 * The names are fixed: each store's file is there for as long as the server is. Removing one
 * empties it, which is what programs that lay out their files anew mean by it. */
#include "view/fileops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory/budget.h"
#include "channel/channel.h"
#include "view/fileattr.h"
#include "view/fileextent.h"
#include "view/files.h"
#include "view/greeting.h"
#include "base/lock.h"

#define NAME_MOST 255u
#define CHANGES_OWNER (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define CHANGES_TIMES                                                                              \
    (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)

/* --- attributes ---------------------------------------------------------------------------------- */

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)fi;
    view_reply_stat(req, ino);
}

/* chmod and chown to what is there already are no change: cp -p and tar do that. */
static bool changes_owner(const struct stat *now, const struct stat *want, int to_set)
{
    return (to_set & FUSE_SET_ATTR_MODE && (now->st_mode ^ want->st_mode) & 07777) ||
           (to_set & FUSE_SET_ATTR_UID && now->st_uid != want->st_uid) ||
           (to_set & FUSE_SET_ATTR_GID && now->st_gid != want->st_gid);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *want, int to_set,
                       struct fuse_file_info *fi)
{
    struct fileview *view = view_of(req);
    struct view_file *file = view_find(view, ino);
    struct stat now;

    if (view_stat(view, ino, &now) < 0) {
        fuse_reply_err(req, ENOENT);
    } else if (changes_owner(&now, want, to_set) ||
               (!file && to_set & (FUSE_SET_ATTR_SIZE | CHANGES_TIMES))) {
        fuse_reply_err(req, EPERM);
    } else if (to_set & FUSE_SET_ATTR_SIZE) {
        view_resize(req, file, (uint64_t)want->st_size, fi); /* sets the times as well */
    } else {
        if (file && to_set & CHANGES_TIMES)
            view_set_times(file, want, to_set);
        view_reply_stat(req, ino);
    }
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
    const struct fileview *view = view_of(req);
    uint64_t most = budget_max(view->budget), used = budget_used(view->budget);
    uint64_t left = used < most ? (most - used) / VIEW_BLOCK : 0;
    struct statvfs st = {
        .f_bsize = VIEW_BLOCK,
        .f_frsize = VIEW_BLOCK,
        .f_blocks = most / VIEW_BLOCK,
        .f_bfree = left,
        .f_bavail = left,
        .f_files = view->n_files + (view->text_name ? 2 : 1),
        .f_namemax = NAME_MOST,
    };

    (void)ino;
    fuse_reply_statfs(req, &st);
}

/* --- names --------------------------------------------------------------------------------------- */

/* 0: there is none. */
static fuse_ino_t named(const struct fileview *view, fuse_ino_t directory, const char *name)
{
    if (directory != FUSE_ROOT_ID)
        return 0;
    if (view->text_name && strcmp(name, view->text_name) == 0)
        return VIEW_TEXT;
    for (uint32_t i = 0; i < view->n_files; i++)
        if (strcmp(name, view->files[i].name) == 0)
            return view->files[i].ino;
    return 0;
}

static void on_lookup(fuse_req_t req, fuse_ino_t directory, const char *name)
{
    struct fileview *view = view_of(req);
    struct fuse_entry_param entry = {.ino = named(view, directory, name), .generation = 1};

    if (!entry.ino || view_stat(view, entry.ino, &entry.attr) < 0)
        fuse_reply_err(req, ENOENT);
    else
        fuse_reply_entry(req, &entry);
}

struct listing {
    fuse_req_t req;
    char *data;
    size_t used, size;
};

/* False: no room. */
static bool list(struct listing *listing, const char *name, fuse_ino_t ino, mode_t type,
                 off_t next)
{
    struct stat st = {.st_ino = ino, .st_mode = type};
    size_t room = listing->size - listing->used;
    size_t taken = fuse_add_direntry(listing->req, listing->data + listing->used, room, name, &st,
                                     next);

    if (taken > room)
        return false;
    listing->used += taken;
    return true;
}

/* Entry number `at` of the directory; false: there is no more room, or no more entry. */
static bool list_entry(struct listing *listing, const struct fileview *view, off_t at)
{
    uint64_t file = (uint64_t)at - (view->text_name ? 3 : 2);

    if (at < 2)
        return list(listing, at ? ".." : ".", FUSE_ROOT_ID, S_IFDIR, at + 1);
    if (at == 2 && view->text_name)
        return list(listing, view->text_name, VIEW_TEXT, S_IFREG, at + 1);
    return file < view->n_files &&
           list(listing, view->files[file].name, view->files[file].ino, S_IFREG, at + 1);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    const struct fileview *view = view_of(req);
    /* No directory of ours is longer, whatever is asked for. */
    size_t most = size < VIEW_PAYLOAD_MAX ? size : VIEW_PAYLOAD_MAX;
    struct listing listing = {.req = req, .data = malloc(most), .size = most};

    (void)fi;
    if (ino != FUSE_ROOT_ID || !listing.data) {
        fuse_reply_err(req, listing.data ? ENOTDIR : ENOMEM);
    } else if (offset < 0) {
        fuse_reply_err(req, EINVAL);
    } else {
        while (list_entry(&listing, view, offset))
            offset++;
        fuse_reply_buf(req, listing.data, listing.used);
    }
    free(listing.data);
}

/* A call_done_hook. */
static int removed(struct call *call, int error)
{
    fuse_req_t req = call_request(call);
    struct fileview *view = view_of(req);
    int rc = fuse_reply_err(req, error);

    view_release(view, HOLD_NAMES);
    return rc;
}

static void on_unlink(fuse_req_t req, fuse_ino_t directory, const char *name)
{
    struct fileview *view = view_of(req);
    fuse_ino_t ino = named(view, directory, name);
    struct call *call;

    if (!view_find(view, ino)) {
        fuse_reply_err(req, ino ? EPERM : ENOENT);
        return;
    }
    call = view_call(req, CALL_REMOVE, ino, NULL);
    if (!call)
        return;
    call_set_done_hook(call, removed);
    view_hold(view, HOLD_NAMES);
    channel_submit(call);
}

static void on_create(fuse_req_t req, fuse_ino_t directory, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    (void)directory, (void)name, (void)mode, (void)fi;
    fuse_reply_err(req, EPERM);
}

static void on_mknod(fuse_req_t req, fuse_ino_t directory, const char *name, mode_t mode,
                     dev_t device)
{
    (void)directory, (void)name, (void)mode, (void)device;
    fuse_reply_err(req, EPERM);
}

static void on_mkdir(fuse_req_t req, fuse_ino_t directory, const char *name, mode_t mode)
{
    (void)directory, (void)name, (void)mode;
    fuse_reply_err(req, EPERM);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t directory, const char *name)
{
    (void)target, (void)directory, (void)name;
    fuse_reply_err(req, EPERM);
}

static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t directory, const char *name)
{
    (void)ino, (void)directory, (void)name;
    fuse_reply_err(req, EPERM);
}

static void on_rename(fuse_req_t req, fuse_ino_t from, const char *name, fuse_ino_t to,
                      const char *new_name, unsigned flags)
{
    (void)from, (void)name, (void)to, (void)new_name, (void)flags;
    fuse_reply_err(req, EPERM);
}

/* --- open files ---------------------------------------------------------------------------------- */

/* Whether there is a file under the number: only such a one is opened, and known to Python. */
static bool shows(struct fileview *view, fuse_ino_t ino)
{
    return view_find(view, ino) || (ino == VIEW_TEXT && view->text_name);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct call *call;

    if (!shows(view_of(req), ino)) {
        fuse_reply_err(req, ino == FUSE_ROOT_ID ? EISDIR : ENOENT);
        return;
    }
    if (ino == VIEW_TEXT && (fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, EACCES); /* root's own permission check lets it through */
        return;
    }
    call = view_call(req, CALL_OPEN, ino, fi);
    if (!call)
        return;
    call_set_open_hook(call, view_opened);
    channel_submit(call);
}

/* A call_done_hook. */
static int released(struct call *call, int error)
{
    fuse_req_t req = call_request(call);
    struct view_file *file = view_find(view_of(req), call->node);

    if (file && call_has_closed(call))
        atomic_fetch_sub(&file->opens, 1);
    return fuse_reply_err(req, error);
}

/* By the number of another file the answer would end what Python still has open. */
static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct upcalls *upcalls = fuse_req_userdata(req);
    struct call *call;

    if (!ledger_is_of(upcalls->ledger, fi->fh, ino)) {
        fuse_reply_err(req, EBADF);
        return;
    }
    call = view_call(req, CALL_RELEASE, ino, fi);
    if (!call)
        return;
    call_set_done_hook(call, released);
    channel_submit(call);
}

/* ENOSYS tells the kernel once and for all that it has done its part by writing its pages back. */
static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct view_file *file = view_find(view_of(req), ino);

    (void)datasync, (void)fi;
    fuse_reply_err(req, file ? -store_sync(file->store) : EINVAL);
}

/* libfuse before 3.19 hands the command as a signed int. */
static void on_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
                     struct fuse_file_info *fi, unsigned flags, const void *data, size_t size,
                     size_t out_size)
{
    struct call *call;

    if (flags & FUSE_IOCTL_DIR || !view_find(view_of(req), ino)) {
        fuse_reply_err(req, ENOTTY);
        return;
    }
    call = call_new(req, CALL_IOCTL, fi, data, size);
    if (!call)
        return;
    call->node = ino;
    call->cmd = cmd;
    call->arg = (uintptr_t)arg;
    call->ioctl_flags = flags;
    call->out_size = out_size;
    channel_submit(call);
}

/* Not here: read and write (request.c); flush, which ENOSYS ends as it does fsync; poll (always
 * ready). */
const struct fuse_lowlevel_ops view_operations = {
    .init = view_init,
    .lookup = on_lookup,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .statfs = on_statfs,
    .readdir = on_readdir,
    .unlink = on_unlink,
    .create = on_create,
    .mknod = on_mknod,
    .mkdir = on_mkdir,
    .symlink = on_symlink,
    .link = on_link,
    .rename = on_rename,
    .open = on_open,
    .release = on_release,
    .fsync = on_fsync,
    .ioctl = on_ioctl,
    .fallocate = view_fallocate,
    .lseek = view_lseek,
};
