/* A guest's places: its root, what it has of its own, what the host lends; and its modules. */
#include "init.h"

#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

static void must_mount(const char *source, const char *target, const char *type,
                       unsigned long flags, const char *data)
{
    if (mount(source, target, type, flags, data) < 0)
        die("mounting %s (%s) on %s", source, type ? type : "bind", target);
}

void make_folders(const char *path)
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

/* From the initramfs to the host's root. */
void enter_root(void)
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

void mount_share(const char *source, const char *target, const char *cache)
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

void mount_all(void)
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

void load_cuse(void)
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

/* A path that nothing hides, so that what the host has there can be shown again. */
void show_behind(const char *path)
{
    char from[4096];
    snprintf(from, sizeof from, "/run/host%s", path);
    make_folders(path);
    must_mount(from, path, NULL, MS_BIND, NULL);
}
