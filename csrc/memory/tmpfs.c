/* tmpfs: a file system of our own for the files of devices, mounted nowhere: it is there for as long as
 * somebody has a descriptor of it, and it keeps their limit to the page (mount(8), tmpfs: size=).
 *
 * By fsopen(2) and fsmount(2), for which the C library of Debian 12 has names and older ones have not.
 *
 * `huge`: large pages, about as large as a write is, within the file's size (Linux 6.14; before, a page
 * of 2 MiB for any write). They make data, zeros, of holes next to a write. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scullv.h"

#define SET_STRING 1 /* linux/mount.h: FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE, and flags */
#define CMD_CREATE 6
#define CLOEXEC 1
#define ATTR_NOSUID 2
#define ATTR_NODEV 4

static int mount_of(int context, uint64_t max_bytes, bool huge)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), whole = max_bytes / page * page;
    char size[32];
    int fd;

    /* tmpfs counts pages, and rounds up. */
    snprintf(size, sizeof(size), "%llu", (unsigned long long)whole);
    if (syscall(SYS_fsconfig, context, SET_STRING, "size", size, 0) < 0 ||
        syscall(SYS_fsconfig, context, SET_STRING, "mode", "0700", 0) < 0 ||
        (huge && syscall(SYS_fsconfig, context, SET_STRING, "huge", "within_size", 0) < 0) ||
        syscall(SYS_fsconfig, context, CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    fd = (int)syscall(SYS_fsmount, context, CLOEXEC, ATTR_NOSUID | ATTR_NODEV);
    return fd < 0 ? -errno : fd;
}

int tmpfs_open(uint64_t max_bytes, bool huge)
{
    int context, fd;

    if (max_bytes < (uint64_t)sysconf(_SC_PAGESIZE))
        return -EINVAL; /* a size of nothing would be no limit */
    context = (int)syscall(SYS_fsopen, "tmpfs", CLOEXEC);
    if (context < 0)
        return -errno;
    fd = mount_of(context, max_bytes, huge);
    close(context);
    return fd == -EINVAL && huge ? tmpfs_open(max_bytes, false) : fd; /* built without them */
}
