/* watchdog: a program that uses a watchdog as Documentation/watchdog/watchdog-api.rst says.
 *
 *     watchdog NODE
 *
 * Prints: identity, old heartbeat, new one, pretimeout, time left after WDIOS_DISABLECARD, what a
 * second open says, and what it was closed with. */
#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int fd;

static void need(const char *what, int ret)
{
    if (ret >= 0)
        return;
    perror(what);
    exit(1);
}

static int get(const char *what, unsigned long command)
{
    int value = -7;

    need(what, ioctl(fd, command, &value));
    return value;
}

static int set(const char *what, unsigned long command, int value)
{
    need(what, ioctl(fd, command, &value));
    return value;
}

int main(int argc, char **argv)
{
    struct watchdog_info info;
    int before, after, early, left;

    if (argc != 2)
        return 2;
    need("open", fd = open(argv[1], O_WRONLY));
    need("WDIOC_GETSUPPORT", ioctl(fd, WDIOC_GETSUPPORT, &info));
    before = get("WDIOC_GETTIMEOUT", WDIOC_GETTIMEOUT);
    after = set("WDIOC_SETTIMEOUT", WDIOC_SETTIMEOUT, 5);
    early = set("WDIOC_SETPRETIMEOUT", WDIOC_SETPRETIMEOUT, 4);
    need("WDIOC_KEEPALIVE", ioctl(fd, WDIOC_KEEPALIVE, 0));
    set("WDIOC_SETOPTIONS", WDIOC_SETOPTIONS, WDIOS_DISABLECARD);
    left = get("WDIOC_GETTIMELEFT", WDIOC_GETTIMELEFT);
    set("WDIOC_SETOPTIONS", WDIOC_SETOPTIONS, WDIOS_ENABLECARD);
    need("write", (int)write(fd, "\0", 1));
    printf("%s %d %d %d %d ", info.identity, before, after, early, left);
    printf("%s ", open(argv[1], O_WRONLY) < 0 && errno == EBUSY ? "busy" : "open twice");
    need("write", (int)write(fd, "V", 1));
    need("close", close(fd));
    puts("V");
    return 0;
}
