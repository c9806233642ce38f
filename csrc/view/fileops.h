/* fileops: what clients of the file view do to names, attributes and open files. See fileops.c. */
#ifndef FILEOPS_H
#define FILEOPS_H

#include <fuse_lowlevel.h>

extern const struct fuse_lowlevel_ops view_operations;

#endif
