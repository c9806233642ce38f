/* passthrough: files that the kernel reads, writes and maps without us. See passthrough.c. */
#ifndef PASSTHROUGH_H
#define PASSTHROUGH_H

#include <linux/fuse.h>

#include "view/files.h"

#define STACK_DEPTH 1u /* file systems that ours may stand on, counted as overlayfs counts */

/* Asks for it, in a reply to INIT of `length` bytes behind its header that goes out next. */
void passthrough_greet(struct fileview *view, struct fuse_init_out *out, size_t length);
/* Until it is known which files are handed over. */
void passthrough_wait(struct fileview *view);
/* Says so in a reply to an open. */
void passthrough_open(const struct view_file *file, struct fuse_open_out *out);

#endif
