/* request: READ and WRITE answered in C. See request.c. */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/store.h"

/* FOREIGN: everything goes to libfuse. NODE: position by handle, offsets ignored. FILE: offsets. */
enum request_kind { REQUEST_FOREIGN, REQUEST_NODE, REQUEST_FILE };

/* One worker's room for a message. `head` and `body` are contiguous: a message that was received
 * whole lies there as the kernel wrote it. */
struct request_room {
    uint8_t *message;   /* body - REQUEST_HEAD */
    uint8_t *body;      /* page aligned, payload_max bytes */
    size_t payload_max; /* bytes */
    struct store *expect; /* held; whose next write is expected, or NULL */
    struct spares spares; /* quanta laid out for it */
    size_t expect_bytes;  /* how long that write is expected to be */
    size_t laid;          /* bytes that the last receive had room for in spares */
};
#define REQUEST_HEAD 80u /* fuse_in_header + fuse_write_in */

int request_room_init(struct request_room *room, size_t payload_max);
void request_room_free(struct request_room *room);

/* Receives one message: its length, or -errno. 0: the peer closed. */
ssize_t request_receive(struct request_room *room, int fd, enum request_kind kind);
/* Of a message that the door let in (door.c): answers it in C: true. False: it is libfuse's, and lies
 * whole in room->message. */
bool request_answer(struct request_room *room, int fd, enum request_kind kind, size_t length);
/* Answers a message of `length` bytes with an error, if that can be done and is waited for. */
void request_refuse(const struct request_room *room, int fd, size_t length, int error);
uint32_t request_opcode(const struct request_room *room);
uint32_t request_pid(const struct request_room *room); /* the calling thread */
bool request_closes(const struct request_room *room);  /* an open file's last descriptor */

#endif
