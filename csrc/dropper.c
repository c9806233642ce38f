/* dropper: tells the kernel that files of a file view have changed.
 *
 * FUSE_NOTIFY_INVAL_INODE returns when the pages are gone, and dirty ones (stored to through a
 * mapping) are written back first: the notifier waits for WRITEs that workers of the same view
 * answer. So a worker must never notify. Nor must the thread that runs the view's calls, for a
 * reason less plain: while a file is truncated the kernel holds back all writes to it
 * (FUSE_NOWRITE), while one is unlinked it holds the directory, and that very thread answers. It
 * therefore lets a thread of ours notify, and gives up waiting when such a call turns up.
 *
 * No notification sets a file's size: the kernel finds it out when somebody looks, so we do. Else an
 * open O_APPEND file would write where the end was, and a mapping would end where it did.
 *
 * `lock` is a leaf; it is not held while notifying. */
#include "dropper.h"

#include <limits.h>
#include <sys/stat.h>

#include "lock.h"
#include "thread.h"

/* The kernel takes signed numbers; a length of 0 means to the end. */
static off_t as_offset(uint64_t number)
{
    return number > LLONG_MAX ? LLONG_MAX : (off_t)number;
}

static off_t as_length(uint64_t offset, uint64_t length)
{
    return length > LLONG_MAX - (uint64_t)as_offset(offset) ? 0 : (off_t)length;
}

/* Errors say that the kernel knows the file no more (ENOENT), or the whole view: all is well. */
void dropper_drop(struct dropper *dropper, const struct drop *drop)
{
    struct stat st;

    if (drop->length)
        fuse_lowlevel_notify_inval_inode(dropper->session, drop->ino, as_offset(drop->offset),
                                         as_length(drop->offset, drop->length));
    if (drop->look && lstat(drop->look, &st) < 0)
        return; /* somebody unmounts just now */
}

static void *dropper_main(void *arg)
{
    struct dropper *dropper = arg;

    pthread_mutex_lock(&dropper->lock);
    while (!dropper->stopping) {
        if (!dropper->job) {
            pthread_cond_wait(&dropper->changed, &dropper->lock);
            continue;
        }
        pthread_mutex_unlock(&dropper->lock);
        dropper_drop(dropper, &dropper->copy);
        pthread_mutex_lock(&dropper->lock);
        dropper->job = NULL;
        pthread_cond_broadcast(&dropper->changed);
    }
    pthread_mutex_unlock(&dropper->lock);
    return NULL;
}

/* With the lock held: whether the thread may be waiting for an answer to such a call. */
static bool is_held_up(const struct dropper *dropper)
{
    return dropper->held[HOLD_PAGES] || (dropper->held[HOLD_NAMES] && dropper->copy.look);
}

/* With the lock held. False: the thread is held up. */
static bool wait_idle(struct dropper *dropper)
{
    while (dropper->job && !is_held_up(dropper))
        pthread_cond_wait(&dropper->changed, &dropper->lock);
    return !dropper->job;
}

/* One job at a time is enough: the view's calls are run by one thread. */
bool dropper_try(struct dropper *dropper, const struct drop *drop)
{
    LOCKED(&dropper->lock);

    /* The first wait is for an earlier one that was given up. */
    if (!wait_idle(dropper) || dropper->held[HOLD_PAGES])
        return false;
    dropper->copy = *drop;
    if (dropper->held[HOLD_NAMES])
        dropper->copy.look = NULL;
    dropper->job = &dropper->copy;
    pthread_cond_broadcast(&dropper->changed);
    return wait_idle(dropper) && dropper->copy.look == drop->look;
}

void dropper_hold(struct dropper *dropper, enum dropper_hold what)
{
    LOCKED(&dropper->lock);
    dropper->held[what]++;
    pthread_cond_broadcast(&dropper->changed);
}

void dropper_release(struct dropper *dropper, enum dropper_hold what)
{
    LOCKED(&dropper->lock);
    dropper->held[what]--;
}

int dropper_start(struct dropper *dropper, struct fuse_session *session)
{
    int rc;

    *dropper = (struct dropper){.session = session};
    pthread_mutex_init(&dropper->lock, NULL);
    pthread_cond_init(&dropper->changed, NULL);
    rc = thread_start(&dropper->thread, dropper_main, dropper);
    if (rc) {
        pthread_cond_destroy(&dropper->changed);
        pthread_mutex_destroy(&dropper->lock);
    }
    return rc;
}

void dropper_stop(struct dropper *dropper)
{
    {
        LOCKED(&dropper->lock);
        dropper->stopping = true;
        pthread_cond_broadcast(&dropper->changed);
    }
    pthread_join(dropper->thread, NULL);
    pthread_cond_destroy(&dropper->changed);
    pthread_mutex_destroy(&dropper->lock);
}
