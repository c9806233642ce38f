/* client.h: the words and records of client.c. */
#ifndef CLIENT_H
#define CLIENT_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/ioctl.h>
#include <linux/types.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define MEMORY ":memory" /* in place of a path: memory of the client's own, and memcpy */
/* As csrc/scullv_ioctl.h has them, which an installed package does not bring along. */
#define IOC_SEEK _IOWR(0xEE, 1, struct seek)
#define IOC_TRIM _IO(0xEE, 2)

enum op { OP_WRITE, OP_FRESH, OP_READ, OP_IOCTL, OP_ECHO, OP_FAULT };
enum position { POSITION_FILE, POSITION_NODE, POSITION_NONE };
enum reset { RESET_TRUNCATE, RESET_TRIM, RESET_OPEN, RESET_NONE };

struct seek {
    __s64 offset;
    __u32 whence, reserved;
};

struct plan {
    int op, position, reset, clients, n_paths;
    size_t block;
    uint64_t start, stride, span; /* client i of a file starts at start + i * stride */
    uint64_t limit_ns;            /* 0: until the span is full */
    unsigned long command;
    char **paths;
};

struct result {
    uint64_t bytes, ops, from_ns, to_ns;
    int error;
    char what[100];
};

struct shared {
    pthread_barrier_t gate;
    atomic_bool stop; /* this pass */
    bool again;       /* another pass follows */
    struct result result[CLIENTS_MAX];
};

struct client {
    const struct plan *plan;
    struct shared *shared;
    struct result *result;
    int fd; /* -1: MEMORY */
    char *block, *memory; /* `span` bytes of it; of the file, for OP_FAULT */
    uint64_t base, at; /* where its span starts; bytes of it done in this round of it */
};

#endif
