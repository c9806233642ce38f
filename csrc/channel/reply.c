/* reply: the messages that answer a call, as the kernel wants them (linux/fuse.h).
 *
 * libfuse could write them. But what a worker answers may have to be recorded before it is sent, and not
 * every build of libfuse lets us see what it sends (fuse_session_custom_io is not in Debian's 3.18.3). */
#include "channel/reply.h"

#include <errno.h>
#include <linux/fuse.h>
#include <unistd.h>

#define PARTS_MAX 3 /* header, struct, data */

/* `iov[0]` is left for the header. */
static int send(const struct reply *reply, int error, struct iovec *iov, int count)
{
    struct fuse_out_header out = {.len = sizeof(out), .error = -error, .unique = reply->unique};

    for (int i = 1; i < count; i++)
        out.len += (uint32_t)iov[i].iov_len;
    iov[0] = (struct iovec){&out, sizeof(out)};
    if (reply->record)
        reply->record(reply->arg, iov, count);
    return writev(reply->fd, iov, count) < 0 ? -errno : 0;
}

/* A struct, and data behind it; none of either where its size is 0. */
static int send_with(const struct reply *reply, const void *body, size_t body_size,
                     const void *data, size_t size)
{
    struct iovec iov[PARTS_MAX];
    int count = 1;

    if (body_size)
        iov[count++] = (struct iovec){(void *)(uintptr_t)body, body_size};
    if (size)
        iov[count++] = (struct iovec){(void *)(uintptr_t)data, size};
    return send(reply, 0, iov, count);
}

int reply_error(const struct reply *reply, int error)
{
    struct iovec iov[1];

    return send(reply, error, iov, 1);
}

int reply_open(const struct reply *reply, uint64_t fh)
{
    const struct fuse_open_out out = {.fh = fh};

    return send_with(reply, &out, sizeof(out), NULL, 0);
}

int reply_data(const struct reply *reply, const void *data, size_t size)
{
    return send_with(reply, NULL, 0, data, size);
}

int reply_written(const struct reply *reply, size_t size)
{
    const struct fuse_write_out out = {.size = (uint32_t)size};

    return send_with(reply, &out, sizeof(out), NULL, 0);
}

int reply_ioctl(const struct reply *reply, int result, const void *data, size_t size)
{
    const struct fuse_ioctl_out out = {.result = result};

    return send_with(reply, &out, sizeof(out), data, size);
}

int reply_retry(const struct reply *reply, const uint64_t *areas, size_t n_in, size_t n_out)
{
    const struct fuse_ioctl_out out = {
        .flags = FUSE_IOCTL_RETRY,
        .in_iovs = (uint32_t)n_in,
        .out_iovs = (uint32_t)n_out,
    };

    return send_with(reply, &out, sizeof(out), areas,
                     (n_in + n_out) * sizeof(struct fuse_ioctl_iovec));
}

int reply_poll(const struct reply *reply, unsigned events)
{
    const struct fuse_poll_out out = {.revents = events};

    return send_with(reply, &out, sizeof(out), NULL, 0);
}
