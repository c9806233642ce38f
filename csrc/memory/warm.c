/* warm: gives memory back that was kept warm and that nobody came back for.
 *
 * A device that is trimmed is often filled again at once. Memory that went to the kernel in between
 * has to be faulted in and cleared once more, which takes longer than the copy into it. So what is
 * freed stays warm for a while, as allocators let it decay (jemalloc(3): dirty_decay_ms); what was
 * never needed for KEEP_MS goes back.
 *
 * One thread for the process, there only while there is something to look after: an idle server has
 * none. Lock: `lock` guards the list and `running`; of others only an arena's is taken under it. */
#include "memory/warm.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/lock.h"
#include "base/thread.h"

#define KEEP_MS 1000

struct watched {
    struct watched *next;
    struct arena *arena; /* held */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct watched *list; /* lock */
static bool running;         /* lock */

static void *keep(void *unused);

/* With the lock held: whether there is a thread that keeps. */
static bool keeps(void)
{
    pthread_t thread;

    if (running)
        return true;
    if (thread_start(&thread, keep, NULL) < 0)
        return false;
    pthread_detach(thread);
    running = true;
    return true;
}

static void cool_now(struct arena *arena)
{
    while (!arena_cool(arena))
        arena_yield(arena, UINT64_MAX);
}

/* Hands the arena to the keeper. Where there is none, nothing stays warm. */
static void watch(struct watched *watched)
{
    {
        LOCKED(&lock);
        if (keeps()) {
            watched->next = list;
            list = watched;
            return;
        }
    }
    cool_now(watched->arena);
    arena_drop(watched->arena);
    free(watched);
}

static void cool_all(struct watched *watched)
{
    while (watched) {
        struct watched *next = watched->next;

        if (arena_cool(watched->arena)) {
            arena_drop(watched->arena);
            free(watched);
        } else {
            watch(watched);
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
        cool_all(take_list());
    } while (!ends());
    return NULL;
}

void warm_watch(struct arena *arena)
{
    struct watched *watched = malloc(sizeof(*watched));

    if (watched) {
        watched->arena = arena_hold(arena);
        watch(watched);
    } else {
        cool_now(arena);
    }
}

void warm_hurry(const struct budget *budget, uint64_t bytes)
{
    LOCKED(&lock);
    for (struct watched *watched = list; watched && bytes > 0; watched = watched->next) {
        uint64_t given = arena_budget(watched->arena) == budget ? arena_yield(watched->arena, bytes) : 0;

        bytes -= given < bytes ? given : bytes;
    }
}
