/* thread: threads of ours, which leave signals to the interpreter's.
 *
 * All signals are blocked from the first instruction on, but for those that a thread brings on
 * itself: blocked, they would end the process without a word (sigprocmask(2)), and a debugger or
 * Python's faulthandler would have nothing to say. */
#include "thread.h"

#include <signal.h>

int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t blocked, before;
    int rc;

    sigfillset(&blocked);
    for (unsigned i = 0; i < sizeof(own) / sizeof(*own); i++)
        sigdelset(&blocked, own[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    rc = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}
