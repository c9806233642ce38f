/* guided_messages: the door, and all behind it up to where Python would be, led by what they reach.
 *
 * A libFuzzer target (make guided). Its input is a list of messages, each: a byte of FLAGS, the opcode
 * (two bytes), the length of the body (two), the body. They go through a channel without threads, by
 * way of a socket, so that its answers can be counted; the door is also asked alone, about memory
 * that ends where the message does. */
#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel/door.h"
#include "scullv.h"

#define MESSAGES_MOST 24u
#define BODY_MOST 4096u
#define ANSWER_MOST ((size_t)128 << 10)

enum { LENGTH_LIES = 1, NO_NUMBER = 2, SAME_NUMBER = 4, HEADER_CUT = 8 };

struct input {
    const uint8_t *at;
    size_t left;
};

static uint64_t files;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- where Python would be ------------------------------------------------------------------------- */

static void control(struct call *call)
{
    static const uint64_t areas[] = {0x1000, 16, 0x2000, 16};
    static const uint8_t zeros[4096];
    size_t size = call->out_size < sizeof(zeros) ? call->out_size : sizeof(zeros);

    if (call->cmd & 1)
        call_reply_ioctl(call, (int)call->arg & 0xffff, zeros, size);
    else if (call->cmd & 2)
        call_reply_retry(call, areas, 1, 1);
    else
        call_reply_error(call, ENOTTY);
}

void python_call(void *owner, struct call *call)
{
    static const uint8_t zeros[ANSWER_MOST];
    uint64_t poll = call->poll;

    (void)owner;
    switch (call->kind) {
    case CALL_OPEN:
        call_reply_open(call, ++files);
        break;
    case CALL_READ:
        assert(call->size <= sizeof(zeros));
        call_reply_data(call, zeros, call->size);
        break;
    case CALL_WRITE:
        for (size_t i = 0; i < call->data_size; i++)
            files += ((const uint8_t *)call->data)[i] == 0xff; /* all of it can be read */
        call_reply_written(call, call->data_size);
        break;
    case CALL_IOCTL:
        control(call);
        break;
    case CALL_POLL:
        call_reply_poll(call, 1);
        if (poll)
            call_drop_poll(poll);
        break;
    case CALL_RELEASE:
        call_reply_error(call, 0);
        break;
    default: /* nobody waits */
        break;
    }
}

/* --- messages -------------------------------------------------------------------------------------- */

static uint16_t take_two(struct input *input)
{
    uint16_t number = 0;

    if (input->left >= 2) {
        memcpy(&number, input->at, 2);
        input->at += 2;
        input->left -= 2;
    }
    return number;
}

/* Of memory that ends with it: its length. */
static size_t take_message(struct input *input, uint64_t *unique, uint8_t **message)
{
    uint8_t flags = (uint8_t)take_two(input);
    struct fuse_in_header in = {.opcode = take_two(input), .pid = 1};
    size_t body = take_two(input) % (BODY_MOST + 1), length;

    if (in.opcode == 0xffff)
        in.opcode = CUSE_INIT;
    if (body > input->left)
        body = input->left;
    length = sizeof(in) + body;
    in.len = (uint32_t)length + !!(flags & LENGTH_LIES);
    if (!(flags & SAME_NUMBER))
        *unique += 2;
    in.unique = flags & NO_NUMBER ? 0 : *unique;
    if (in.opcode == FUSE_INTERRUPT)
        in.unique |= 1; /* libfuse answers it before INIT, and that harms nobody */
    if (flags & HEADER_CUT)
        length = 1 + body % (sizeof(in) - 1);
    *message = malloc(length);
    assert(*message);
    memcpy(*message, &in, length < sizeof(in) ? length : sizeof(in));
    if (length > sizeof(in))
        memcpy(*message + sizeof(in), input->at, body);
    input->at += body;
    input->left -= body;
    return length;
}

static void ask_the_door(const uint8_t *message, size_t length)
{
    for (unsigned side = DOOR_CUSE; side <= DOOR_FUSE; side++) {
        if (door_check(message, length, (enum door_side)side) < 0)
            continue;
        assert(length >= sizeof(struct fuse_in_header));
        assert(((const struct fuse_in_header *)message)->len == length);
        door_check_names(message, length);
    }
}

static bool wants_answer(const uint8_t *message, size_t length)
{
    return length >= sizeof(struct fuse_in_header) && door_is_answered(message) &&
           ((const struct fuse_in_header *)message)->unique;
}

/* How many answers to what is no INTERRUPT; each with the length that it says it has. */
static unsigned count_answers(int fd)
{
    static uint8_t answer[ANSWER_MOST + 4096];
    struct fuse_out_header out;
    unsigned count = 0;
    ssize_t length;

    while ((length = recv(fd, answer, sizeof(answer), MSG_DONTWAIT)) > 0) {
        assert((size_t)length >= sizeof(out));
        memcpy(&out, answer, sizeof(out));
        assert(out.len == (size_t)length);
        assert(out.unique && out.error <= 0 && out.error > -512);
        count += !(out.unique & 1);
    }
    return count;
}

static void pump(struct channel *channel, int fd, const uint8_t *message, size_t length)
{
    if (send(fd, message, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return;
    assert(channel_pump(channel) == 1);
    assert(count_answers(fd) == wants_answer(message, length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct channel_options options = {.threads = 1, .callers = 1};
    const struct cuse_setup setup = {.name = "guided", .pumped = true, .unrestricted = size % 2};
    struct input input = {data, size};
    struct channel *channel;
    uint64_t unique = 0;
    int end[2];

    files = 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, end))
        abort();
    channel = cuse_open(end[1], &setup, &options, NULL);
    assert(channel);
    assert(channel_begin(channel) == 0);
    for (unsigned i = 0; i < MESSAGES_MOST && input.left; i++) {
        uint8_t *message;
        size_t length = take_message(&input, &unique, &message);

        ask_the_door(message, length);
        pump(channel, end[0], message, length);
        free(message);
    }
    assert(channel_close(channel, 1000) == 0);
    close(end[0]);
    return 0;
}
