/* greeting: what INIT and open replies say that libfuse cannot. See greeting.c. */
#ifndef GREETING_H
#define GREETING_H

#include "view/files.h"

/* 256 pages: the kernel's most, and since 6.13 what fs.fuse.max_pages_limit is unless it is changed. */
#define VIEW_PAYLOAD_MAX ((size_t)1 << 20)

void view_init(void *userdata, struct fuse_conn_info *conn);
/* INIT has been answered, where it could be. */
void view_greeted(void *arg);
/* What the open reply says besides: a call_open_hook. */
void view_opened(struct call *call, struct fuse_file_info *fi);
/* `fd` is the session's from here on; what it sends is seen where libfuse can do that (not in Debian's
 * 3.18.3). False: `fd` stays the caller's. */
bool view_attach(struct fileview *view, struct fuse_session *session, int fd);

#endif
