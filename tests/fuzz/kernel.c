/* kernel: the kernel's end of a channel, which keeps books of what is to be answered.
 *
 * Up to UNDER_WAY messages are sent before their answers are waited for. An answer that nobody waits
 * for, a second one, one of the wrong length or with what the kernel would refuse
 * (fs/fuse/dev.c: fuse_dev_do_write) ends the program with the seed that led to it. */
#include "kernel.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNDER_WAY 48u
#define ENTRIES 65536u  /* of uniques that are not told from one another any more */
#define ANSWER_MS 60000 /* longer than anything takes, under a sanitizer on a busy machine */
#define ERRNO_LIMIT 512
#define NOTIFY_POLL_BYTES 8u
#define NOTIFY_INVAL_BYTES 24u

struct entry {
    uint64_t unique;
    uint32_t opcode;
    unsigned waits, interrupts; /* answers to come; INTERRUPTs that may be answered, or not */
    struct expect expect;
};

struct kernel {
    int fd;
    enum kind kind;
    struct dice dice;
    uint64_t seed, unique, sent;
    unsigned under_way;
    struct entry entry[ENTRIES];
    uint8_t answer[(1 << 20) + 4096];
};

_Noreturn void kernel_fail(const struct kernel *kernel, const char *text, ...)
{
    va_list arguments;

    fprintf(stderr, "storm: seed %llu, message %llu: ", (unsigned long long)kernel->seed,
            (unsigned long long)kernel->sent);
    va_start(arguments, text);
    vfprintf(stderr, text, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

struct kernel *kernel_new(int fd, enum kind kind, uint64_t seed)
{
    struct kernel *kernel = calloc(1, sizeof(*kernel));
    int bytes = 4 << 20;

    if (!kernel)
        abort();
    /* More than sysctl net.core.wmem_max allows, where we may. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)))
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    kernel->fd = fd;
    kernel->kind = kind;
    kernel->seed = seed;
    kernel->dice.state = seed;
    return kernel;
}

void kernel_free(struct kernel *kernel)
{
    close(kernel->fd);
    free(kernel);
}

enum kind kernel_kind(const struct kernel *kernel)
{
    return kernel->kind;
}

struct dice *kernel_dice(struct kernel *kernel)
{
    return &kernel->dice;
}

uint64_t kernel_sent(const struct kernel *kernel)
{
    return kernel->sent;
}

static struct entry *entry_of(struct kernel *kernel, uint64_t unique)
{
    return &kernel->entry[unique / 2 % ENTRIES];
}

/* --- answers --------------------------------------------------------------------------------------- */

static void take_notice(const struct kernel *kernel, int code, size_t length)
{
    bool known = kernel->kind == KIND_FILE
                     ? code == FUSE_NOTIFY_INVAL_INODE && length == NOTIFY_INVAL_BYTES
                     : code == FUSE_NOTIFY_POLL && length == NOTIFY_POLL_BYTES;

    if (!known)
        kernel_fail(kernel, "a notification of code %d with %zu bytes", code, length);
}

/* The server may say once of each that it does not know what was interrupted yet (EAGAIN); before
 * INIT libfuse answers them as all else (EIO), which the kernel passes over. */
static void take_interrupt(struct kernel *kernel, uint64_t unique, int error, size_t length)
{
    struct entry *entry = entry_of(kernel, unique & ~UINT64_C(1));

    if ((error != -EAGAIN && error != -EIO) || length)
        kernel_fail(kernel, "an INTERRUPT was answered with %d and %zu bytes", error, length);
    if (entry->unique != (unique & ~UINT64_C(1)) || !entry->interrupts--)
        kernel_fail(kernel, "an INTERRUPT that was not sent was answered");
}

static void check(const struct kernel *kernel, const struct entry *entry, int error, size_t length)
{
    const struct expect *expect = &entry->expect;
    unsigned opcode = entry->opcode;

    if (error <= -ERRNO_LIMIT || error > 0)
        kernel_fail(kernel, "opcode %u was answered with error %d", opcode, error);
    if (error && length)
        kernel_fail(kernel, "opcode %u: error %d came with %zu bytes", opcode, error, length);
    if (expect->error != ANYTHING && error != expect->error)
        kernel_fail(kernel, "opcode %u was answered with %d, not %d", opcode, error, expect->error);
    if (!error && (length < expect->least || length > expect->most))
        kernel_fail(kernel, "opcode %u was answered with %zu bytes, not %u to %u", opcode, length,
                    expect->least, expect->most);
}

static void take_answer(struct kernel *kernel, uint64_t unique, int error, const uint8_t *body,
                        size_t length)
{
    struct entry *entry = entry_of(kernel, unique);

    if (entry->unique != unique || !entry->waits)
        kernel_fail(kernel, "an answer (error %d, %zu bytes) to %llu%s, which awaits none", error,
                    length, (unsigned long long)unique,
                    entry->unique == unique ? " again" : "");
    check(kernel, entry, error, length);
    entry->waits--;
    kernel->under_way--;
    if (entry->expect.done)
        entry->expect.done(entry->expect.arg, error, body, length);
}

/* False: there is none. */
static bool take(struct kernel *kernel, int flags)
{
    struct fuse_out_header out;
    ssize_t length = recv(kernel->fd, kernel->answer, sizeof(kernel->answer), flags);
    const uint8_t *body = kernel->answer + sizeof(out);
    size_t rest;

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (length <= 0)
        kernel_fail(kernel, "the server has gone, %u messages under way", kernel->under_way);
    if ((size_t)length < sizeof(out))
        kernel_fail(kernel, "an answer of %zd bytes has no header", length);
    memcpy(&out, kernel->answer, sizeof(out));
    if (out.len != (size_t)length)
        kernel_fail(kernel, "an answer of %zd bytes says it has %u", length, out.len);
    rest = (size_t)length - sizeof(out);
    if (!out.unique)
        take_notice(kernel, out.error, rest);
    else if (out.unique & 1)
        take_interrupt(kernel, out.unique, out.error, rest);
    else
        take_answer(kernel, out.unique, out.error, body, rest);
    return true;
}

static void tell_who_waits(const struct kernel *kernel)
{
    for (unsigned i = 0; i < ENTRIES; i++)
        if (kernel->entry[i].waits)
            fprintf(stderr, "storm: opcode %u (unique %llu) waits\n", kernel->entry[i].opcode,
                    (unsigned long long)kernel->entry[i].unique);
}

/* Until there is something to take (or room to send, if that is wanted). */
static void pause_for(struct kernel *kernel, short events)
{
    struct pollfd ready = {.fd = kernel->fd, .events = events};

    if (poll(&ready, 1, ANSWER_MS) > 0)
        return;
    tell_who_waits(kernel);
    kernel_fail(kernel, "nothing is answered any more, %u messages under way", kernel->under_way);
}

void kernel_wait(struct kernel *kernel)
{
    while (!take(kernel, MSG_DONTWAIT))
        pause_for(kernel, POLLIN);
}

void kernel_settle(struct kernel *kernel)
{
    while (kernel->under_way)
        kernel_wait(kernel);
}

void kernel_expect_silence(struct kernel *kernel, int milliseconds)
{
    struct pollfd ready = {.fd = kernel->fd, .events = POLLIN};

    while (poll(&ready, 1, milliseconds) > 0)
        take(kernel, MSG_DONTWAIT); /* fails by itself, but for notices */
}

/* --- messages -------------------------------------------------------------------------------------- */

void *kernel_begin(struct kernel *kernel, struct message *message, uint32_t opcode, size_t body)
{
    static const uint32_t pids[] = {0, 1, UINT32_MAX};
    uint32_t pid = (uint32_t)getpid();

    if (dice_one_in(&kernel->dice, 4))
        pid = pids[dice_roll(&kernel->dice, 3)];
    message->length = sizeof(message->in) + body;
    memset(message->bytes, 0, message->length);
    message->in = (struct fuse_in_header){
        .len = (uint32_t)message->length,
        .opcode = opcode,
        .unique = kernel->unique += 2,
        .nodeid = kernel->kind == KIND_FILE ? FUSE_ROOT_ID : 0,
        .uid = 1000,
        .gid = 1000,
        .pid = pid,
    };
    return message->bytes + sizeof(message->in);
}

static void book(struct kernel *kernel, const struct message *message, const struct expect *expect)
{
    struct entry *entry = entry_of(kernel, message->in.unique);

    if (entry->unique != message->in.unique)
        *entry = (struct entry){.unique = message->in.unique};
    if (!expect)
        return;
    /* Of two under one number nobody knows which answer is whose. */
    if (entry->waits)
        entry->expect = (struct expect){.error = ANYTHING, .most = UINT32_MAX};
    else
        entry->expect = *expect;
    entry->opcode = message->in.opcode;
    entry->waits++;
    kernel->under_way++;
}

static void transmit(struct kernel *kernel, const struct message *message)
{
    while (send(kernel->fd, message->bytes, message->length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            kernel_fail(kernel, "%zu bytes cannot be sent: %s", message->length, strerror(errno));
        if (!take(kernel, MSG_DONTWAIT))
            pause_for(kernel, POLLIN | POLLOUT);
    }
    kernel->sent++;
}

void kernel_send(struct kernel *kernel, const struct message *message, const struct expect *expect)
{
    while (kernel->under_way >= UNDER_WAY)
        kernel_wait(kernel);
    /* A message that has no whole header has no number either. */
    if (message->length >= sizeof(message->in))
        book(kernel, message, expect);
    transmit(kernel, message);
    while (take(kernel, MSG_DONTWAIT))
        continue;
}

uint64_t kernel_some_unique(struct kernel *kernel)
{
    uint64_t back = 2 * dice_roll(&kernel->dice, 2 * UNDER_WAY);

    return kernel->unique > back ? kernel->unique - back : 2;
}

/* The number of an OPEN has to come back to who asked. */
bool kernel_may_double(struct kernel *kernel, uint64_t unique)
{
    return entry_of(kernel, unique)->unique == unique && !entry_of(kernel, unique)->expect.done;
}

bool kernel_awaits(struct kernel *kernel, uint64_t unique)
{
    const struct entry *entry = entry_of(kernel, unique);

    return entry->unique == unique && entry->waits;
}

void kernel_interrupt(struct kernel *kernel, uint64_t unique)
{
    struct message message;
    struct fuse_interrupt_in *in;
    uint64_t last = kernel->unique;

    in = kernel_begin(kernel, &message, FUSE_INTERRUPT, sizeof(*in));
    kernel->unique = last;
    message.in.unique = unique | 1;
    in->unique = unique;
    if (entry_of(kernel, unique)->unique != unique)
        *entry_of(kernel, unique) = (struct entry){.unique = unique};
    entry_of(kernel, unique)->interrupts++;
    transmit(kernel, &message);
}
