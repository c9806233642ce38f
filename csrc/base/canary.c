/* canary: how others learn at once that a process is being killed.
 *
 * A process that is killed is not gone before its last thread is, and a thread may wait in the kernel for
 * an answer that only the next worker gives (FUSE: a request that was taken is waited for whatever
 * happens, as are pages under write-back). So its end is told by a thread of its own that waits for
 * nothing: it alone has the descriptor, in a table of its own, which ends with it. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <unistd.h>

#include "base/thread.h"
#include "scullv.h"

struct cage {
    int fd;
    int error;
    sem_t ready;
};

static void *sit(void *arg)
{
    struct cage *cage = arg;
    int fd = cage->fd;

    cage->error = unshare(CLONE_FILES) < 0 ? errno : 0;
    if (!cage->error) {
        if (fd > 0)
            close_range(0, (unsigned)fd - 1, 0);
        close_range((unsigned)fd + 1, ~0u, 0);
    }
    sem_post(&cage->ready); /* `cage` is gone from here on */
    for (;;)
        pause();
    return NULL;
}

int canary_start(int fd)
{
    struct cage cage = {.fd = fd};
    pthread_t thread;
    int rc;

    sem_init(&cage.ready, 0, 0);
    rc = thread_start(&thread, sit, &cage);
    if (rc == 0) {
        while (sem_wait(&cage.ready) < 0)
            continue;
        pthread_detach(thread);
        rc = -cage.error;
    }
    sem_destroy(&cage.ready);
    close(fd);
    return rc;
}
