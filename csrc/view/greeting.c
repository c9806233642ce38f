/* greeting: what INIT and open replies say that libfuse cannot: it is put into them on their way out; or
 * libfuse says it, where it can (from 3.17 on) and nobody sees what it sends.
 *
 * From Linux 6.6 on (protocol 7.39) files are opened for direct I/O and can be mapped all the same, if
 * the INIT reply asks for FUSE_DIRECT_IO_ALLOW_MMAP, of which libfuse before 3.17 knows nothing. */
#include "view/greeting.h"

#include <errno.h>
#include <fuse_log.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <sys/uio.h>
#include <unistd.h>

#include "channel/channel.h"
#include "view/passthrough.h"

#define BACKGROUND_MAX 64u            /* readahead, asynchronous I/O and write-back at once */

/* linux/fuse.h has these since 6.2 and 6.6; Debian 12's is of 6.1. */
#define OPEN_PARALLEL_DIRECT_WRITES (1u << 6)
#define INIT_DIRECT_IO_ALLOW_MMAP_HIGH (1u << (36 - 32)) /* of flags2 */
#define MINOR_DIRECT_IO_ALLOW_MMAP 39u

/* What this thread sends next answers INIT. */
static _Thread_local bool greeting;
/* Whose open reply this thread sends next; NULL: nobody's that has more to say. */
static _Thread_local const struct view_file *opened;

static void ask_libfuse(struct fileview *view, struct fuse_conn_info *conn)
{
#ifdef FUSE_CAP_PASSTHROUGH
    view->mmap_direct = view->mmap_direct && conn->capable & FUSE_CAP_DIRECT_IO_ALLOW_MMAP;
    view->passthrough = view->passthrough && conn->capable & FUSE_CAP_PASSTHROUGH;
    if (view->mmap_direct)
        conn->want |= FUSE_CAP_DIRECT_IO_ALLOW_MMAP;
    if (view->passthrough) {
        conn->want |= FUSE_CAP_PASSTHROUGH | (conn->capable & FUSE_CAP_HANDLE_KILLPRIV_V2);
        conn->max_backing_stack_depth = STACK_DEPTH - 1; /* ours it does not count */
    }
#else
    (void)conn;
    view->mmap_direct = view->passthrough = false;
#endif
}

void view_init(void *userdata, struct fuse_conn_info *conn)
{
    struct fileview *view = channel_arg(userdata);

    conn->max_write = VIEW_PAYLOAD_MAX;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
    /* Truncation by open comes as SETATTR, like any other. */
    conn->want &= ~(unsigned)(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ |
                              FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                              FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA);
    /* A new time or size alone drops no pages: we tell which are stale. */
    conn->want |= conn->capable & (FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_ASYNC_DIO |
                                   FUSE_CAP_PARALLEL_DIROPS);
    view->kernel_minor = conn->proto_minor;
    view->mmap_direct = conn->proto_minor >= MINOR_DIRECT_IO_ALLOW_MMAP;
    greeting = view->is_seen;
    if (!view->is_seen)
        ask_libfuse(view, conn);
}

/* Of what nobody sees, nobody can tell whether it could be sent. */
void view_greeted(void *arg)
{
    const struct fileview *view = arg;

    if (!view->is_seen && view->kernel_minor)
        channel_set_ready(view->channel, 0);
}

static void amend_init(struct fileview *view, const struct iovec *iov, int count)
{
    struct fuse_init_out *out;

    if (count < 2 || iov[1].iov_len < offsetof(struct fuse_init_out, flags2) + sizeof(out->flags2))
        return;
    out = iov[1].iov_base;
    if (view->mmap_direct) {
        out->flags |= FUSE_INIT_EXT;
        out->flags2 |= INIT_DIRECT_IO_ALLOW_MMAP_HIGH;
    }
    passthrough_greet(view, out, iov[1].iov_len);
}

static void amend_open(const struct iovec *iov, int count)
{
    struct fuse_open_out *out;

    if (count == 2 && iov[1].iov_len == sizeof(*out)) {
        out = iov[1].iov_base;
        if (opened->backing_id)
            passthrough_open(opened, out);
        else if (opened->view->mmap_direct)
            out->open_flags |= OPEN_PARALLEL_DIRECT_WRITES;
    }
    opened = NULL;
}

/* As amend_open. */
static void say_by_libfuse(const struct view_file *file, struct fuse_file_info *fi)
{
#ifdef FUSE_CAP_PASSTHROUGH
    fi->parallel_direct_writes = !file->backing_id && file->view->mmap_direct;
    fi->direct_io = fi->direct_io && !file->backing_id;
    fi->backing_id = file->backing_id;
#else
    (void)file, (void)fi;
#endif
}

void view_opened(struct call *call, struct fuse_file_info *fi)
{
    struct fileview *view = view_of(call_request(call));
    struct view_file *file = view_find(view, call->node);

    /* The text has no size before it is made: as in /proc, it is read to its end. */
    fi->direct_io = !file || view->mmap_direct;
    if (!file)
        return;
    passthrough_wait(view);
    if (!call->open) /* else it was counted when this process began */
        atomic_fetch_add(&file->opens, 1);
    if (view->is_seen)
        opened = file;
    else
        say_by_libfuse(file, fi);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    struct fileview *view = channel_arg(userdata);
    const bool greets = greeting;
    ssize_t sent;

    greeting = false;
    if (greets)
        amend_init(view, iov, count);
    if (opened)
        amend_open(iov, count);
    sent = writev(fd, iov, count);
    if (greets)
        channel_set_ready(view->channel, sent < 0 && errno != ENOENT ? -errno : 0);
    return sent;
}

static ssize_t io_read(int fd, void *data, size_t size, void *userdata)
{
    (void)userdata;
    return read(fd, data, size);
}

/* What libfuse says of a build that cannot do this is no news to who is served all the same. */
static void say_nothing(enum fuse_log_level level, const char *format, va_list arguments)
{
    (void)level, (void)format, (void)arguments;
}

bool view_attach(struct fileview *view, struct fuse_session *session, int fd)
{
    static const struct fuse_custom_io io = {.writev = io_writev, .read = io_read};
    int rc;

    fuse_set_log_func(say_nothing);
    rc = fuse_session_custom_io(session, &io, fd);
    fuse_set_log_func(NULL);
    view->is_seen = rc == 0;
    return rc == -EOPNOTSUPP ? channel_attach(session, fd) : rc == 0;
}
