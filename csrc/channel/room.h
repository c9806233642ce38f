/* room: where one worker has the message that it works on. See room.c. */
#ifndef ROOM_H
#define ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "channel/ledger.h"
#include "store/store.h"

/* FOREIGN: everything goes to libfuse. NODE: position by handle, offsets ignored. FILE: offsets. */
enum request_kind { REQUEST_FOREIGN, REQUEST_NODE, REQUEST_FILE };

/* One worker's room for a message. `head` and `body` are contiguous: a message that was received
 * whole lies there as the kernel wrote it. */
struct room {
    uint8_t *message;   /* body - REQUEST_HEAD */
    uint8_t *body;      /* page aligned, payload_max bytes */
    size_t payload_max; /* bytes */
    struct ledger *ledger;  /* of the channel's open files */
    struct journal *journal; /* of the message, where it outlives this process; else NULL */
    bool lent; /* the message and the journal are kept elsewhere */
    struct store *expect; /* held; whose next write is expected, or NULL */
    struct spares spares; /* quanta laid out for it */
    size_t expect_bytes;  /* how long that write is expected to be */
    size_t laid;          /* bytes that the last receive had room for in spares */
    ssize_t answered;     /* bytes of the last READ or WRITE that was answered here, or -errno */
    unsigned counted;     /* requests that were answered here */
    uint64_t took_ns;     /* by the last of them that was timed */
};
#define REQUEST_HEAD 80u /* fuse_in_header + fuse_write_in */

/* `number`: of the reader, where its messages are to outlive it. */
int room_init(struct room *room, size_t payload_max, struct ledger *ledger,
                      unsigned number);
/* Puts a message into the room that is kept elsewhere, with its journal: its length. */
size_t room_lend(struct room *room, const void *message, struct journal *journal);
void room_free(struct room *room);

/* Receives one message: its length, or -errno. 0: the peer closed. */
ssize_t room_receive(struct room *room, int fd, enum request_kind kind);
/* Puts the part of the payload that lies in spares where the kernel would have put it. */
void room_gather(struct room *room, size_t payload);
/* The next message is likely a write to the store, of so many bytes; or nothing is known of it. */
void room_expect(struct room *room, struct store *store, size_t bytes);
void room_expect_nothing(struct room *room);
/* Between these the message of the room is worked on by the calling thread. */
void room_begin(struct room *room, size_t length);
void room_end(struct room *room);
/* The calling thread's message will be worked on by another: NULL, or where it outlives the process
 * till then the journal of its slot. `error`: 0, or why that cannot be. */
struct journal *room_keep(int *error);
bool room_is_greeting(const struct room *room);
/* Of a READ or WRITE: it is of `bytes` bytes only, fewer than it was. The message's length. */
size_t room_cut(struct room *room, uint32_t bytes, size_t length);
/* Of a WRITE: `bits` bits of its payload change. */
void room_flip(struct room *room, uint32_t bits, uint64_t dice);
uint32_t room_opcode(const struct room *room);
uint64_t room_unique(const struct room *room);
uint64_t room_node(const struct room *room);
/* What follows the header. */
const void *room_body(const struct room *room);
uint32_t room_pid(const struct room *room); /* the calling thread */
bool room_closes(const struct room *room);  /* an open file's last descriptor */

#endif
