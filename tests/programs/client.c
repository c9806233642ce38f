/* client: a program that uses a scullv node through scullv_ioctl.h, every command by its name.
 *
 *     client NODE PART…        PART: scullv, scull, extensions
 *
 * Exits with 1 and a message at the first result that is not the expected one. Builds as C and as
 * C++, for 32 and for 64 bits. Needs the right to change parameters. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "scullv_ioctl.h"

#define BAD_POINTER ((int *)(uintptr_t)16)

static int fd;

static void expect(const char *what, long long got, long long wanted)
{
    if (got == wanted)
        return;
    fprintf(stderr, "client: %s: expected %lld, got %lld\n", what, wanted, got);
    exit(1);
}

static void expect_error(const char *what, int ret, int wanted)
{
    int got = ret < 0 ? errno : 0;

    if (got == wanted)
        return;
    fprintf(stderr, "client: %s: expected \"%s\", got \"%s\"\n", what, strerror(wanted),
            strerror(got));
    exit(1);
}

/* The six commands of one parameter. */
struct parameter {
    const char *name;
    unsigned long reset, set, tell, get, query, exchange, shift;
    int bad;
};

static int get(const struct parameter *p)
{
    int value = -7;

    expect_error(p->name, ioctl(fd, p->get, &value), 0);
    expect(p->name, ioctl(fd, p->query), value);
    return value;
}

static void check_parameter(const struct parameter *p)
{
    int first, value;

    expect_error("RESET", ioctl(fd, p->reset), 0);
    first = get(p);

    value = 2;
    expect_error("S", ioctl(fd, p->set, &value), 0);
    expect("G after S", get(p), 2);
    expect_error("T", ioctl(fd, p->tell, 3), 0);
    expect("G after T", get(p), 3);
    value = 1;
    expect_error("X", ioctl(fd, p->exchange, &value), 0);
    expect("what X gives back", value, 3);
    expect("H", ioctl(fd, p->shift, 4), 1);
    expect("G after H", get(p), 4);

    expect_error("S of a bad pointer", ioctl(fd, p->set, BAD_POINTER), EFAULT);
    expect_error("G to a bad pointer", ioctl(fd, p->get, BAD_POINTER), EFAULT);
    expect_error("X of a bad pointer", ioctl(fd, p->exchange, BAD_POINTER), EFAULT);
    value = p->bad;
    expect_error("S of a bad value", ioctl(fd, p->set, &value), EINVAL);
    expect_error("X of a bad value", ioctl(fd, p->exchange, &value), EINVAL);
    expect("X of a bad value leaves its argument", value, p->bad);
    expect_error("T of a bad value", ioctl(fd, p->tell, p->bad), EINVAL);
    expect_error("H of a bad value", ioctl(fd, p->shift, p->bad), EINVAL);
    expect("G after what went wrong", get(p), 4);

    expect_error("RESET", ioctl(fd, p->reset), 0);
    expect("G after RESET", get(p), first);
}

static void check_scullv(void)
{
    static const struct parameter order = {
        "ORDER",          SCULLV_IOCRESET,  SCULLV_IOCSORDER, SCULLV_IOCTORDER, SCULLV_IOCGORDER,
        SCULLV_IOCQORDER, SCULLV_IOCXORDER, SCULLV_IOCHORDER, -1};
    static const struct parameter qset = {
        "QSET",          SCULLV_IOCRESET, SCULLV_IOCSQSET, SCULLV_IOCTQSET, SCULLV_IOCGQSET,
        SCULLV_IOCQQSET, SCULLV_IOCXQSET, SCULLV_IOCHQSET, 0};

    check_parameter(&order);
    check_parameter(&qset);
    expect_error("a number too high", ioctl(fd, _IO(SCULLV_IOC_MAGIC, SCULLV_IOC_MAXNR + 1)),
                 ENOTTY);
}

static void check_scull(void)
{
    static const struct parameter quantum = {
        "QUANTUM",         SCULL_IOCRESET,    SCULL_IOCSQUANTUM,
        SCULL_IOCTQUANTUM, SCULL_IOCGQUANTUM, SCULL_IOCQQUANTUM,
        SCULL_IOCXQUANTUM, SCULL_IOCHQUANTUM, 0};
    static const struct parameter qset = {
        "QSET",         SCULL_IOCRESET, SCULL_IOCSQSET, SCULL_IOCTQSET, SCULL_IOCGQSET,
        SCULL_IOCQQSET, SCULL_IOCXQSET, SCULL_IOCHQSET, 0};

    check_parameter(&quantum);
    check_parameter(&qset);
    expect_error("a number too high", ioctl(fd, _IO(SCULL_IOC_MAGIC, SCULL_IOC_MAXNR + 1)), ENOTTY);
}

static long long seek_to(long long offset, unsigned whence)
{
    struct scullv_seek seek;

    memset(&seek, 0, sizeof(seek));
    seek.offset = offset;
    seek.whence = whence;
    expect_error("SEEK", ioctl(fd, SCULLV_IOC_SEEK, &seek), 0);
    return seek.offset;
}

static struct scullv_info info(void)
{
    struct scullv_info got;

    memset(&got, 0xff, sizeof(got));
    expect_error("INFO", ioctl(fd, SCULLV_IOC_INFO, &got), 0);
    return got;
}

static void check_text(void)
{
    struct scullv_text text;
    char whole[sizeof(text.data) + 1];

    memset(&text, 0, sizeof(text));
    text.length = sizeof(text.data);
    expect_error("TEXT", ioctl(fd, SCULLV_IOC_TEXT, &text), 0);
    memcpy(whole, text.data, text.length);
    whole[text.length] = '\0';
    expect("TEXT begins with the device", strncmp(whole, "\nDevice ", 8), 0);
    expect("TEXT tells the size", strstr(whole, ", sz 10\n") != NULL, 1);

    text.offset = text.length;
    text.length = sizeof(text.data);
    expect_error("TEXT", ioctl(fd, SCULLV_IOC_TEXT, &text), 0);
    expect("TEXT at its end", text.length, 0);
}

static void check_extensions(void)
{
    struct scullv_range range = {2, 3};
    struct scullv_statistics statistics;
    char data[16];

    expect_error("TRIM", ioctl(fd, SCULLV_IOC_TRIM), 0);
    expect("size after TRIM", info().size, 0);
    expect("regions after TRIM", info().regions, 0);

    expect("SEEK to the start", seek_to(0, SEEK_SET), 0);
    expect("write", write(fd, "0123456789", 10), 10);
    expect("SEEK from here", seek_to(-3, SEEK_CUR), 7);
    expect("SEEK from the end", seek_to(-10, SEEK_END), 0);
    expect_error("PUNCH", ioctl(fd, SCULLV_IOC_PUNCH, &range), 0);
    expect("read", read(fd, data, sizeof(data)), 10);
    expect("what was punched", memcmp(data, "01\0\0\0" "56789", 10), 0);

    expect("size", info().size, 10);
    expect("regions", info().regions, 1);
    expect("resident bytes", info().resident_bytes, info().region_bytes);
    expect("page size", info().page_size, sysconf(_SC_PAGESIZE));
    expect("opens", info().opens >= 1, 1);
    expect("devices", info().devices > info().number, 1);
    check_text();

    expect_error("STATISTICS", ioctl(fd, SCULLV_IOC_STATISTICS, &statistics), 0);
    expect("bytes written", statistics.count[SCULLV_COUNT_WRITE].bytes >= 10, 1);
    expect_error("VIEW_STATISTICS", ioctl(fd, SCULLV_IOC_VIEW_STATISTICS, &statistics), 0);
    expect("bytes of no view", statistics.count[SCULLV_COUNT_WRITE].bytes, 0);

    expect_error("TRIM", ioctl(fd, SCULLV_IOC_TRIM), 0);
    expect("size after TRIM", info().size, 0);
    expect_error("a number too high", ioctl(fd, _IO(SCULLV_IOC_EXT_MAGIC, 99)), ENOTTY);
}

int main(int argc, char **argv)
{
    int i;

    if (argc < 3) {
        fprintf(stderr, "type: client NODE scullv|scull|extensions…\n");
        return 2;
    }
    fd = open(argv[1], O_RDWR);
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    for (i = 2; i < argc; i++) {
        if (strcmp(argv[i], "scullv") == 0)
            check_scullv();
        else if (strcmp(argv[i], "scull") == 0)
            check_scull();
        else if (strcmp(argv[i], "extensions") == 0)
            check_extensions();
        else {
            fprintf(stderr, "client: no part %s: type scullv, scull or extensions\n", argv[i]);
            return 2;
        }
    }
    close(fd);
    return 0;
}
