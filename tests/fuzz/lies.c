/* lies: messages that are refused, and change nothing: of each the errno is known. */
#include "lies.h"

#include <errno.h>
#include <string.h>

#include "scullv_ioctl.h"

struct lie {
    struct kernel *kernel;
    struct message *message;
    struct dice *dice;
    uint64_t node, number;
};

static void *begin(const struct lie *lie, uint32_t opcode, size_t body)
{
    void *in = kernel_begin(lie->kernel, lie->message, opcode, body);

    if (lie->node)
        lie->message->in.nodeid = lie->node;
    return in;
}

static void refused(const struct lie *lie, int error)
{
    kernel_send(lie->kernel, lie->message, &(struct expect){.error = error});
}

static bool is_file(const struct lie *lie)
{
    return kernel_kind(lie->kernel) == KIND_FILE;
}

static void a_write_that_has_less_or_more_than_came(const struct lie *lie)
{
    size_t came = dice_roll(lie->dice, 5000);
    struct fuse_write_in *in = begin(lie, FUSE_WRITE, sizeof(*in) + came);

    in->fh = lie->number;
    in->size = (uint32_t)dice_number(lie->dice);
    if (in->size == came)
        in->size++;
    refused(lie, -EPROTO);
}

static void an_ioctl_that_copies_in_what_is_not_there(const struct lie *lie)
{
    size_t came = dice_roll(lie->dice, 64);
    struct fuse_ioctl_in *in = begin(lie, FUSE_IOCTL, sizeof(*in) + came);

    in->fh = lie->number;
    in->cmd = SCULLV_IOC_SEEK;
    in->in_size = (uint32_t)dice_number(lie->dice);
    if (in->in_size == came)
        in->in_size++;
    refused(lie, -EPROTO);
}

/* Of both sides, with the bytes of its fixed part. */
static const struct {
    uint32_t opcode, fixed;
} known[] = {
    {FUSE_OPEN, sizeof(struct fuse_open_in)},       {FUSE_READ, sizeof(struct fuse_read_in)},
    {FUSE_WRITE, sizeof(struct fuse_write_in)},     {FUSE_RELEASE, sizeof(struct fuse_release_in)},
    {FUSE_FSYNC, sizeof(struct fuse_fsync_in)},     {FUSE_FLUSH, sizeof(struct fuse_flush_in)},
    {FUSE_IOCTL, sizeof(struct fuse_ioctl_in)},     {FUSE_POLL, sizeof(struct fuse_poll_in)},
};

static void a_message_that_is_cut(const struct lie *lie)
{
    size_t which = dice_roll(lie->dice, sizeof(known) / sizeof(*known));

    begin(lie, known[which].opcode, dice_roll(lie->dice, known[which].fixed));
    refused(lie, -EPROTO);
}

static void a_header_that_lies(const struct lie *lie)
{
    struct fuse_read_in *in = begin(lie, FUSE_READ, sizeof(*in));

    in->fh = lie->number;
    in->size = 100;
    lie->message->in.len = (uint32_t)dice_number(lie->dice);
    if (lie->message->in.len == lie->message->length)
        lie->message->in.len--;
    refused(lie, -EPROTO);
}

static void what_the_other_side_sends(const struct lie *lie)
{
    static const uint32_t of_files[] = {FUSE_LOOKUP, FUSE_GETATTR, FUSE_SETATTR, FUSE_READDIR,
                                        FUSE_UNLINK, FUSE_STATFS,  FUSE_DESTROY, FUSE_INIT,
                                        FUSE_LSEEK,  FUSE_FALLOCATE};
    uint32_t opcode = of_files[dice_roll(lie->dice, sizeof(of_files) / sizeof(*of_files))];

    begin(lie, is_file(lie) ? CUSE_INIT : opcode, 200);
    refused(lie, -ENOSYS);
}

static void what_nobody_knows(const struct lie *lie)
{
    uint32_t opcode = FUSE_LSEEK + 1 + (uint32_t)dice_number(lie->dice) % 4000;

    begin(lie, opcode, dice_roll(lie->dice, 300));
    refused(lie, -ENOSYS);
}

/* One that was never given, or whose generation is another. */
static uint64_t wrong(const struct lie *lie)
{
    const uint64_t numbers[] = {UINT64_MAX - 1, lie->number ^ UINT64_C(1) << 33,
                                lie->number + (UINT64_C(1) << 40), 0};

    return numbers[dice_roll(lie->dice, 4)];
}

static void a_wrong_handle(const struct lie *lie)
{
    static const uint32_t opcodes[] = {FUSE_READ, FUSE_WRITE, FUSE_RELEASE, FUSE_IOCTL};
    uint32_t opcode = opcodes[dice_roll(lie->dice, 4)];
    uint64_t number = wrong(lie);
    uint8_t *body = begin(lie, opcode, opcode == FUSE_RELEASE ? sizeof(struct fuse_release_in)
                                       : opcode == FUSE_IOCTL ? sizeof(struct fuse_ioctl_in)
                                                              : sizeof(struct fuse_read_in));

    memcpy(body, &number, sizeof(number)); /* the first field of all */
    refused(lie, -EBADF);
}

static void what_wants_no_answer(const struct lie *lie)
{
    static const uint32_t opcodes[] = {FUSE_FORGET, FUSE_BATCH_FORGET, FUSE_NOTIFY_REPLY};
    uint64_t *count = begin(lie, opcodes[dice_roll(lie->dice, 3)], dice_roll(lie->dice, 100));

    *count = dice_number(lie->dice);
    kernel_send(lie->kernel, lie->message, NULL);
}

static void less_than_a_header(const struct lie *lie)
{
    begin(lie, FUSE_READ, 0);
    lie->message->length = 1 + dice_roll(lie->dice, sizeof(struct fuse_in_header) - 1);
    kernel_send(lie->kernel, lie->message, NULL);
}

/* Its answer would be a notification. */
static void a_message_without_a_number(const struct lie *lie)
{
    struct fuse_read_in *in = begin(lie, FUSE_READ, sizeof(*in));

    in->fh = lie->number;
    in->size = 100;
    lie->message->in.unique = 0;
    kernel_send(lie->kernel, lie->message, NULL);
}

static void init_again(const struct lie *lie)
{
    struct fuse_init_in *in = begin(lie, is_file(lie) ? FUSE_INIT : CUSE_INIT, sizeof(*in));

    in->major = FUSE_KERNEL_VERSION;
    in->minor = (uint32_t)dice_roll(lie->dice, 60);
    refused(lie, -EIO);
}

static void a_name_without_an_end(const struct lie *lie)
{
    uint8_t *name;

    if (!is_file(lie)) { /* more than there is room for, then */
        struct fuse_write_in *in = begin(lie, FUSE_WRITE, sizeof(*in) + DATA_MOST + 4000);

        in->fh = lie->number;
        in->size = DATA_MOST + 4000;
        refused(lie, -EPROTO);
        return;
    }
    name = begin(lie, dice_roll(lie->dice, 2) ? FUSE_LOOKUP : FUSE_UNLINK, 30);
    memset(name, 'x', 30);
    refused(lie, -EPROTO);
}

void lies_tell(struct kernel *kernel, struct message *message, uint64_t node, uint64_t number)
{
    static void (*const lies[])(const struct lie *) = {
        a_write_that_has_less_or_more_than_came,
        an_ioctl_that_copies_in_what_is_not_there,
        a_message_that_is_cut,
        a_header_that_lies,
        what_the_other_side_sends,
        what_nobody_knows,
        a_wrong_handle,
        what_wants_no_answer,
        less_than_a_header,
        a_message_without_a_number,
        init_again,
        a_name_without_an_end,
    };
    const struct lie lie = {kernel, message, kernel_dice(kernel), node, number};

    lies[dice_roll(lie.dice, sizeof(lies) / sizeof(*lies))](&lie);
}
