/* Process 1 of a guest kernel that has the host's root, read-only, as its own.
 *
 * It makes the places that programs write to, loads CUSE, runs the command of the plan, copies its
 * output to the host, and leaves its status there; tools/guest then ends the machine. One static
 * program instead of a script, because starting a process costs 0.1 to 0.3 s in these guests.
 *
 * The control folder is a folder of the host's, mounted on /run/guest. We read `plan` in it, append
 * to `out` and `err`, and write `started` and `status`. The plan is records that end with a zero byte:
 *   behind PATH           show a path of the host's again that a fresh tmpfs covers
 *   share SOURCE TARGET   (two records) mount a host folder, writable
 *   cwd PATH, env NAME=VALUE, arg WORD
 *   merge yes             one stream for output and errors, so that they keep their order
 *
 * In QEMU we come from an initramfs, whose /modules holds what mounting the root needs; in
 * user-mode-linux the root is there from the start. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WORDS = 4096, MAX_SHARES = 16, DRAIN_SECONDS = 3 };

static bool in_qemu;
static char *command_argv[MAX_WORDS + 1];
static char *command_env[MAX_WORDS + 1];
static const char *command_cwd = "/";
static const char *shares[MAX_SHARES];
static int share_count;
static bool merged;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
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

static void must_mount(const char *source, const char *target, const char *type,
                       unsigned long flags, const char *data)
{
    if (mount(source, target, type, flags, data) < 0)
        die("mounting %s (%s) on %s", source, type ? type : "bind", target);
}

static void make_folders(const char *path)
{
    char part[4096];
    for (size_t i = 1; path[i - 1]; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        snprintf(part, sizeof part, "%.*s", (int)i, path);
        mkdir(part, 0755);
        if (path[i] == '\0')
            break;
    }
}

static void load_module(const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        die("opening %s", path);
    if (syscall(SYS_finit_module, file, "", 0) < 0 && errno != EEXIST)
        die("loading %s", path);
    close(file);
}

/* Whole small file, with a zero byte behind it; the memory is never given back. */
static char *read_file(const char *path, size_t *size)
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

/* From the initramfs to the host's root. */
static void enter_root(void)
{
    size_t size;
    char *order = read_file("/modules/order", &size);
    for (char *name = strtok(order, "\n"); name; name = strtok(NULL, "\n")) {
        char path[512];
        snprintf(path, sizeof path, "/modules/%s", name);
        load_module(path);
    }
    /* The root does not change under us as far as we care: let the guest cache all it likes. */
    must_mount("root", "/root", "9p", MS_RDONLY,
               "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
    must_mount("devtmpfs", "/root/dev", "devtmpfs", 0, "mode=755");
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        die("entering the host's root");
    int console = open("/dev/console", O_RDWR);
    if (console >= 0) {
        for (int target = 0; target < 3; target++)
            dup2(console, target);
        if (console > 2)
            close(console);
    }
}

static void mount_share(const char *source, const char *target, const char *cache)
{
    if (!in_qemu) {
        must_mount("none", target, "hostfs", 0, source);
        return;
    }
    char options[128];
    snprintf(options, sizeof options, "trans=virtio,version=9p2000.L,msize=512000,cache=%s", cache);
    must_mount(source, target, "9p", 0, options);
}

/* The value of a word NAME=VALUE of the kernel's command line. */
static const char *kernel_word(const char *name)
{
    size_t size, length = strlen(name);
    for (char *word = strtok(read_file("/proc/cmdline", &size), " \n"); word;
         word = strtok(NULL, " \n"))
        if (!strncmp(word, name, length) && word[length] == '=')
            return word + length + 1;
    errno = ENOENT;
    die("%s= on the kernel's command line", name);
}

static void mount_all(void)
{
    must_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    must_mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mkdir("/dev/pts", 0755);
    mkdir("/dev/shm", 0755);
    must_mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=666,mode=620");
    must_mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=80%");
    static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"},
                                           {"fd/0", "/dev/stdin"},
                                           {"fd/1", "/dev/stdout"},
                                           {"fd/2", "/dev/stderr"}};
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            die("linking %s", links[i][1]);
    must_mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
    make_folders("/run/guest");
    make_folders("/run/host");
    make_folders("/run/lock");
    must_mount("/", "/run/host", NULL, MS_BIND, NULL);
    mount_share(kernel_word("guest_control"), "/run/guest", "none");
    must_mount("tmp", "/tmp", "tmpfs", 0, "mode=1777,size=80%");
    make_folders("/tmp/home");
    /* As on any machine; nothing depends on these two. */
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
    mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, NULL);
}

static void load_cuse(void)
{
    if (!in_qemu) {
        struct utsname name;
        char path[512];
        uname(&name);
        static const char *const modules[] = {"fuse", "cuse"};
        for (size_t i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "/usr/lib/uml/modules/%s/kernel/fs/fuse/%s.ko",
                     name.release, modules[i]);
            load_module(path);
        }
        mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, NULL);
    }
    if (mknod("/dev/cuse", S_IFCHR | 0600, makedev(10, 203)) < 0 && errno != EEXIST)
        die("making /dev/cuse");
}

static void raise_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0 || ioctl(socket_fd, SIOCSIFFLAGS, &request) < 0)
        fprintf(stderr, "guest init: no loopback: %s\n", strerror(errno));
    close(socket_fd);
}

/* A path that nothing hides, so that what the host has there can be shown again. */
static void show_behind(const char *path)
{
    char from[4096];
    snprintf(from, sizeof from, "/run/host%s", path);
    make_folders(path);
    must_mount(from, path, NULL, MS_BIND, NULL);
}

static void follow_plan(void)
{
    size_t size;
    char *plan = read_file("/run/guest/plan", &size);
    int words = 0, variables = 0;
    for (char *record = plan; record < plan + size; record += strlen(record) + 1) {
        char *value = strchr(record, ' ');
        if (!value)
            die("the record '%s' of the plan", record);
        *value++ = '\0';
        const char *verb = record;
        record = value;
        if (!strcmp(verb, "behind")) {
            show_behind(value);
        } else if (!strcmp(verb, "share") && share_count < MAX_SHARES) {
            record += strlen(record) + 1;
            make_folders(record);
            mount_share(value, record, "mmap");
            shares[share_count++] = record;
        } else if (!strcmp(verb, "cwd")) {
            command_cwd = value;
        } else if (!strcmp(verb, "merge")) {
            merged = true;
        } else if (!strcmp(verb, "env") && variables < MAX_WORDS) {
            command_env[variables++] = value;
        } else if (!strcmp(verb, "arg") && words < MAX_WORDS) {
            command_argv[words++] = value;
        } else {
            die("the verb '%s' of the plan", verb);
        }
    }
    if (!words)
        die("a plan without a command");
}

static pid_t start_command(int out, int err)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err, 2);
    close_range(3, ~0U, 0);
    if (chdir(command_cwd) < 0) {
        fprintf(stderr, "tools/guest: %s: %s\n", command_cwd, strerror(errno));
        _exit(125);
    }
    environ = command_env;
    execvp(command_argv[0], command_argv);
    fprintf(stderr, "tools/guest: %s: %s\n", command_argv[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Moves what a pipe holds to its file. False: the pipe's last writer is gone. */
static bool pump(int from, int to)
{
    static char buffer[65536];
    ssize_t count = read(from, buffer, sizeof buffer);
    if (count < 0)
        return errno == EINTR || errno == EAGAIN;
    for (ssize_t done = 0; done < count;) {
        ssize_t moved = write(to, buffer + done, (size_t)(count - done));
        if (moved < 0 && errno != EINTR)
            die("writing to the control folder");
        done += moved > 0 ? moved : 0;
    }
    return count > 0;
}

/* Reaps whoever ended. True with *status filled once the command is among them. */
static bool reap(pid_t command, int *status)
{
    int wait_status;
    bool found = false;
    for (pid_t pid; (pid = waitpid(-1, &wait_status, WNOHANG)) > 0;) {
        if (pid != command)
            continue;
        found = true;
        *status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
    }
    return found;
}

/* Runs the command, and ends what it left running: else the pipes would stay open. A process that
 * cannot die (it waits for a server that hangs) keeps us for DRAIN_SECONDS. */
static int run_command(void)
{
    int out[2], err[2], status = 0;
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    int signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    int files[2] = {open("/run/guest/out", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644),
                    open("/run/guest/err", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)};
    if (signals < 0 || files[0] < 0 || files[1] < 0 || pipe2(out, O_CLOEXEC) < 0 ||
        pipe2(err, O_CLOEXEC) < 0)
        die("preparing the command's output");
    pid_t command = start_command(out[1], merged ? out[1] : err[1]);
    if (command < 0)
        die("fork");
    close(out[1]);
    close(err[1]);

    struct pollfd waits[3] = {{.fd = out[0], .events = POLLIN},
                              {.fd = err[0], .events = POLLIN},
                              {.fd = signals, .events = POLLIN}};
    bool running = true;
    time_t drain_until = 0;
    while (running || ((waits[0].fd >= 0 || waits[1].fd >= 0) && time(NULL) <= drain_until)) {
        if (poll(waits, 3, running ? -1 : 200) < 0 && errno != EINTR)
            die("poll");
        for (int i = 0; i < 2; i++)
            if (waits[i].fd >= 0 && waits[i].revents && !pump(waits[i].fd, files[i]))
                waits[i].fd = -1;
        struct signalfd_siginfo ignored;
        while (read(signals, &ignored, sizeof ignored) > 0)
            ;
        if (reap(command, &status)) {
            running = false;
            drain_until = time(NULL) + DRAIN_SECONDS;
            kill(-1, SIGKILL);
        }
    }
    return status;
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
    for (int i = 0; i < share_count; i++) {
        int folder = open(shares[i], O_RDONLY | O_DIRECTORY);
        if (folder < 0 || syncfs(folder) < 0)
            fprintf(stderr, "guest init: syncing %s: %s\n", shares[i], strerror(errno));
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
    follow_plan();
    umask(022);
    leave_status(run_command());
    for (;;)
        pause();
}
