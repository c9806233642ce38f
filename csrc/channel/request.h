/* request: READ and WRITE answered in C. See request.c. */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "channel/counters.h"
#include "channel/ledger.h"
#include "store/store.h"

/* FOREIGN: everything goes to libfuse. NODE: position by handle, offsets ignored. FILE: offsets. */
enum request_kind { REQUEST_FOREIGN, REQUEST_NODE, REQUEST_FILE };

/* One worker's room for a message. `head` and `body` are contiguous: a message that was received
 * whole lies there as the kernel wrote it. */
struct request_room {
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
int request_room_init(struct request_room *room, size_t payload_max, struct ledger *ledger,
                      unsigned number);
/* Puts a message into the room that is kept elsewhere, with its journal: its length. */
size_t request_lend(struct request_room *room, const void *message, struct journal *journal);
void request_room_free(struct request_room *room);

/* Receives one message: its length, or -errno. 0: the peer closed. */
ssize_t request_receive(struct request_room *room, int fd, enum request_kind kind);
/* Of a message that the door let in (door.c): answers it in C: true. False: it is libfuse's, and lies
 * whole in room->message. */
bool request_answer(struct request_room *room, int fd, enum request_kind kind, size_t length);
/* Between these the message of the room is worked on by the calling thread. */
void request_begin(struct request_room *room, size_t length);
void request_end(struct request_room *room);
/* The calling thread's message will be worked on by another: NULL, or where it outlives the process
 * till then the journal of its slot. `error`: 0, or why that cannot be. */
struct journal *request_keep(int *error);
bool request_is_greeting(const struct request_room *room);
/* Answers a message of `length` bytes with an error, if that can be done and is waited for. */
void request_refuse(const struct request_room *room, int fd, size_t length, int error);
/* Answers a POLL. */
void request_answer_poll(const struct request_room *room, int fd, uint32_t events);
/* Of a READ that was admitted: answers it as request_answer would, but for `bits` bits. */
void request_answer_read_flipped(struct request_room *room, int fd, enum request_kind kind,
                                 uint32_t bits, uint64_t dice);
/* Of a READ or WRITE: it is of `bytes` bytes only, fewer than it was. The message's length. */
size_t request_cut(struct request_room *room, uint32_t bytes, size_t length);
/* Of a WRITE: `bits` bits of its payload change. */
void request_flip(struct request_room *room, uint32_t bits, uint64_t dice);
/* When one begins: 0: it need not be timed. */
uint64_t request_time(const struct request_room *room, enum request_kind kind);
/* Of one that was answered in C: counts it, if it was a READ or WRITE. */
void request_count(struct request_room *room, struct counters *counters, uint64_t begun_ns);
uint32_t request_opcode(const struct request_room *room);
uint64_t request_unique(const struct request_room *room);
uint64_t request_node(const struct request_room *room);
/* What follows the header. */
const void *request_body(const struct request_room *room);
uint32_t request_pid(const struct request_room *room); /* the calling thread */
bool request_closes(const struct request_room *room);  /* an open file's last descriptor */

#endif
