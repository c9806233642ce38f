/* The command: started, its output copied, its status and what it left running gathered. */
#include "init.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

enum { DRAIN_SECONDS = 3, RESIZE_MS = 300 };

__attribute__((noreturn)) static void become_command(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close_range(3, ~0U, 0);
    if (chdir(plan.cwd) < 0) {
        fprintf(stderr, "tools/guest: %s: %s\n", plan.cwd, strerror(errno));
        _exit(125);
    }
    environ = plan.env;
    execvp(plan.argv[0], plan.argv);
    fprintf(stderr, "tools/guest: %s: %s\n", plan.argv[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

static pid_t start_command(int in, int out, int err)
{
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child > 0)
        return child;
    setsid();
    if (in == plan.terminal)
        ioctl(plan.terminal, TIOCSCTTY, 1);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    become_command();
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

static int watch_children(void)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    int signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        die("signalfd");
    return signals;
}

/* True: the command has ended, and what it left running was killed. */
static bool has_ended(pid_t command, int signals, int *status)
{
    struct signalfd_siginfo ignored;
    while (read(signals, &ignored, sizeof ignored) > 0)
        ;
    if (!reap(command, status))
        return false;
    kill(-1, SIGKILL);
    return true;
}

static int run_at_terminal(void)
{
    int status = 0, signals = watch_children();
    pid_t command = start_command(plan.terminal, plan.terminal, plan.terminal);
    struct pollfd wait = {.fd = signals, .events = POLLIN};
    while (!has_ended(command, signals, &status)) {
        if (poll(&wait, 1, RESIZE_MS) < 0 && errno != EINTR)
            die("poll");
        follow_size();
    }
    tcdrain(plan.terminal);
    return status;
}

/* Runs the command, and ends what it left running: else the pipes would stay open. A process that
 * cannot die (it waits for a server that hangs) keeps us for DRAIN_SECONDS. */
static int run_with_files(void)
{
    int out[2], err[2], status = 0, signals = watch_children();
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int files[2] = {open("/run/guest/out", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644),
                    open("/run/guest/err", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)};
    if (null < 0 || files[0] < 0 || files[1] < 0 || pipe2(out, O_CLOEXEC) < 0 ||
        pipe2(err, O_CLOEXEC) < 0)
        die("preparing the command's output");
    pid_t command = start_command(null, out[1], plan.merged ? out[1] : err[1]);
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
        if (has_ended(command, signals, &status)) {
            running = false;
            drain_until = time(NULL) + DRAIN_SECONDS;
        }
    }
    return status;
}

int run_command(void)
{
    return plan.terminal < 0 ? run_with_files() : run_at_terminal();
}
