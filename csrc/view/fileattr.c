/* fileattr: sizes and times of what a file view shows.
 *
 * A store notes when it was changed, by whatever way; a file's times follow when somebody asks. */
#include "view/fileattr.h"

#include <errno.h>

#include "base/lock.h"

#define SECTOR 512u   /* bytes; what st_blocks counts */

/* With the file's lock held: the store notes when it was changed last, by whatever way. */
static void see_changes(struct view_file *file, const struct store_info *info)
{
    if (info->changes == file->seen)
        return;
    file->seen = info->changes;
    file->modified.tv_sec = (time_t)(info->changed_ns / 1000000000u);
    file->modified.tv_nsec = (long)(info->changed_ns % 1000000000u);
    file->changed = file->modified;
}

static void stat_file(struct view_file *file, struct stat *st)
{
    struct store_info info;

    store_get_info(file->store, &info);
    st->st_mode = S_IFREG | file->view->mode;
    st->st_size = (off_t)info.size;
    st->st_blocks = (blkcnt_t)(info.resident / SECTOR);
    LOCKED(&file->lock);
    see_changes(file, &info);
    st->st_atim = file->accessed;
    st->st_mtim = file->modified;
    st->st_ctim = file->changed;
}

int view_stat(struct fileview *view, fuse_ino_t ino, struct stat *st)
{
    struct view_file *file = view_find(view, ino);

    *st = (struct stat){
        .st_ino = ino,
        .st_nlink = 1,
        .st_uid = view->uid,
        .st_gid = view->gid,
        .st_blksize = VIEW_BLOCK,
        .st_atim = view->born,
        .st_mtim = view->born,
        .st_ctim = view->born,
    };
    if (file) {
        stat_file(file, st);
    } else if (ino == FUSE_ROOT_ID) {
        st->st_mode = S_IFDIR | 0755;
        st->st_nlink = 2;
    } else if (ino == VIEW_TEXT && view->text_name) {
        st->st_mode = S_IFREG | 0444;
    } else {
        return -ENOENT;
    }
    return 0;
}

int view_reply_stat(fuse_req_t req, fuse_ino_t ino)
{
    struct stat st;
    int rc = view_stat(view_of(req), ino, &st);

    return rc < 0 ? fuse_reply_err(req, -rc) : fuse_reply_attr(req, &st, 0);
}

void view_set_times(struct view_file *file, const struct stat *want, int to_set)
{
    struct store_info info;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    store_get_info(file->store, &info);
    LOCKED(&file->lock);
    see_changes(file, &info);
    if (to_set & FUSE_SET_ATTR_ATIME_NOW)
        file->accessed = now;
    else if (to_set & FUSE_SET_ATTR_ATIME)
        file->accessed = want->st_atim;
    if (to_set & FUSE_SET_ATTR_MTIME_NOW)
        file->modified = now;
    else if (to_set & FUSE_SET_ATTR_MTIME)
        file->modified = want->st_mtim;
    file->changed = now;
}
