/* resume: what a worker process before this one has left: requests that it had taken, clients that poll. */
#include <errno.h>
#include <linux/fuse.h>
#include <unistd.h>

#include "channel/reader.h"
#include "channel/worker.h"

struct resumption {
    struct workers *workers;
    struct room room;
};

/* A message that a worker process before had taken: it is run again, by what its journal says. */
static void resume(void *arg, const void *message, struct journal *journal)
{
    struct resumption *resumption = arg;
    struct room *room = &resumption->room;
    _Atomic uint64_t answered = 0;
    size_t length = room_lend(room, message, journal);

    room_begin(room, length);
    reader_process(resumption->workers, room, length, &answered);
    room_end(room);
}

/* Who polls asks again: what would have woken him may be forgotten. */
static void wake_polls(struct workers *workers)
{
    uint32_t entry = 0;
    uint64_t poll;

    while ((poll = ledger_next_poll(workers->ledger, &entry))) {
        struct {
            struct fuse_out_header out;
            struct fuse_notify_poll_wakeup_out wakeup;
        } message = {
            .out = {.len = sizeof(message), .error = FUSE_NOTIFY_POLL},
            .wakeup = {.kh = poll},
        };

        if (write(workers->fd, &message, sizeof(message)) < 0)
            return; /* the channel has ended: who reads it hears of it */
    }
}

int workers_resume(struct workers *workers)
{
    struct resumption resumption = {.workers = workers};
    int rc;

    if (!workers->ledger || !ledger_outlives(workers->ledger))
        return 0;
    rc = room_init(&resumption.room, workers->payload_max, NULL, 0);
    if (rc < 0)
        return rc;
    resumption.room.ledger = workers->ledger;
    workers->resuming = true;
    ledger_each(workers->ledger, resume, &resumption);
    workers->resuming = false;
    resumption.room.journal = NULL;
    room_free(&resumption.room);
    wake_polls(workers);
    return 0;
}
