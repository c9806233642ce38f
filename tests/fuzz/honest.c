/* honest: clients whose every byte is known, and the lies that are told beside them.
 *
 * Each client has an open file and a part of the device that nobody else touches, and one request
 * under way at a time; so what a read gives is known, whatever runs beside it. Lies that are refused
 * must change nothing. On a node (and its image in Python) a client seeks, where the file view is
 * told offsets. */
#include "honest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lies.h"
#include "scullv_ioctl.h"

#define CLIENTS 16u
#define PART ((size_t)96 << 10) /* bytes; no multiple of a quantum */
#define FILES 2u                /* of the file view, from node FIRST on */
#define FIRST 3u

struct client {
    struct honest *honest;
    uint64_t number; /* of the open file */
    uint64_t base;   /* bytes; of the part in the device */
    uint64_t node;
    size_t position; /* in the part */
    bool busy;
    size_t from, bytes; /* of the request under way */
    uint8_t *content;   /* PART bytes */
};

struct honest {
    struct kernel *kernel;
    struct client client[CLIENTS];
    struct message message;
    uint32_t opens; /* as INFO said last */
};

static bool is_file(const struct honest *honest)
{
    return kernel_kind(honest->kernel) == KIND_FILE;
}

struct honest *honest_new(struct kernel *kernel)
{
    struct honest *honest = calloc(1, sizeof(*honest));

    if (!honest)
        abort();
    honest->kernel = kernel;
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *client = &honest->client[i];
        bool file = is_file(honest);

        client->honest = honest;
        client->base = (file ? i / FILES : i) * PART;
        client->node = file ? FIRST + i % FILES : 0;
        client->content = calloc(1, PART);
        if (!client->content)
            abort();
    }
    return honest;
}

void honest_free(struct honest *honest)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        free(honest->client[i].content);
    free(honest);
}

static void *begin(struct client *client, uint32_t opcode, size_t body)
{
    void *in = kernel_begin(client->honest->kernel, &client->honest->message, opcode, body);

    if (client->node)
        client->honest->message.in.nodeid = client->node;
    return in;
}

static void wait_for(struct client *client)
{
    while (client->busy)
        kernel_wait(client->honest->kernel);
}

static void submit(struct client *client, struct expect expect)
{
    expect.arg = client;
    client->busy = true;
    kernel_send(client->honest->kernel, &client->honest->message, &expect);
}

static void done(void *arg, int error, const uint8_t *body, size_t length)
{
    struct client *client = arg;

    (void)error, (void)body, (void)length;
    client->busy = false;
}

/* --- requests -------------------------------------------------------------------------------------- */

static void opened(void *arg, int error, const uint8_t *body, size_t length)
{
    struct client *client = arg;
    struct fuse_open_out out;

    memcpy(&out, body, sizeof(out));
    client->number = out.fh;
    client->position = 0;
    done(client, error, body, length);
}

static void send_open(struct client *client)
{
    struct fuse_open_in *in = begin(client, FUSE_OPEN, sizeof(*in));

    in->flags = O_RDWR;
    submit(client, (struct expect){0, sizeof(struct fuse_open_out), sizeof(struct fuse_open_out),
                                   opened, NULL});
}

static void send_release(struct client *client)
{
    struct fuse_release_in *in = begin(client, FUSE_RELEASE, sizeof(*in));

    in->fh = client->number;
    in->flags = O_RDWR;
    submit(client, (struct expect){.done = done});
}

static void has_read(void *arg, int error, const uint8_t *body, size_t length)
{
    struct client *client = arg;
    const uint8_t *want = client->content + client->from;

    for (size_t i = 0; i < length; i++)
        if (body[i] != want[i])
            kernel_fail(client->honest->kernel, "byte %zu of a read of %zu at %zu is %#x, not %#x",
                        i, length, client->from, body[i], want[i]);
    done(client, error, body, length);
}

static void send_read(struct client *client, size_t bytes)
{
    struct fuse_read_in *in = begin(client, FUSE_READ, sizeof(*in));

    in->fh = client->number;
    in->size = (uint32_t)bytes;
    in->offset = client->node ? client->base + client->position : 0;
    in->flags = O_RDWR;
    client->from = client->position;
    client->position += bytes;
    submit(client, (struct expect){0, (uint32_t)bytes, (uint32_t)bytes, has_read, NULL});
}

static void has_written(void *arg, int error, const uint8_t *body, size_t length)
{
    struct client *client = arg;
    struct fuse_write_out out;

    memcpy(&out, body, sizeof(out));
    if (out.size != client->bytes)
        kernel_fail(client->honest->kernel, "%u bytes were taken of a write of %zu", out.size,
                    client->bytes);
    done(client, error, body, length);
}

static void send_write(struct client *client, size_t bytes)
{
    struct fuse_write_in *in = begin(client, FUSE_WRITE, sizeof(*in) + bytes);
    struct dice *dice = kernel_dice(client->honest->kernel);
    uint8_t *data = (uint8_t *)(in + 1);
    uint64_t seed = dice_bits(dice);

    in->fh = client->number;
    in->size = (uint32_t)bytes;
    in->offset = client->node ? client->base + client->position : 0;
    in->flags = O_RDWR;
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(seed + i * 7 + (i >> 8) * 13);
    memcpy(client->content + client->position, data, bytes);
    client->position += bytes;
    client->bytes = bytes;
    submit(client, (struct expect){0, sizeof(struct fuse_write_out),
                                   sizeof(struct fuse_write_out), has_written, NULL});
}

/* `data`: as many bytes as the command says. */
static void send_ioctl(struct client *client, uint32_t cmd, const void *data,
                       void (*then)(void *, int, const uint8_t *, size_t))
{
    size_t size = _IOC_SIZE(cmd), in_size = _IOC_DIR(cmd) & _IOC_WRITE ? size : 0;
    struct fuse_ioctl_in *in = begin(client, FUSE_IOCTL, sizeof(*in) + in_size);
    uint32_t out_size = _IOC_DIR(cmd) & _IOC_READ ? (uint32_t)size : 0;
    uint32_t answer = (uint32_t)sizeof(struct fuse_ioctl_out) + out_size;

    in->fh = client->number;
    in->cmd = cmd;
    in->in_size = (uint32_t)in_size;
    in->out_size = out_size;
    if (in_size)
        memcpy(in + 1, data, in_size);
    submit(client, (struct expect){0, answer, answer, then, NULL});
}

static void send_seek(struct client *client, size_t position)
{
    struct scullv_seek seek = {.offset = (int64_t)(client->base + position)};

    client->position = position;
    if (!client->node)
        send_ioctl(client, SCULLV_IOC_SEEK, &seek, done);
}

static void send_punch(struct client *client, size_t bytes)
{
    struct scullv_range range = {client->base + client->position, bytes};
    struct fuse_fallocate_in *in;

    memset(client->content + client->position, 0, bytes);
    if (!client->node) {
        send_ioctl(client, SCULLV_IOC_PUNCH, &range, done);
        return;
    }
    in = begin(client, FUSE_FALLOCATE, sizeof(*in));
    in->fh = client->number;
    in->offset = range.offset;
    in->length = range.length;
    in->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    submit(client, (struct expect){.done = done});
}

static void informed(void *arg, int error, const uint8_t *body, size_t length)
{
    struct client *client = arg;
    struct scullv_info info;

    memcpy(&info, body + sizeof(struct fuse_ioctl_out), sizeof(info));
    client->honest->opens = info.opens;
    done(client, error, body, length);
}

/* --- life ------------------------------------------------------------------------------------------ */

/* Does it for one client after the other, and then waits for all. */
static void each(struct honest *honest, unsigned clients, void (*send_one)(struct client *))
{
    for (unsigned i = 0; i < clients; i++)
        send_one(&honest->client[i]);
    kernel_settle(honest->kernel);
}

static void send_all_of_it(struct client *client)
{
    send_write(client, PART);
}

static void send_seek_to_base(struct client *client)
{
    send_seek(client, 0);
}

static void send_reset(struct client *client)
{
    send_ioctl(client, SCULLV_IOCRESET, NULL, done);
}

static void send_trim(struct client *client)
{
    send_ioctl(client, SCULLV_IOC_TRIM, NULL, done);
}

static void send_info(struct client *client)
{
    send_ioctl(client, SCULLV_IOC_INFO, NULL, informed);
}

void honest_begin(struct honest *honest)
{
    each(honest, CLIENTS, send_open);
    each(honest, CLIENTS, send_seek_to_base);
    each(honest, CLIENTS, send_all_of_it);
}

static void step(struct client *client)
{
    struct dice *dice = kernel_dice(client->honest->kernel);
    size_t left = PART - client->position;
    size_t bytes = left ? 1 + dice_number(dice) % left : 0;

    wait_for(client);
    if (!bytes || dice_one_in(dice, 8)) {
        send_seek(client, dice_roll(dice, PART));
    } else if (dice_one_in(dice, 40)) {
        send_punch(client, bytes);
    } else if (dice_roll(dice, 2)) {
        /* Small ones are many, large ones move bytes. */
        send_read(client, dice_one_in(dice, 16) ? bytes : 1 + bytes % (left < 4096 ? left : 4096));
    } else {
        send_write(client, dice_one_in(dice, 16) ? bytes : 1 + bytes % (left < 4096 ? left : 4096));
    }
}

/* Of one that waits EINTR may be the answer. */
static void interrupt_late(struct kernel *kernel)
{
    uint64_t unique = kernel_some_unique(kernel);

    if (!kernel_awaits(kernel, unique))
        kernel_interrupt(kernel, unique);
}

void honest_run(struct honest *honest, unsigned messages)
{
    struct kernel *kernel = honest->kernel;
    struct dice *dice = kernel_dice(kernel);

    for (unsigned i = 0; i < messages; i++) {
        struct client *client = &honest->client[dice_roll(dice, CLIENTS)];

        if (dice_one_in(dice, 4))
            lies_tell(kernel, &honest->message, client->node, client->number);
        else
            step(client);
        if (dice_one_in(dice, 50))
            interrupt_late(kernel);
    }
    kernel_settle(kernel);
}

/* How many files the server has open, of the first device. */
static void check_opens(struct honest *honest, uint32_t opens)
{
    each(honest, 1, send_info);
    if (honest->opens != opens)
        kernel_fail(honest->kernel, "%u files are open, not %u", honest->opens, opens);
}

void honest_end(struct honest *honest)
{
    check_opens(honest, is_file(honest) ? CLIENTS / FILES : CLIENTS);
    each(honest, CLIENTS, send_release);
}

void honest_clear(struct honest *honest)
{
    unsigned devices = is_file(honest) ? FILES : 1;

    each(honest, devices, send_open);
    check_opens(honest, 1);
    each(honest, 1, send_reset);
    each(honest, devices, send_trim);
    each(honest, devices, send_release);
}
