/* fileview: stores as the files of a FUSE file system.
 *
 * One flat directory: node 1; a text made by Python, node VIEW_TEXT; a file for each store from
 * VIEW_FIRST on. Names, attributes and extents are answered here in C; READ and WRITE of a store by
 * request.c, from the handle that the open file carries. Python opens and releases files (so that
 * it knows who may do what by ioctl), answers ioctls, and decides what emptying a file means.
 *
 * Caching. From Linux 6.6 on (protocol 7.39) files are opened for direct I/O and can be mapped all
 * the same, if the INIT reply asks for FUSE_DIRECT_IO_ALLOW_MMAP, of which libfuse before 3.17
 * knows nothing: the reply is amended on its way out. An older kernel maps no file of direct I/O,
 * so there reads and writes go through its page cache, written through at once. Either way pages
 * that the kernel has are dropped when a store changes by another way than the view; changes that
 * came through the view the kernel knows. Attributes are never cached.
 *
 * Locks: view_file.lock is a leaf. What watches a store takes no lock that is held while a request
 * is answered, see invalidate.c. */
#include "view/fileview.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include "memory/budget.h"
#include "channel/channel.h"

#define PAYLOAD_MAX ((size_t)1 << 20) /* 256 pages, the kernel's most (fs.fuse.max_pages_limit) */
#define BACKGROUND_MAX 64u            /* readahead, asynchronous I/O and write-back at once */

/* linux/fuse.h has these since 6.2 and 6.6; Debian 12's is of 6.1. */
#define OPEN_PARALLEL_DIRECT_WRITES (1u << 6)
#define INIT_DIRECT_IO_ALLOW_MMAP_HIGH (1u << (36 - 32)) /* of flags2 */
#define MINOR_DIRECT_IO_ALLOW_MMAP 39u

/* What is to be added to the open reply that this thread sends next. */
static _Thread_local uint32_t more_open_flags;
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

/* --- INIT and open: what libfuse cannot say ----------------------------------------------------- */

void view_init(void *userdata, struct fuse_conn_info *conn)
{
    struct fileview *view = channel_arg(userdata);

    conn->max_write = PAYLOAD_MAX;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    /* Truncation by open comes as SETATTR, like any other. */
    conn->want &= ~(unsigned)(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ |
                              FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                              FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA);
    /* A new time or size alone drops no pages: we tell which are stale. */
    conn->want |= conn->capable & (FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_ASYNC_DIO |
                                   FUSE_CAP_PARALLEL_DIROPS);
    view->mmap_direct = conn->proto_minor >= MINOR_DIRECT_IO_ALLOW_MMAP;
    atomic_store(&view->greeting, true);
}

static void amend_init(const struct fileview *view, const struct iovec *iov, int count)
{
    struct fuse_init_out *out;

    if (!view->mmap_direct || count < 2 ||
        iov[1].iov_len < offsetof(struct fuse_init_out, flags2) + sizeof(out->flags2))
        return;
    out = iov[1].iov_base;
    out->flags |= FUSE_INIT_EXT;
    out->flags2 |= INIT_DIRECT_IO_ALLOW_MMAP_HIGH;
}

void view_opened(struct call *call, struct fuse_file_info *fi)
{
    struct fileview *view = view_of(call_request(call));
    struct view_file *file = view_find(view, call->node);

    /* The text has no size before it is made: as in /proc, it is read to its end. */
    fi->direct_io = !file || view->mmap_direct;
    if (!file)
        return;
    atomic_fetch_add(&file->opens, 1);
    if (view->mmap_direct)
        more_open_flags = OPEN_PARALLEL_DIRECT_WRITES;
}

static void amend_open(const struct iovec *iov, int count)
{
    if (count == 2 && iov[1].iov_len == sizeof(struct fuse_open_out))
        ((struct fuse_open_out *)iov[1].iov_base)->open_flags |= more_open_flags;
    more_open_flags = 0;
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    struct fileview *view = channel_arg(userdata);
    bool greeting = atomic_load(&view->greeting) && atomic_exchange(&view->greeting, false);
    ssize_t sent;

    if (greeting)
        amend_init(view, iov, count);
    if (more_open_flags)
        amend_open(iov, count);
    sent = writev(fd, iov, count);
    if (greeting)
        channel_set_ready(view->channel, sent < 0 ? -errno : 0);
    return sent;
}

static ssize_t io_read(int fd, void *data, size_t size, void *userdata)
{
    (void)userdata;
    return read(fd, data, size);
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
        drop.look = file->path;
    if (atomic_exchange(&file->size, info.size) != info.size)
        drop.look = file->path;
    return drop;
}

/* Told by the store, before and after. */
static void store_changes(void *arg, uint64_t offset, uint64_t length)
{
    struct view_file *file = arg;
    struct fileview *view = file->view;
    struct drop drop;

    /* An open brings the size along and drops pages that outlived the last open file (there is no
     * FOPEN_KEEP_CACHE): nobody needs to be told before. */
    if (own_change || !atomic_load(&file->opens))
        return;
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
            store_changes(other, 0, UINT64_MAX);
    }
}

/* What was changed before has no date: such a file is as old as the view. */
static void watch_stores(struct fileview *view)
{
    for (uint32_t i = 0; i < view->n_files; i++) {
        struct view_file *file = &view->files[i];
        struct store_info info;

        store_set_watch(file->store, &file->watch);
        store_get_info(file->store, &info);
        file->seen = info.changes;
    }
    view->watching = true;
}

static void forget_stores(struct fileview *view)
{
    if (!view->watching)
        return;
    view->watching = false;
    for (uint32_t i = 0; i < view->n_files; i++)
        store_set_watch(view->files[i].store, NULL);
    invalidate_stop(&view->invalidator);
}

void fileview_forget(struct channel *channel)
{
    channel_end_placement(channel);
    forget_stores(channel_arg(channel));
}

/* --- life ---------------------------------------------------------------------------------------- */

static void view_free(struct fileview *view)
{
    if (!view)
        return;
    for (uint32_t i = 0; i < view->n_files; i++) {
        struct view_file *file = &view->files[i];

        store_drop(file->store);
        free(file->name);
        free(file->path);
        pthread_mutex_destroy(&file->lock);
    }
    budget_free(view->budget);
    free(view->files);
    free(view->text_name);
    free(view);
}

/* For channel_close: no worker is left. */
static void view_ended(void *arg)
{
    struct fileview *view = arg;

    forget_stores(view);
    view_free(view);
}

static bool add_file(struct fileview *view, const struct fileview_file *from,
                     const char *directory)
{
    struct view_file *file = &view->files[view->n_files];

    file->name = strdup(from->name);
    if (!file->name)
        return false;
    if (directory && asprintf(&file->path, "%s/%s", directory, from->name) < 0) {
        free(file->name);
        return false;
    }
    file->view = view;
    file->ino = VIEW_FIRST + view->n_files;
    file->store = store_hold(from->store);
    file->watch = (struct store_watch){.drop = store_changes, .arg = file};
    file->accessed = file->modified = file->changed = view->born;
    pthread_mutex_init(&file->lock, NULL);
    view->n_files++;
    return true;
}

static struct fileview *view_new(const struct fileview_setup *setup)
{
    struct fileview *view = calloc(1, sizeof(*view));

    if (!view)
        return NULL;
    view->budget = budget_hold(setup->budget);
    view->uid = setup->uid;
    view->gid = setup->gid;
    view->mode = setup->mode & 0777;
    clock_gettime(CLOCK_REALTIME_COARSE, &view->born);
    view->files = calloc(setup->n_files + 1, sizeof(*view->files));
    if (!view->files)
        goto fail;
    for (uint32_t i = 0; i < setup->n_files; i++)
        if (!add_file(view, &setup->files[i], setup->directory))
            goto fail;
    if (setup->text_name && !(view->text_name = strdup(setup->text_name)))
        goto fail;
    return view;
fail:
    view_free(view);
    return NULL;
}

static struct fuse_session *new_session(int fd, struct channel *channel)
{
    static const struct fuse_custom_io io = {.writev = io_writev, .read = io_read};
    char program[] = "cuse_scullv", *argv[] = {program, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct fuse_session *session =
        fuse_session_new(&args, &view_operations, sizeof(view_operations), channel);

    fuse_opt_free_args(&args);
    if (session && fuse_session_custom_io(session, &io, fd) != 0) {
        fuse_session_destroy(session);
        session = NULL;
    }
    return session;
}

/* -errno; on failure the session is destroyed, and fd with it. */
static int start(struct fileview *view, int fd, const struct channel_options *options, void *owner)
{
    int rc = -ENOMEM;

    view->session = new_session(fd, view->channel);
    if (!view->session) {
        close(fd);
        return rc;
    }
    rc = invalidate_start(&view->invalidator, view->session);
    if (rc < 0)
        goto destroy;
    watch_stores(view);
    rc = channel_start(view->channel, &(struct channel_setup){
                                          .session = view->session,
                                          .fd = fd,
                                          .kind = REQUEST_FILE,
                                          .payload_max = PAYLOAD_MAX,
                                          .options = options,
                                          .owner = owner,
                                          .ended = view_ended,
                                          .arg = view,
                                      });
    if (rc == 0)
        return 0;
    forget_stores(view);
destroy:
    fuse_session_destroy(view->session);
    return rc;
}

struct channel *fileview_open(int fd, const struct fileview_setup *setup,
                              const struct channel_options *options, void *owner)
{
    struct fileview *view = view_new(setup);
    struct channel *channel = view ? channel_new() : NULL;
    int rc;

    if (!channel) {
        view_free(view);
        close(fd);
        errno = ENOMEM;
        return NULL;
    }
    view->channel = channel;
    rc = start(view, fd, options, owner);
    if (rc == 0)
        return channel;
    channel_discard(channel);
    view_free(view);
    errno = -rc;
    return NULL;
}

/* --- mounting as root: fusermount3 does it for others -------------------------------------------- */

int fileview_mount(const char *directory, const char *options)
{
    return mount("cuse-scullv", directory, "fuse.scullv", MS_NOSUID | MS_NODEV, options) ? -errno
                                                                                              : 0;
}

int fileview_unmount(const char *directory, bool lazy)
{
    return umount2(directory, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) ? -errno : 0;
}
