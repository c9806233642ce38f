/* Process 1 of a guest kernel that has the host's root, read-only, as its own.
 *
 * It makes the places that programs write to, loads CUSE, runs the command of the plan, copies its
 * output to the host, and leaves its status there; tools/guest then ends the machine. One static
 * program instead of a script, because starting a process costs 0.1 to 0.3 s in these guests.
 *
 * The control folder is a folder of the host's, mounted on /run/guest. We read `plan` in it, append
 * to `out` and `err`, write `started` and `status`, and look at `size`. The plan is records that end
 * with a zero byte:
 *   behind PATH           show a path of the host's again that a fresh tmpfs covers
 *   share SOURCE TARGET   (two records) mount a host folder, writable
 *   cwd PATH, env NAME=VALUE, arg WORD
 *   merge yes             one stream for output and errors, so that they keep their order
 *   terminal ROWS COLUMNS the command gets a terminal: a serial line, whose other end is the user's;
 *                         the file `size` in the control folder says when he resizes it
 *
 * In QEMU we come from an initramfs, whose /modules holds what mounting the root needs; in
 * user-mode-linux the root is there from the start. */
#include "init.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

bool in_qemu;

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...)
{
    va_list arguments;
    int error = errno;
    va_start(arguments, format);
    fprintf(stderr, "guest init: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, ": %s\n", strerror(error));
    va_end(arguments);
    fflush(stderr);
    _exit(1); /* the kernel panics, and the machine ends */
}

char *read_file(const char *path, size_t *size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        die("opening %s", path);
    char *text = NULL;
    ssize_t count = 0;
    *size = 0;
    do {
        *size += (size_t)count;
        text = realloc(text, *size + 65536);
        if (!text)
            die("reading %s", path);
        count = read(file, text + *size, 65535);
    } while (count > 0);
    if (count < 0)
        die("reading %s", path);
    close(file);
    text[*size] = '\0';
    return text;
}

static void raise_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0 || ioctl(socket_fd, SIOCSIFFLAGS, &request) < 0)
        fprintf(stderr, "guest init: no loopback: %s\n", strerror(errno));
    close(socket_fd);
}

static void touch(const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0)
        die("writing %s", path);
    close(file);
}

/* Not sync(2), which would wait for a file system whose server hangs. */
static void leave_status(int status)
{
    for (int i = 0; i < plan.n_shares; i++) {
        int folder = open(plan.shares[i], O_RDONLY | O_DIRECTORY);
        if (folder < 0 || syncfs(folder) < 0)
            fprintf(stderr, "guest init: syncing %s: %s\n", plan.shares[i], strerror(errno));
    }
    FILE *file = fopen("/run/guest/status.new", "w");
    if (!file || fprintf(file, "%d\n", status) < 0 || fclose(file) != 0 ||
        rename("/run/guest/status.new", "/run/guest/status") < 0)
        die("writing the status");
}

int main(void)
{
    setvbuf(stderr, NULL, _IOLBF, 0);
    umask(0);
    in_qemu = access("/modules/order", R_OK) == 0;
    if (in_qemu)
        enter_root();
    mount_all();
    touch("/run/guest/started");
    load_cuse();
    raise_loopback();
    sethostname("guest", 5);
    follow_plan();
    umask(022);
    leave_status(run_command());
    for (;;)
        pause();
}
