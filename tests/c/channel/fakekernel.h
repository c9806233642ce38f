/* The kernel's end of a channel in C: threads that call, one that hands them their answers.
 *
 * Each client has a number, which its uniques tell, and one request under way. */
#ifndef FAKEKERNEL_H
#define FAKEKERNEL_H

#include <linux/fuse.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define KERNEL_CLIENTS 8u
#define KERNEL_DATA 16384u /* bytes of a READ or WRITE, at most */

struct kernel_client {
    sem_t answered;
    uint64_t turn; /* requests that it has made */
    atomic_int error; /* the end may come while nobody waits */
    uint32_t length;
    uint8_t body[KERNEL_DATA];
};

struct fakekernel {
    int fd, server;
    bool fuse; /* else CUSE */
    pthread_t reader;
    atomic_bool gone; /* the server */
    atomic_uint notified;
    struct kernel_client client[KERNEL_CLIENTS];
};

static inline struct kernel_client *kernel_client_of(struct fakekernel *kernel, uint64_t unique)
{
    return &kernel->client[unique / 2 % KERNEL_CLIENTS];
}

static inline void kernel_take(struct fakekernel *kernel, const uint8_t *message, size_t length)
{
    struct fuse_out_header out;
    struct kernel_client *client;

    memcpy(&out, message, sizeof(out));
    if (!out.unique)
        kernel->notified++;
    if (!out.unique || out.unique & 1)
        return;
    client = kernel_client_of(kernel, out.unique);
    client->error = out.error;
    client->length = (uint32_t)(length - sizeof(out));
    memcpy(client->body, message + sizeof(out), client->length);
    sem_post(&client->answered);
}

static inline void *kernel_read(void *arg)
{
    struct fakekernel *kernel = arg;
    static _Thread_local uint8_t message[KERNEL_DATA + 4096];
    ssize_t length;

    while ((length = recv(kernel->fd, message, sizeof(message), 0)) > 0)
        kernel_take(kernel, message, (size_t)length);
    kernel->gone = true;
    for (unsigned i = 0; i < KERNEL_CLIENTS; i++) {
        kernel->client[i].error = -ENODEV;
        sem_post(&kernel->client[i].answered);
    }
    return NULL;
}

static inline void kernel_begin(struct fakekernel *kernel, bool fuse)
{
    int end[2];

    memset(kernel, 0, sizeof(*kernel));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, end), 0);
    kernel->fd = end[0];
    kernel->server = end[1];
    kernel->fuse = fuse;
    for (unsigned i = 0; i < KERNEL_CLIENTS; i++)
        sem_init(&kernel->client[i].answered, 0, 0);
    pthread_create(&kernel->reader, NULL, kernel_read, kernel);
}

/* After the server's end, and that of all clients. */
static inline void kernel_end(struct fakekernel *kernel)
{
    pthread_join(kernel->reader, NULL);
    close(kernel->fd);
    for (unsigned i = 0; i < KERNEL_CLIENTS; i++)
        sem_destroy(&kernel->client[i].answered);
}

static inline uint64_t kernel_unique(const struct fakekernel *kernel, unsigned number)
{
    return 2 * (kernel->client[number].turn * KERNEL_CLIENTS + number);
}

static inline void kernel_send(struct fakekernel *kernel, uint64_t unique, uint64_t node,
                               uint32_t opcode, const void *body, size_t size, const void *data,
                               size_t data_size)
{
    struct fuse_in_header in = {
        .len = (uint32_t)(sizeof(in) + size + data_size),
        .opcode = opcode,
        .unique = unique,
        .nodeid = node,
        .pid = (uint32_t)getpid(),
    };
    struct iovec iov[] = {{&in, sizeof(in)}, {(void *)body, size}, {(void *)data, data_size}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 3};

    (void)!sendmsg(kernel->fd, &message, MSG_NOSIGNAL); /* who reads hears of the end */
}

/* 0 or -errno; the answer's body is the client's. */
static inline int kernel_call(struct fakekernel *kernel, unsigned number, uint64_t node,
                              uint32_t opcode, const void *body, size_t size, const void *data,
                              size_t data_size)
{
    struct kernel_client *client = &kernel->client[number];

    if (kernel->gone)
        return -ENODEV;
    client->turn++;
    kernel_send(kernel, kernel_unique(kernel, number), node, opcode, body, size, data, data_size);
    while (sem_wait(&client->answered))
        continue;
    return client->error;
}

/* --- system calls ------------------------------------------------------------------------------- */

static inline int kernel_init(struct fakekernel *kernel)
{
    struct cuse_init_in cuse = {.major = FUSE_KERNEL_VERSION, .minor = 38};
    struct fuse_init_in fuse = {
        .major = FUSE_KERNEL_VERSION,
        .minor = 38,
        .max_readahead = 1 << 17,
        .flags = UINT32_MAX,
    };

    return kernel->fuse
               ? kernel_call(kernel, 0, 0, FUSE_INIT, &fuse, sizeof(fuse), NULL, 0)
               : kernel_call(kernel, 0, 0, CUSE_INIT, &cuse, sizeof(cuse), NULL, 0);
}

static inline int kernel_open(struct fakekernel *kernel, unsigned number, uint64_t node,
                              uint64_t *file)
{
    struct fuse_open_in in = {.flags = 2 /* O_RDWR */};
    int error = kernel_call(kernel, number, node, FUSE_OPEN, &in, sizeof(in), NULL, 0);
    struct fuse_open_out out;

    if (error)
        return error;
    memcpy(&out, kernel->client[number].body, sizeof(out));
    *file = out.fh;
    return 0;
}

static inline int kernel_release(struct fakekernel *kernel, unsigned number, uint64_t node,
                                 uint64_t file)
{
    struct fuse_release_in in = {.fh = file};

    return kernel_call(kernel, number, node, FUSE_RELEASE, &in, sizeof(in), NULL, 0);
}

static inline int kernel_pread(struct fakekernel *kernel, unsigned number, uint64_t node,
                               uint64_t file, uint64_t offset, uint32_t size)
{
    struct fuse_read_in in = {.fh = file, .offset = offset, .size = size};

    return kernel_call(kernel, number, node, FUSE_READ, &in, sizeof(in), NULL, 0);
}

static inline int kernel_pwrite(struct fakekernel *kernel, unsigned number, uint64_t node,
                                uint64_t file, uint64_t offset, const void *data, uint32_t size)
{
    struct fuse_write_in in = {.fh = file, .offset = offset, .size = size};

    return kernel_call(kernel, number, node, FUSE_WRITE, &in, sizeof(in), data, size);
}

static inline int kernel_ioctl(struct fakekernel *kernel, unsigned number, uint64_t node,
                               uint64_t file, uint32_t cmd, uint64_t arg)
{
    struct fuse_ioctl_in in = {.fh = file, .cmd = cmd, .arg = arg};

    return kernel_call(kernel, number, node, FUSE_IOCTL, &in, sizeof(in), NULL, 0);
}

/* Of the request that the client makes now, or made last, or makes next. */
static inline void kernel_interrupt(struct fakekernel *kernel, uint64_t unique)
{
    struct fuse_interrupt_in in = {.unique = unique};

    kernel_send(kernel, unique | 1, 0, FUSE_INTERRUPT, &in, sizeof(in), NULL, 0);
}

#endif
