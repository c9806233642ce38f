/* fileattr: sizes and times of what a file view shows. See fileattr.c. */
#ifndef FILEATTR_H
#define FILEATTR_H

#include "view/files.h"

#define VIEW_BLOCK 4096u /* bytes; what st_blksize and statfs tell */

int view_stat(struct fileview *view, fuse_ino_t ino, struct stat *st); /* 0 or -ENOENT */
int view_reply_stat(fuse_req_t req, fuse_ino_t ino);
void view_set_times(struct view_file *file, const struct stat *want, int to_set);

#endif
