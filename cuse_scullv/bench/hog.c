/* hog.c: a busy loop on each CPU that we may use, until we are ended. Says so on stdout once all of
 * them run. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

static void spin_on(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    for (;;)
        __asm__ volatile("");
}

int main(void)
{
    pid_t parent = getpid();
    cpu_set_t allowed;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return 1;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        pid_t pid = CPU_ISSET(cpu, &allowed) ? fork() : 1;

        if (pid < 0)
            return 1;
        if (pid > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            return 1;
        spin_on(cpu);
    }
    puts("spinning");
    fflush(stdout);
    for (;;)
        pause();
}
