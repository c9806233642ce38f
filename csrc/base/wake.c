/* wake: a signal whose handler does nothing, so that the system call it hits returns with EINTR, or
 * with what it has done so far; and system calls that tell so, as Python's own do not (PEP 475). */
#include "base/wake.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "scullv.h"

#define WAKE_SIGNAL (SIGRTMIN + 7)

static void on_wake(int signal)
{
    (void)signal;
}

void wake_install(void)
{
    struct sigaction action = {.sa_handler = on_wake}; /* no SA_RESTART: read returns */

    sigemptyset(&action.sa_mask);
    sigaction(WAKE_SIGNAL, &action, NULL);
}

void wake_allow(void)
{
    sigset_t wake;

    sigemptyset(&wake);
    sigaddset(&wake, WAKE_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
}

void wake_thread(pthread_t thread)
{
    pthread_kill(thread, WAKE_SIGNAL);
}

int wake_prepare(void)
{
    wake_install();
    wake_allow();
    return WAKE_SIGNAL;
}

static int64_t outcome(int64_t result)
{
    return result < 0 ? -errno : result;
}

int64_t wakeable_open(const char *path, int flags)
{
    return outcome(open(path, (flags & ~(O_CREAT | O_TMPFILE)) | O_CLOEXEC));
}

int64_t wakeable_read(int fd, void *data, size_t size)
{
    return outcome(read(fd, data, size));
}

int64_t wakeable_write(int fd, const void *data, size_t size)
{
    return outcome(write(fd, data, size));
}

int64_t wakeable_ioctl(int fd, uint32_t command, uint64_t argument)
{
    return outcome(ioctl(fd, (unsigned long)command, (unsigned long)argument));
}
