/* keeper: gives memory back that was kept warm and that nobody came back for.
 *
 * A device that is trimmed is often filled again at once. Memory that went to the kernel in between
 * has to be faulted in and cleared once more, which takes longer than the copy into it. So what is
 * freed stays warm for a while, as allocators let it decay (jemalloc(3): dirty_decay_ms); what was
 * never needed for KEEP_MS goes back.
 *
 * One thread for the process, there only while there is something to look after: an idle server has
 * none. Lock: `lock` guards the list and `running`; a leaf. */
#include "keeper.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "lock.h"
#include "thread.h"

#define KEEP_MS 1000

struct watched {
    struct watched *next;
    struct arena *arena; /* held */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct watched *list; /* lock */
static bool running;         /* lock */

static void cool_all(struct watched *watched, bool all)
{
    while (watched) {
        struct watched *next = watched->next;

        if (arena_cool(watched->arena, all)) {
            arena_drop(watched->arena);
            free(watched);
        } else {
            LOCKED(&lock);
            watched->next = list;
            list = watched;
        }
        watched = next;
    }
}

static struct watched *take_list(void)
{
    LOCKED(&lock);
    struct watched *watched = list;

    list = NULL;
    return watched;
}

void keeper_hurry(void)
{
    cool_all(take_list(), true);
}

/* The thread ends where nothing is left to look after. */
static bool ends(void)
{
    LOCKED(&lock);
    running = list != NULL;
    return !running;
}

static void *keep(void *unused)
{
    const struct timespec while_warm = {KEEP_MS / 1000, KEEP_MS % 1000 * 1000000};

    (void)unused;
    do {
        nanosleep(&while_warm, NULL);
        cool_all(take_list(), false);
    } while (!ends());
    return NULL;
}

/* With the lock held. */
static bool start(void)
{
    pthread_t thread;

    if (thread_start(&thread, keep, NULL) < 0)
        return false;
    pthread_detach(thread);
    return true;
}

void keeper_watch(struct arena *arena)
{
    struct watched *watched = malloc(sizeof(*watched));
    bool kept = false;

    if (watched) {
        LOCKED(&lock);
        running = running || start();
        if (running) {
            *watched = (struct watched){list, arena_hold(arena)};
            list = watched;
            kept = true;
        }
    }
    if (kept)
        return;
    free(watched);
    arena_cool(arena, true); /* nobody will do it later */
}
