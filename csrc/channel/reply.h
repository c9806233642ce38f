/* reply: the messages that answer a call. See reply.c. */
#ifndef REPLY_H
#define REPLY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Whose answer it is, and where it goes. */
struct reply {
    int fd;
    uint64_t unique;
    /* Called with the message before it is sent; NULL: nobody wants to know. */
    void (*record)(void *arg, const struct iovec *iov, int count);
    void *arg;
};

/* Each sends one message: 0, or -errno of the write, ENOENT: the client is gone. */
int reply_error(const struct reply *reply, int error); /* 0: success, and no more to say */
int reply_open(const struct reply *reply, uint64_t fh);
int reply_data(const struct reply *reply, const void *data, size_t size);
int reply_written(const struct reply *reply, size_t size);
int reply_ioctl(const struct reply *reply, int result, const void *data, size_t size);
/* `areas`: (address, length) of what the kernel is to fetch first, and then of what it is to give back. */
int reply_retry(const struct reply *reply, const uint64_t *areas, size_t n_in, size_t n_out);
int reply_poll(const struct reply *reply, unsigned events);

#endif
