/* kernel: the kernel's end of a channel, which keeps books of what is to be answered. See kernel.c. */
#ifndef KERNEL_H
#define KERNEL_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dice.h"

enum kind { KIND_NODE, KIND_FILE, KIND_FOREIGN };

#define DATA_MOST ((size_t)128 << 10) /* bytes of a READ or WRITE */
#define MESSAGE_MOST (DATA_MOST + 8192)

struct message {
    size_t length; /* what is sent, whatever in.len says */
    union {
        struct fuse_in_header in;
        uint8_t bytes[MESSAGE_MOST];
    };
};

#define ANYTHING 1 /* of an answer's error: whatever it is */
/* What the one answer is to be. */
struct expect {
    int error;            /* 0, -errno, ANYTHING */
    uint32_t least, most; /* bytes behind the header of an answer without error */
    /* Called with it; NULL: it says nothing more. */
    void (*done)(void *arg, int error, const uint8_t *body, size_t length);
    void *arg;
};

struct kernel;
struct kernel *kernel_new(int fd, enum kind kind, uint64_t seed);
void kernel_free(struct kernel *kernel);
enum kind kernel_kind(const struct kernel *kernel);
struct dice *kernel_dice(struct kernel *kernel);
uint64_t kernel_sent(const struct kernel *kernel);
/* A message with a fresh unique, `body` bytes of zeros behind the header; they follow it. */
void *kernel_begin(struct kernel *kernel, struct message *message, uint32_t opcode, size_t body);
/* NULL: no answer is wanted. */
void kernel_send(struct kernel *kernel, const struct message *message, const struct expect *expect);
/* Of a number that is under way, or was. */
uint64_t kernel_some_unique(struct kernel *kernel);
bool kernel_awaits(struct kernel *kernel, uint64_t unique); /* its answer */
bool kernel_may_double(struct kernel *kernel, uint64_t unique);
void kernel_interrupt(struct kernel *kernel, uint64_t unique);
/* Takes an answer, waiting for one. */
void kernel_wait(struct kernel *kernel);
/* Until all are there. */
void kernel_settle(struct kernel *kernel);
/* No answer comes for so long that nobody was waiting for. */
void kernel_expect_silence(struct kernel *kernel, int milliseconds);
_Noreturn void kernel_fail(const struct kernel *kernel, const char *text, ...)
    __attribute__((format(printf, 2, 3)));

#endif
