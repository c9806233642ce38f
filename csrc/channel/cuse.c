/* cuse: a channel that is a character device.
 *
 * libfuse's CUSE session on a descriptor of ours (channel_attach), so that many devices
 * fit one process, nothing is daemonized and no signal handler is set. The callbacks only make
 * calls; those READs and WRITEs that are answered in C never come here. */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cuse_lowlevel.h>

#include "channel/channel.h"

/* The kernel's most for a CUSE channel: 32 pages (fs/fuse/cuse.c: cuse_channel_open). */
#define CUSE_PAYLOAD_MAX ((size_t)128 << 10)

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
    conn->max_write = CUSE_PAYLOAD_MAX;
    /* Where the name is taken, another worker may hear of the end before the first reply is back. */
    channel_greet(userdata);
}

/* The kernel registers the device within the write of the reply, and breaks the connection off
 * where it cannot: the name is taken. */
static void on_init_done(void *userdata)
{
    struct channel *channel = userdata;
    struct pollfd state = {.fd = *(int *)channel_arg(channel), .events = POLLIN};

    poll(&state, 1, 0);
    channel_set_ready(channel, state.revents & POLLERR ? -EEXIST : 0);
}

static void on_open(fuse_req_t req, struct fuse_file_info *fi)
{
    struct call *call = call_new(req, CALL_OPEN, fi, NULL, 0);

    if (call)
        channel_submit(call);
}

static void on_release(fuse_req_t req, struct fuse_file_info *fi)
{
    struct call *call = call_new(req, CALL_RELEASE, fi, NULL, 0);

    if (call)
        channel_submit(call);
}

static void on_read(fuse_req_t req, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct call *call = call_new(req, CALL_READ, fi, NULL, 0);

    if (!call)
        return;
    /* More no CUSE asks for, and a handler need not make room for it. */
    call->size = size < CUSE_PAYLOAD_MAX ? size : CUSE_PAYLOAD_MAX;
    call->offset = (uint64_t)offset;
    channel_submit(call);
}

static void on_write(fuse_req_t req, const char *data, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    struct call *call = call_new(req, CALL_WRITE, fi, data, size);

    if (!call)
        return;
    call->offset = (uint64_t)offset;
    channel_submit(call);
}

/* libfuse before 3.19 hands the command as a signed int. */
static void on_ioctl(fuse_req_t req, int cmd, void *arg, struct fuse_file_info *fi,
                     unsigned int flags, const void *data, size_t size, size_t out_size)
{
    struct call *call = call_new(req, CALL_IOCTL, fi, data, size);

    if (!call)
        return;
    call->cmd = (uint32_t)cmd;
    call->arg = (uintptr_t)arg;
    call->ioctl_flags = flags;
    call->out_size = out_size;
    channel_submit(call);
}

static void on_poll(fuse_req_t req, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
    struct call *call = call_new(req, CALL_POLL, fi, NULL, 0);

    if (!call) {
        fuse_pollhandle_destroy(ph);
        return;
    }
    call->poll = (uintptr_t)ph;
    channel_submit(call);
}

static const struct cuse_lowlevel_ops operations = {
    .init = on_init,
    .init_done = on_init_done,
    .open = on_open,
    .release = on_release,
    .read = on_read,
    .write = on_write,
    .ioctl = on_ioctl,
    .poll = on_poll,
};

static struct fuse_session *new_session(int fd, const struct cuse_setup *setup,
                                        struct channel *channel)
{
    char devname[256], program[] = "cuse_scullv", *argv[] = {program, NULL};
    const char *info[] = {devname};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct cuse_info cuse = {
        .dev_major = setup->major,
        .dev_minor = setup->minor,
        .dev_info_argc = 1,
        .dev_info_argv = info,
        .flags = setup->unrestricted ? CUSE_UNRESTRICTED_IOCTL : 0,
    };
    struct fuse_session *session;
    int n = snprintf(devname, sizeof(devname), "DEVNAME=%s", setup->name);

    if (n < 0 || (size_t)n >= sizeof(devname)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    session = cuse_lowlevel_new(&args, &cuse, &operations, channel);
    fuse_opt_free_args(&args);
    if (!session) {
        errno = ENOMEM;
        return NULL;
    }
    if (!channel_attach(session, fd)) {
        fuse_session_destroy(session);
        errno = ENOMEM;
        return NULL;
    }
    return session;
}

/* A largest request's bytes, as an object of Python's, are just past the size from which glibc maps
 * each allocation for itself and gives it back at once: every page of every request would be faulted
 * in anew (mallopt(3)). */
static void keep_large_objects(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 8 * (int)CUSE_PAYLOAD_MAX);
    mallopt(M_TRIM_THRESHOLD, 64 * (int)CUSE_PAYLOAD_MAX);
#endif
}

struct channel *cuse_open(int fd, const struct cuse_setup *setup,
                          const struct channel_options *options, void *owner)
{
    struct channel *channel = channel_new();
    int *descriptor = malloc(sizeof(*descriptor));
    struct fuse_session *session = NULL;
    struct ledger *ledger = setup->ledger; /* until the channel has it */
    int error = ENOMEM;

    if (!channel || !descriptor)
        goto fail;
    *descriptor = fd;
    if (!setup->data_path)
        keep_large_objects();
    session = new_session(fd, setup, channel);
    if (!session) {
        error = errno;
        goto fail;
    }
    ledger = NULL;
    error = -channel_prepare(channel, &(struct channel_setup){
                                        .session = session,
                                        .fd = fd,
                                        .kind = setup->data_path ? REQUEST_NODE : REQUEST_FOREIGN,
                                        .payload_max = CUSE_PAYLOAD_MAX,
                                        .interruptible = setup->interruptible,
                                        .pumped = setup->pumped,
                                        .ledger = setup->ledger,
                                        .filters = &setup->filters,
                                        .n_filters = setup->filters ? 1 : 0,
                                        .options = options,
                                        .owner = owner,
                                        .ended = free,
                                        .arg = descriptor,
                                    });
    if (!error)
        return channel;
fail:
    if (session)
        fuse_session_destroy(session); /* closes fd */
    else
        close(fd);
    free(descriptor);
    ledger_free(ledger);
    if (channel)
        channel_discard(channel);
    errno = error;
    return NULL;
}

const char *cuse_library_version(void)
{
    return fuse_pkgversion();
}
