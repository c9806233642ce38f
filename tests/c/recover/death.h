/* A process that dies, and what is left of it in the memory that it shares. */
#ifndef DEATH_H
#define DEATH_H

#include "helper.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

/* Zeros, that a process which is made from here on has in common with this one. */
static inline void *shared(size_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(map != MAP_FAILED);
    return map;
}

static inline void die(void)
{
    kill(getpid(), SIGKILL);
}

static inline void assert_died(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* `live` is run by another process, which dies at its end if not before. It asserts nothing: what
 * fails there would go on with the tests that follow here. */
static inline void live_and_die(void (*live)(void *arg), void *arg)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        live(arg);
        die();
    }
    assert_died(pid);
}

/* Stops where `live` begins. Leaves with 1 where nobody may look at it so. */
static inline pid_t begin_stopped(void (*live)(void *arg), void *arg)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(1);
        raise(SIGSTOP);
        live(arg);
        die();
    }
    return pid;
}

/* The same, and `left` looks at what a death would leave: before the first instruction, and after
 * each. How many there are. */
static inline unsigned die_everywhere(void (*live)(void *arg), void (*left)(void *arg), void *arg)
{
    unsigned instructions = 0;
    pid_t pid = begin_stopped(live, arg);
    int status;

    waitpid(pid, &status, 0);
    if (WIFEXITED(status))
        skip();
    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_EXITKILL); /* where `left` fails */
    while (WIFSTOPPED(status)) {
        left(arg);
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        waitpid(pid, &status, 0);
        instructions++;
    }
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return instructions;
}

/* Death comes after so many instructions of `live`; false: they were more than it has. */
static inline bool die_after(unsigned instructions, void (*live)(void *arg), void *arg)
{
    pid_t pid = begin_stopped(live, arg);
    int status;

    waitpid(pid, &status, 0);
    if (WIFEXITED(status))
        skip();
    for (; instructions && WIFSTOPPED(status); instructions--) {
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
        waitpid(pid, &status, 0);
    }
    if (!WIFSTOPPED(status))
        return false;
    kill(pid, SIGKILL);
    assert_died(pid);
    return true;
}

#endif
