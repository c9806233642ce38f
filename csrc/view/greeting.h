/* greeting: what INIT and open replies say that libfuse cannot. See greeting.c. */
#ifndef GREETING_H
#define GREETING_H

#include "view/files.h"

/* 256 pages: the kernel's most, and since 6.13 what fs.fuse.max_pages_limit is unless it is changed. */
#define VIEW_PAYLOAD_MAX ((size_t)1 << 20)

void view_init(void *userdata, struct fuse_conn_info *conn);
/* What the open reply says besides: a call_open_hook. */
void view_opened(struct call *call, struct fuse_file_info *fi);
/* The session's ways in and out. */
extern const struct fuse_custom_io view_io;

#endif
