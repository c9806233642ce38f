/* invalidator: tells the kernel that files of a file view have changed.
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
#include "view/invalidate.h"

#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/thread.h"

/* The kernel takes signed numbers; a length of 0 means to the end. */
#define LOOK_NAME 256u /* bytes of a name, at most */

static off_t as_offset(uint64_t number)
{
    return number > LLONG_MAX ? LLONG_MAX : (off_t)number;
}

static off_t as_length(uint64_t offset, uint64_t length)
{
    return length > LLONG_MAX - (uint64_t)as_offset(offset) ? 0 : (off_t)length;
}

/* Has the name looked up, which tells the kernel the file's size. That is done by another process: who
 * does it waits for an answer of ours, and if we were killed meanwhile would be neither answered nor gone
 * (base/canary.c). */
static void look(struct invalidator *invalidator, const char *name)
{
    struct {
        uint64_t number;
        char name[LOOK_NAME];
    } question;
    uint64_t answered;
    size_t length = strlen(name);
    LOCKED(&invalidator->looking);

    if (length > sizeof(question.name))
        return;
    question.number = ++invalidator->looks;
    memcpy(question.name, name, length);
    if (send(invalidator->looker, &question, sizeof(question.number) + length, MSG_NOSIGNAL) < 0)
        return;
    do { /* to a question of a worker before us, perhaps */
        if (recv(invalidator->looker, &answered, sizeof(answered), 0) != sizeof(answered))
            return;
    } while (answered != question.number);
}

/* Errors say that the kernel knows the file no more (ENOENT), or the whole view: all is well. */
void invalidate_pages(struct invalidator *invalidator, const struct drop *drop)
{
    if (drop->length)
        fuse_lowlevel_notify_inval_inode(invalidator->session, drop->ino, as_offset(drop->offset),
                                         as_length(drop->offset, drop->length));
    if (drop->look && invalidator->looker >= 0)
        look(invalidator, drop->look);
}

static void *invalidate_main(void *arg)
{
    struct invalidator *invalidator = arg;

    pthread_mutex_lock(&invalidator->lock);
    /* Somebody may wait for the job that was given last. */
    while (!invalidator->stopping || invalidator->job) {
        if (!invalidator->job) {
            pthread_cond_wait(&invalidator->changed, &invalidator->lock);
            continue;
        }
        pthread_mutex_unlock(&invalidator->lock);
        invalidate_pages(invalidator, &invalidator->copy);
        pthread_mutex_lock(&invalidator->lock);
        invalidator->job = NULL;
        pthread_cond_broadcast(&invalidator->changed);
    }
    pthread_mutex_unlock(&invalidator->lock);
    return NULL;
}

/* With the lock held: whether the thread may be waiting for an answer to such a call. */
static bool is_held_up(const struct invalidator *invalidator)
{
    return invalidator->held[HOLD_PAGES] ||
           (invalidator->held[HOLD_NAMES] && invalidator->copy.look);
}

/* With the lock held. False: the thread is held up. */
static bool wait_idle(struct invalidator *invalidator)
{
    while (invalidator->job && !is_held_up(invalidator))
        pthread_cond_wait(&invalidator->changed, &invalidator->lock);
    return !invalidator->job;
}

/* One job at a time is enough: the view's calls are run by one thread. */
bool invalidate_try(struct invalidator *invalidator, const struct drop *drop)
{
    LOCKED(&invalidator->lock);

    /* The first wait is for an earlier one that was given up. */
    if (!wait_idle(invalidator) || invalidator->stopping || invalidator->held[HOLD_PAGES])
        return false;
    invalidator->copy = *drop;
    if (invalidator->held[HOLD_NAMES])
        invalidator->copy.look = NULL;
    invalidator->job = &invalidator->copy;
    pthread_cond_broadcast(&invalidator->changed);
    return wait_idle(invalidator) && invalidator->copy.look == drop->look;
}

void invalidate_hold(struct invalidator *invalidator, enum invalidate_hold what)
{
    LOCKED(&invalidator->lock);
    invalidator->held[what]++;
    pthread_cond_broadcast(&invalidator->changed);
}

void invalidate_release(struct invalidator *invalidator, enum invalidate_hold what)
{
    LOCKED(&invalidator->lock);
    invalidator->held[what]--;
}

int invalidate_start(struct invalidator *invalidator, struct fuse_session *session, int looker)
{
    int rc;

    *invalidator = (struct invalidator){.session = session, .looker = looker};
    invalidator->looks = (uint64_t)getpid() << 32;
    pthread_mutex_init(&invalidator->looking, NULL);
    pthread_mutex_init(&invalidator->lock, NULL);
    pthread_cond_init(&invalidator->changed, NULL);
    rc = thread_start(&invalidator->thread, invalidate_main, invalidator);
    if (rc) {
        if (looker >= 0)
            close(looker);
        pthread_mutex_destroy(&invalidator->looking);
        pthread_cond_destroy(&invalidator->changed);
        pthread_mutex_destroy(&invalidator->lock);
    }
    return rc;
}

void invalidate_stop(struct invalidator *invalidator)
{
    {
        LOCKED(&invalidator->lock);
        invalidator->stopping = true;
        pthread_cond_broadcast(&invalidator->changed);
    }
    pthread_join(invalidator->thread, NULL);
    if (invalidator->looker >= 0)
        close(invalidator->looker);
    pthread_mutex_destroy(&invalidator->looking);
}

void invalidate_free(struct invalidator *invalidator)
{
    pthread_cond_destroy(&invalidator->changed);
    pthread_mutex_destroy(&invalidator->lock);
}
