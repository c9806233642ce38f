/* The door: messages that are what they say pass, all others do not. */
#include "helper.h"
#include "channel/door.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

struct message {
    struct fuse_in_header in;
    union {
        uint8_t body[256];
        struct fuse_write_in write;
        struct fuse_ioctl_in ioctl;
        struct fuse_batch_forget_in forget;
        char names[256];
    };
};

static size_t shape(struct message *message, uint32_t opcode, size_t body)
{
    size_t length = sizeof(message->in) + body;

    memset(message, 0, sizeof(*message));
    message->in = (struct fuse_in_header){
        .len = (uint32_t)length,
        .opcode = opcode,
        .unique = 2,
    };
    return length;
}

static void test_a_header_that_is_cut_or_lies_is_refused(void **state)
{
    struct message message;
    size_t length = shape(&message, FUSE_OPEN, sizeof(struct fuse_open_in));

    (void)state;
    assert_int_equal(door_check(&message, length, DOOR_CUSE), 0);
    for (size_t cut = 0; cut < length; cut++)
        assert_int_equal(door_check(&message, cut, DOOR_CUSE), -EPROTO);
    message.in.len++;
    assert_int_equal(door_check(&message, length, DOOR_CUSE), -EPROTO);
}

/* An answer under number 0 is a notification to the kernel. */
static void test_a_message_without_a_number_is_refused(void **state)
{
    struct message message;
    size_t length = shape(&message, FUSE_OPEN, sizeof(struct fuse_open_in));

    (void)state;
    message.in.unique = 0;
    assert_int_equal(door_check(&message, length, DOOR_CUSE), -EPROTO);
}

/* Every opcode there may be, with every length up to that of the longest fixed part. */
static void test_no_message_is_shorter_than_its_fixed_part(void **state)
{
    static const struct {
        uint32_t opcode;
        size_t fixed;
    } served[] = {
        {FUSE_OPEN, 8},     {FUSE_READ, 40}, {FUSE_RELEASE, 24},   {FUSE_INTERRUPT, 8},
        {FUSE_POLL, 24},    {CUSE_INIT, 16}, {FUSE_GETATTR, 16},   {FUSE_SETATTR, 88},
        {FUSE_READDIR, 40}, {FUSE_LSEEK, 24}, {FUSE_FALLOCATE, 32}, {FUSE_FORGET, 8},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(served) / sizeof(*served); i++) {
        bool cuse = served[i].opcode == CUSE_INIT;

        for (size_t body = 0; body < 100; body++) {
            struct message message;
            size_t length = shape(&message, served[i].opcode, body);
            int rc = door_check(&message, length, cuse ? DOOR_CUSE : DOOR_FUSE);

            assert_int_equal(rc, body < served[i].fixed ? -EPROTO : 0);
        }
    }
}

static void test_payload_is_as_long_as_the_message_says(void **state)
{
    struct message message;
    size_t length;

    (void)state;
    length = shape(&message, FUSE_WRITE, sizeof(message.write) + 100);
    for (uint32_t size = 0; size < 300; size++) {
        message.write.size = size;
        assert_int_equal(door_check(&message, length, DOOR_CUSE), size == 100 ? 0 : -EPROTO);
    }
    message.write.size = UINT32_MAX;
    assert_int_equal(door_check(&message, length, DOOR_CUSE), -EPROTO);
    length = shape(&message, FUSE_IOCTL, sizeof(message.ioctl) + 8);
    message.ioctl.in_size = 8;
    assert_int_equal(door_check(&message, length, DOOR_CUSE), 0);
    message.ioctl.in_size = 1 << 20;
    assert_int_equal(door_check(&message, length, DOOR_CUSE), -EPROTO);
    length = shape(&message, FUSE_BATCH_FORGET, sizeof(message.forget) + 32);
    message.forget.count = 2;
    assert_int_equal(door_check(&message, length, DOOR_FUSE), 0);
    message.forget.count = UINT32_MAX;
    assert_int_equal(door_check(&message, length, DOOR_FUSE), -EPROTO);
}

static void test_what_the_other_side_sends_is_no_message(void **state)
{
    struct message message;

    (void)state;
    for (uint32_t opcode = 0; opcode < 5000; opcode++) {
        size_t length = shape(&message, opcode, 200);
        int cuse = door_check(&message, length, DOOR_CUSE);

        if (opcode == FUSE_BATCH_FORGET || opcode == FUSE_LOOKUP || opcode == FUSE_FORGET)
            assert_int_equal(cuse, -ENOSYS);
        if (opcode == CUSE_INIT)
            assert_int_equal(door_check(&message, length, DOOR_FUSE), -ENOSYS);
        if (opcode > FUSE_LSEEK && opcode != CUSE_INIT) {
            assert_int_equal(cuse, -ENOSYS);
            assert_int_equal(door_check(&message, length, DOOR_FUSE), -ENOSYS);
        }
    }
}

static void test_names_end_within_the_message(void **state)
{
    struct message message;
    size_t length = shape(&message, FUSE_SYMLINK, 8);

    (void)state;
    memcpy(message.names, "a\0b\0", 4);
    assert_int_equal(door_check_names(&message, length), 0);
    memset(message.names, 'x', 8);
    assert_int_equal(door_check_names(&message, length), -EPROTO);
    message.names[3] = '\0'; /* the first of two */
    assert_int_equal(door_check_names(&message, length), -EPROTO);
    message.names[7] = '\0';
    assert_int_equal(door_check_names(&message, length), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_header_that_is_cut_or_lies_is_refused),
        cmocka_unit_test(test_a_message_without_a_number_is_refused),
        cmocka_unit_test(test_no_message_is_shorter_than_its_fixed_part),
        cmocka_unit_test(test_payload_is_as_long_as_the_message_says),
        cmocka_unit_test(test_what_the_other_side_sends_is_no_message),
        cmocka_unit_test(test_names_end_within_the_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
