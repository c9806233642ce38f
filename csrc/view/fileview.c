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
 * came through the view the kernel knows. Attributes are never cached. Files that the kernel has been
 * handed (passthrough.c) have no pages of their own. */

#include <errno.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/lock.h"
#include "channel/channel.h"
#include "memory/budget.h"
#include "view/fileops.h"
#include "view/greeting.h"

/* --- stores that change by another way ----------------------------------------------------------- */

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
    if (view->forgotten)
        return;
    view->forgotten = true;
    for (uint32_t i = 0; view->watching && i < view->n_files; i++)
        store_set_watch(view->files[i].store, NULL);
    invalidate_stop(&view->invalidator);
}

/* Files that were opened while another worker was there. */
static void count_opens(struct fileview *view)
{
    struct ledger *ledger = view->ledger;
    struct open_file found;
    uint32_t entry = 0;

    while (ledger_next_open(ledger, &entry, &found)) {
        struct view_file *file = view_find(view, found.node);

        if (file)
            atomic_fetch_add(&file->opens, 1);
    }
}

/* What that worker changed last the kernel may not have been told. */
static void drop_pages(struct fileview *view)
{
    for (uint32_t i = 0; i < view->n_files; i++)
        view_store_changes(&view->files[i], 0, UINT64_MAX);
}

void fileview_forget(struct channel *channel)
{
    fileview_settle(channel, NULL);
    channel_end_placement(channel);
    forget_stores(channel_arg(channel));
}

bool fileview_can_pass(struct channel *channel)
{
    const struct fileview *view = channel_arg(channel);

    return view->passthrough;
}

void fileview_settle(struct channel *channel, const int32_t *passed)
{
    struct fileview *view = channel_arg(channel);

    if (passed)
        drop_pages(view);
    for (uint32_t i = 0; passed && i < view->n_files; i++)
        view->files[i].backing_id = passed[i];
    LOCKED(&view->settling);
    view->settled = true;
    pthread_cond_broadcast(&view->is_settled);
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
        pthread_mutex_destroy(&file->lock);
    }
    if (view->invalidates)
        invalidate_free(&view->invalidator);
    budget_free(view->budget);
    pthread_cond_destroy(&view->is_settled);
    pthread_mutex_destroy(&view->settling);
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

static void begins(void *arg)
{
    struct fileview *view = arg;

    clock_gettime(CLOCK_REALTIME_COARSE, &view->born);
    for (uint32_t i = 0; i < view->n_files; i++) {
        struct view_file *file = &view->files[i];

        file->accessed = file->modified = file->changed = view->born;
    }
    count_opens(view);
}

/* Not before: what is finished for a worker that died is finished before anybody is there to answer
 * what telling the kernel asks for. No file is opened before fileview_settle. */
static void begun(void *arg)
{
    watch_stores(arg);
}

static bool add_file(struct fileview *view, const struct fileview_file *from)
{
    struct view_file *file = &view->files[view->n_files];

    file->name = strdup(from->name);
    if (!file->name)
        return false;
    file->view = view;
    file->ino = VIEW_FIRST + view->n_files;
    file->store = store_hold(from->store);
    file->watch = (struct store_watch){.drop = view_store_changes, .arg = file};
    pthread_mutex_init(&file->lock, NULL);
    view->n_files++;
    return true;
}

static struct fileview *view_new(const struct fileview_setup *setup)
{
    struct fileview *view = calloc(1, sizeof(*view));

    if (!view)
        return NULL;
    pthread_mutex_init(&view->settling, NULL);
    pthread_cond_init(&view->is_settled, NULL);
    view->budget = budget_hold(setup->budget);
    view->uid = setup->uid;
    view->gid = setup->gid;
    view->mode = setup->mode & 0777;
    view->passthrough = setup->passthrough;
    view->files = calloc(setup->n_files + 1, sizeof(*view->files));
    if (!view->files)
        goto fail;
    for (uint32_t i = 0; i < setup->n_files; i++)
        if (!add_file(view, &setup->files[i]))
            goto fail;
    if (setup->text_name && !(view->text_name = strdup(setup->text_name)))
        goto fail;
    return view;
fail:
    view_free(view);
    return NULL;
}

static struct fuse_session *new_session(int fd, struct fileview *view)
{
    char program[] = "cuse_scullv", *argv[] = {program, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct fuse_session *session =
        fuse_session_new(&args, &view_operations, sizeof(view_operations), view->channel);

    fuse_opt_free_args(&args);
    if (session && !view_attach(view, session, fd)) {
        fuse_session_destroy(session);
        session = NULL;
    }
    return session;
}

/* Of the files in order; the caller frees it. NULL: no memory. */
static struct filters **filters_of(const struct fileview_setup *setup)
{
    struct filters **filters = calloc(setup->n_files + 1, sizeof(struct filters *));

    for (uint32_t i = 0; filters && i < setup->n_files; i++)
        filters[i] = setup->files[i].filters;
    return filters;
}

/* -errno; on failure the session is destroyed, and fd with it. */
static int prepare(struct fileview *view, int fd, const struct fileview_setup *setup,
                 const struct channel_options *options, void *owner)
{
    struct filters **filters = filters_of(setup);
    struct ledger *ledger = setup->ledger;
    int rc = -ENOMEM;

    view->session = filters ? new_session(fd, view) : NULL;
    if (!view->session) {
        free(filters);
        close(fd);
        ledger_free(ledger);
        if (setup->looker >= 0)
            close(setup->looker);
        return rc;
    }
    rc = invalidate_start(&view->invalidator, view->session, setup->looker);
    if (rc < 0) {
        free(filters);
        ledger_free(ledger);
        goto destroy;
    }
    view->invalidates = true;
    view->ledger = ledger;
    rc = channel_prepare(view->channel, &(struct channel_setup){
                                            .session = view->session,
                                            .fd = fd,
                                            .kind = REQUEST_FILE,
                                            .payload_max = VIEW_PAYLOAD_MAX,
                                            .ledger = ledger,
                                            .filters = filters,
                                            .n_filters = setup->n_files,
                                            .first_node = VIEW_FIRST,
                                            .options = options,
                                            .owner = owner,
                                            .greeted = view_greeted,
                                            .begins = begins,
                                            .begun = begun,
                                            .ended = view_ended,
                                            .arg = view,
                                        });
    free(filters);
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
        ledger_free(setup->ledger);
        if (setup->looker >= 0)
            close(setup->looker);
        close(fd);
        errno = ENOMEM;
        return NULL;
    }
    view->channel = channel;
    rc = prepare(view, fd, setup, options, owner);
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
