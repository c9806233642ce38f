/* fileextent: sizes, allocation and holes of the file view's files. See fileextent.c. */
#ifndef FILEEXTENT_H
#define FILEEXTENT_H

#include "view/files.h"

void view_resize(fuse_req_t req, struct view_file *file, uint64_t size,
                 const struct fuse_file_info *fi);
void view_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                    struct fuse_file_info *fi);
void view_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
                struct fuse_file_info *fi);

#endif
