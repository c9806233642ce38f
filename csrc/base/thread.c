/* thread: threads of ours, which leave signals to the interpreter's, and where threads run.
 *
 * All signals are blocked from the first instruction on, but for those that a thread brings on
 * itself: blocked, they would end the process without a word (sigprocmask(2)), and a debugger or
 * Python's faulthandler would have nothing to say. */
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As the process's first thread is, whatever the caller has become: a worker may be bound to a CPU
 * and in SCHED_IDLE (placement.c). 0, or an errno. */
static int start_unbound(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    struct sched_param none = {0};
    pthread_attr_t attributes;
    cpu_set_t home;
    int rc = pthread_attr_init(&attributes);

    if (rc != 0)
        return rc;
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_OTHER);
    pthread_attr_setschedparam(&attributes, &none);
    if (sched_getaffinity(getpid(), sizeof(home), &home) == 0)
        pthread_attr_setaffinity_np(&attributes, sizeof(home), &home);
    rc = pthread_create(thread, &attributes, run, arg);
    pthread_attr_destroy(&attributes);
    return rc;
}

int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    int rc;

    sigfillset(&blocked);
    for (unsigned i = 0; i < sizeof(own) / sizeof(*own); i++)
        sigdelset(&blocked, own[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    rc = start_unbound(thread, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

static ssize_t read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -1;
    n = read(fd, text, size - 1);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    return n;
}

/* The CPU a thread last ran on, or -1 (proc(5): /proc/pid/stat, field 39). */
int thread_cpu(uint32_t pid)
{
    char path[48], text[1024], *field;

    snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    if (!pid || read_file(path, text, sizeof(text)) <= 0)
        return -1;
    field = strrchr(text, ')'); /* field 2 may have spaces; 3 follows */
    for (int i = 2; field && i < 39; i++)
        field = strchr(field + 1, ' ');
    return field ? atoi(field) : -1;
}

/* How long a thread was ready to run and did not, ever (Documentation/scheduler/sched-stats). */
int64_t thread_run_delay_ns(int tid)
{
    char path[64], text[128];
    long long ran, waited;

    snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", tid);
    if (read_file(path, text, sizeof(text)) <= 0 || sscanf(text, "%lld %lld", &ran, &waited) != 2)
        return 0;
    return waited;
}

/* proc(5): /proc/loadavg, field 4. */
unsigned threads_runnable(void)
{
    char text[128];
    unsigned runnable;

    if (read_file("/proc/loadavg", text, sizeof(text)) <= 0 ||
        sscanf(text, "%*s %*s %*s %u", &runnable) != 1)
        return 0;
    return runnable;
}

int thread_move(int tid, int policy, const cpu_set_t *cpus)
{
    struct sched_param none = {0};

    if (sched_setscheduler(tid, policy, &none) < 0 ||
        sched_setaffinity(tid, sizeof(*cpus), cpus) < 0)
        return -errno;
    return 0;
}

struct asleep {
    sem_t ready, end;
    pthread_t thread;
    int tid;
};

static void *sleep_until_told(void *arg)
{
    struct asleep *asleep = arg;

    asleep->tid = gettid();
    sem_post(&asleep->ready);
    while (sem_wait(&asleep->end) < 0)
        ;
    free(asleep);
    return NULL;
}

static struct asleep *start_asleep(void)
{
    struct asleep *asleep = calloc(1, sizeof(*asleep));

    if (!asleep)
        return NULL;
    sem_init(&asleep->ready, 0, 0);
    sem_init(&asleep->end, 0, 0);
    if (thread_start(&asleep->thread, sleep_until_told, asleep) < 0) {
        free(asleep);
        return NULL;
    }
    while (sem_wait(&asleep->ready) < 0)
        ;
    return asleep;
}

/* Asked of a thread that sleeps, and is left alone where it may not: one that runs in SCHED_IDLE has to
 * wait for a CPU that nobody else wants (sched(7), RLIMIT_NICE). */
bool thread_may_leave_idle(void)
{
    struct sched_param none = {0};
    struct asleep *asleep = start_asleep();
    pthread_t thread;
    bool may;

    if (!asleep)
        return false;
    thread = asleep->thread;
    may = sched_setscheduler(asleep->tid, SCHED_IDLE, &none) == 0 &&
          sched_setscheduler(asleep->tid, SCHED_OTHER, &none) == 0;
    sem_post(&asleep->end);
    if (may)
        pthread_join(thread, NULL);
    else
        pthread_detach(thread);
    return may;
}
