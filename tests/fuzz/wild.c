/* wild: messages of which only so much is known: each is answered once, or not at all.
 *
 * A message is first made as a kernel would make it, with numbers that no kernel would have; then
 * some of it may be spoilt: cut, lengthened, a few bytes changed, its number another's. Whatever it
 * does to the device nobody looks at afterwards, but that the server is there, and that its files
 * can be closed. */
#include "wild.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "scullv_ioctl.h"

#define FILES 64u /* open at once */
#define NODES 6u  /* of the file view, one more than there are */

struct open_file {
    struct wild *wild;
    uint64_t number, node;
    bool waits; /* for the answer to its OPEN */
};

struct wild {
    struct kernel *kernel;
    struct dice *dice;
    struct open_file file[FILES];
    unsigned opened; /* files that have been asked for */
    struct message message;
};

struct wild *wild_new(struct kernel *kernel)
{
    struct wild *wild = calloc(1, sizeof(*wild));

    if (!wild)
        abort();
    wild->kernel = kernel;
    wild->dice = kernel_dice(kernel);
    return wild;
}

void wild_free(struct wild *wild)
{
    free(wild);
}

static bool is_file(const struct wild *wild)
{
    return kernel_kind(wild->kernel) == KIND_FILE;
}

/* --- files ----------------------------------------------------------------------------------------- */

static void opened(void *arg, int error, const uint8_t *body, size_t length)
{
    struct open_file *file = arg;
    struct fuse_open_out out;

    file->waits = false;
    file->number = 0;
    if (error || length != sizeof(out))
        return;
    memcpy(&out, body, sizeof(out));
    file->number = out.fh;
}

/* Of a file of ours, mostly. The choice is the seed's alone, so its OPEN has to be answered. */
static uint64_t some_number(struct wild *wild, struct open_file **found)
{
    /* Often of the last few, so that what is closed is just being used. */
    uint64_t last = wild->opened + FILES - 1 - dice_roll(wild->dice, 2);
    uint64_t which = dice_roll(wild->dice, 2) ? last % FILES : dice_roll(wild->dice, FILES);
    struct open_file *file = &wild->file[which];

    *found = file;
    if (dice_one_in(wild->dice, 10))
        return dice_number(wild->dice);
    while (file->waits)
        kernel_wait(wild->kernel);
    return file->number;
}

static uint64_t some_node(struct wild *wild)
{
    return is_file(wild) ? 1 + dice_roll(wild->dice, NODES) : 0;
}

static void release(struct wild *wild, const struct open_file *file)
{
    struct fuse_release_in *in =
        kernel_begin(wild->kernel, &wild->message, FUSE_RELEASE, sizeof(*in));

    in->fh = file->number;
    if (file->node)
        wild->message.in.nodeid = file->node;
    kernel_send(wild->kernel, &wild->message, &(struct expect){.error = ANYTHING});
}

/* --- what a kernel would make ---------------------------------------------------------------------- */

static void *begin(struct wild *wild, uint32_t opcode, size_t body)
{
    void *in = kernel_begin(wild->kernel, &wild->message, opcode, body);

    wild->message.in.nodeid = some_node(wild);
    return in;
}

/* Puts a number of an open file at the body's start, and its node into the header, mostly. */
static void of_some_file(struct wild *wild, void *body)
{
    struct open_file *file;
    uint64_t number = some_number(wild, &file);

    memcpy(body, &number, sizeof(number));
    if (file->node && !dice_one_in(wild->dice, 10))
        wild->message.in.nodeid = file->node;
}

static void make_open(struct wild *wild)
{
    struct fuse_open_in *in = begin(wild, FUSE_OPEN, sizeof(*in));

    in->flags = dice_one_in(wild->dice, 3) ? (uint32_t)dice_number(wild->dice) : O_RDWR;
}

static void make_read(struct wild *wild)
{
    struct fuse_read_in *in = begin(wild, FUSE_READ, sizeof(*in));

    of_some_file(wild, in);
    in->offset = dice_number(wild->dice);
    in->size = (uint32_t)dice_number(wild->dice);
    in->flags = (uint32_t)dice_bits(wild->dice);
}

static void make_write(struct wild *wild)
{
    size_t bytes = dice_number(wild->dice) % (dice_one_in(wild->dice, 8) ? DATA_MOST : 4096);
    struct fuse_write_in *in = begin(wild, FUSE_WRITE, sizeof(*in) + bytes);

    of_some_file(wild, in);
    in->offset = dice_number(wild->dice);
    in->size = (uint32_t)bytes;
    in->flags = (uint32_t)dice_bits(wild->dice);
}

static void make_release(struct wild *wild)
{
    of_some_file(wild, begin(wild, FUSE_RELEASE, sizeof(struct fuse_release_in)));
}

static uint32_t some_command(struct wild *wild)
{
    static const uint32_t ours[] = {SCULLV_IOC_SEEK, SCULLV_IOC_TRIM, SCULLV_IOC_PUNCH,
                                    SCULLV_IOC_INFO, SCULLV_IOC_TEXT};
    uint32_t direction = (uint32_t)dice_roll(wild->dice, 4);

    switch (dice_roll(wild->dice, 4)) {
    case 0:
        return (uint32_t)dice_bits(wild->dice);
    case 1: /* the book's, and others of its letters */
        return _IOC(direction, dice_roll(wild->dice, 2) ? 'K' : 'k',
                    (uint32_t)dice_roll(wild->dice, 14), direction ? sizeof(int) : 0);
    case 2: /* handlers in Python that wait */
        return _IO('z', (uint32_t)dice_roll(wild->dice, 3));
    default:
        return ours[dice_roll(wild->dice, sizeof(ours) / sizeof(*ours))];
    }
}

static void make_ioctl(struct wild *wild)
{
    uint32_t cmd = some_command(wild);
    size_t bytes = _IOC_DIR(cmd) & _IOC_WRITE ? _IOC_SIZE(cmd) : 0;
    struct fuse_ioctl_in *in = begin(wild, FUSE_IOCTL, sizeof(*in) + bytes);
    uint8_t *data = (uint8_t *)(in + 1);

    of_some_file(wild, in);
    in->cmd = cmd;
    in->arg = dice_number(wild->dice);
    in->flags = dice_one_in(wild->dice, 4) ? (uint32_t)dice_bits(wild->dice) : 0;
    in->in_size = (uint32_t)bytes;
    in->out_size = _IOC_DIR(cmd) & _IOC_READ ? _IOC_SIZE(cmd) : 0;
    if (dice_one_in(wild->dice, 16))
        in->out_size = (uint32_t)dice_number(wild->dice);
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t number = dice_number(wild->dice);

        memcpy(data + i, &number, sizeof(number));
    }
}

static void make_poll(struct wild *wild)
{
    struct fuse_poll_in *in = begin(wild, FUSE_POLL, sizeof(*in));

    of_some_file(wild, in);
    in->kh = dice_number(wild->dice);
    in->flags = (uint32_t)dice_roll(wild->dice, 2);
}

/* Names there are, names there are not. */
static void make_named(struct wild *wild)
{
    static const uint32_t opcodes[] = {FUSE_LOOKUP, FUSE_UNLINK, FUSE_RMDIR};
    static const char *const names[] = {"storm0", "storm1", "scullvmem", "nothing", "", "..", "a\nb"};
    const char *name = names[dice_roll(wild->dice, sizeof(names) / sizeof(*names))];
    size_t bytes = strlen(name) + 1;

    memcpy(begin(wild, opcodes[dice_roll(wild->dice, 3)], bytes), name, bytes);
    wild->message.in.nodeid = dice_one_in(wild->dice, 8) ? some_node(wild) : FUSE_ROOT_ID;
}

static void make_setattr(struct wild *wild)
{
    struct fuse_setattr_in *in = begin(wild, FUSE_SETATTR, sizeof(*in));

    of_some_file(wild, &in->fh);
    in->valid = dice_one_in(wild->dice, 3) ? (uint32_t)dice_bits(wild->dice) : FATTR_SIZE;
    in->size = dice_one_in(wild->dice, 4) ? 0 : dice_number(wild->dice);
    in->mode = (uint32_t)dice_bits(wild->dice);
    in->atime = dice_number(wild->dice);
    in->mtimensec = (uint32_t)dice_number(wild->dice);
}

static void make_fallocate(struct wild *wild)
{
    struct fuse_fallocate_in *in = begin(wild, FUSE_FALLOCATE, sizeof(*in));

    of_some_file(wild, in);
    in->offset = dice_number(wild->dice);
    in->length = dice_number(wild->dice);
    in->mode = (uint32_t)dice_roll(wild->dice, 64);
}

static void make_lseek(struct wild *wild)
{
    struct fuse_lseek_in *in = begin(wild, FUSE_LSEEK, sizeof(*in));

    of_some_file(wild, in);
    in->offset = dice_number(wild->dice);
    in->whence = (uint32_t)dice_roll(wild->dice, 7);
}

static void make_readdir(struct wild *wild)
{
    struct fuse_read_in *in =
        begin(wild, dice_one_in(wild->dice, 4) ? FUSE_READDIRPLUS : FUSE_READDIR, sizeof(*in));

    wild->message.in.nodeid = dice_one_in(wild->dice, 4) ? some_node(wild) : FUSE_ROOT_ID;
    in->offset = dice_one_in(wild->dice, 2) ? dice_roll(wild->dice, 8) : dice_number(wild->dice);
    in->size = (uint32_t)dice_number(wild->dice);
}

/* Any opcode that there is or is not, with bytes that mean nothing. INIT and DESTROY change what all
 * that follows means, so they come by themselves. */
static void make_any(struct wild *wild)
{
    uint32_t opcode = (uint32_t)dice_roll(wild->dice, 60);
    size_t bytes = dice_roll(wild->dice, 200);
    uint8_t *body;

    if (opcode == FUSE_INIT || opcode == FUSE_DESTROY || opcode == FUSE_INTERRUPT)
        opcode = (uint32_t)dice_bits(wild->dice) | 1u << 16;
    body = begin(wild, opcode, bytes);
    for (size_t i = 0; i < bytes; i++)
        body[i] = (uint8_t)(dice_bits(wild->dice) & (dice_roll(wild->dice, 2) ? 0xff : 0));
}

/* --- what is done to it ---------------------------------------------------------------------------- */

static void spoil(struct wild *wild)
{
    struct message *message = &wild->message;

    switch (dice_roll(wild->dice, 5)) {
    case 0: /* cut, and says so */
        message->length = 1 + dice_roll(wild->dice, message->length);
        message->in.len = (uint32_t)message->length;
        break;
    case 1: /* cut, or longer, and does not */
        message->length = 1 + dice_roll(wild->dice, message->length);
        message->in.len += (uint32_t)dice_roll(wild->dice, 3);
        break;
    case 2:
        message->in.len = (uint32_t)dice_number(wild->dice);
        break;
    case 3: /* a word of its body */
        if (message->length > sizeof(message->in) + 4) {
            size_t words = (message->length - sizeof(message->in)) / 4;
            size_t at = sizeof(message->in) + 4 * dice_roll(wild->dice, words < 20 ? words : 20);
            uint32_t word = (uint32_t)dice_number(wild->dice);

            memcpy(message->bytes + at, &word, sizeof(word));
        }
        break;
    default:
        message->in.nodeid = dice_number(wild->dice);
        break;
    }
}

static bool is_answered(const struct message *message)
{
    uint32_t opcode = message->in.opcode;

    return message->length >= sizeof(message->in) && opcode != FUSE_FORGET &&
           opcode != FUSE_BATCH_FORGET && opcode != FUSE_NOTIFY_REPLY && opcode != FUSE_INTERRUPT;
}

/* Never more than was asked for: the kernel would refuse it, and the client wait. */
static uint32_t most_of(const struct message *message)
{
    struct fuse_read_in in;

    if (message->length < sizeof(message->in) + sizeof(in))
        return 4096;
    memcpy(&in, message->bytes + sizeof(message->in), sizeof(in));
    return message->in.opcode == FUSE_READ || message->in.opcode == FUSE_READDIR ? in.size
                                                                                 : UINT32_MAX;
}

static void send(struct wild *wild)
{
    const struct message *message = &wild->message;
    struct expect expect = {.error = ANYTHING, .most = most_of(message)};

    if (message->in.opcode == FUSE_OPEN && message->length >= sizeof(message->in)) {
        struct open_file *file = &wild->file[wild->opened++ % FILES];

        while (file->waits)
            kernel_wait(wild->kernel);
        if (file->number) { /* its place is wanted */
            struct message kept = *message;

            release(wild, file);
            wild->message = kept;
        }
        *file = (struct open_file){wild, 0, message->in.nodeid, true};
        expect.done = opened;
        expect.arg = file;
    } else if (dice_one_in(wild->dice, 30) && message->length >= sizeof(message->in)) {
        uint64_t unique = kernel_some_unique(wild->kernel); /* of one that has it already */

        if (kernel_may_double(wild->kernel, unique))
            wild->message.in.unique = unique;
    }
    kernel_send(wild->kernel, message, is_answered(message) ? &expect : NULL);
}

void wild_run(struct wild *wild, unsigned messages)
{
    static void (*const of_both[])(struct wild *) = {
        make_open, make_read, make_read, make_write, make_write, make_release, make_ioctl,
        make_ioctl, make_poll, make_any};
    static void (*const of_files[])(struct wild *) = {make_named,     make_setattr, make_fallocate,
                                                      make_lseek, make_readdir, make_any};

    for (unsigned i = 0; i < messages; i++) {
        if (is_file(wild) && dice_one_in(wild->dice, 2))
            of_files[dice_roll(wild->dice, sizeof(of_files) / sizeof(*of_files))](wild);
        else
            of_both[dice_roll(wild->dice, sizeof(of_both) / sizeof(*of_both))](wild);
        if (dice_one_in(wild->dice, 4))
            spoil(wild);
        send(wild);
        /* Of what is under way, what was, and what comes next. */
        if (dice_one_in(wild->dice, 20))
            kernel_interrupt(wild->kernel, kernel_some_unique(wild->kernel) +
                                               2 * dice_roll(wild->dice, 2));
    }
    kernel_settle(wild->kernel);
}

/* --- beginnings and ends --------------------------------------------------------------------------- */

void wild_greet(struct wild *wild)
{
    struct fuse_init_in *in =
        kernel_begin(wild->kernel, &wild->message, is_file(wild) ? FUSE_INIT : CUSE_INIT,
                     is_file(wild) ? sizeof(*in) : sizeof(struct cuse_init_in));

    in->major = FUSE_KERNEL_VERSION;
    in->minor = dice_roll(wild->dice, 2) ? 38 : 45;
    if (is_file(wild)) {
        in->max_readahead = 1 << 17;
        in->flags = UINT32_MAX;
        in->flags2 = (uint32_t)dice_bits(wild->dice);
    }
    kernel_send(wild->kernel, &wild->message, &(struct expect){.error = ANYTHING, .most = 4096});
    kernel_settle(wild->kernel);
}

void wild_end(struct wild *wild)
{
    if (is_file(wild) && dice_one_in(wild->dice, 4)) {
        kernel_begin(wild->kernel, &wild->message, FUSE_DESTROY, 0);
        kernel_send(wild->kernel, &wild->message, &(struct expect){.error = ANYTHING});
        wild_run(wild, 20);
        wild_greet(wild);
    }
    for (unsigned i = 0; i < FILES; i++)
        if (wild->file[i].number)
            release(wild, &wild->file[i]);
    memset(wild->file, 0, sizeof(wild->file));
    kernel_settle(wild->kernel);
}
