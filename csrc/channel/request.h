/* request: READ and WRITE answered in C. See request.c. */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "channel/counters.h"
#include "channel/room.h"

/* Of a message that the door let in (door.c): answers it in C: true. False: it is libfuse's, and lies
 * whole in room->message. */
bool request_answer(struct room *room, int fd, enum request_kind kind, size_t length);
/* Answers a message of `length` bytes with an error, if that can be done and is waited for. */
void request_refuse(const struct room *room, int fd, size_t length, int error);
/* Answers a POLL. */
void request_answer_poll(const struct room *room, int fd, uint32_t events);
/* Of a READ that was admitted: answers it as request_answer would, but for `bits` bits. */
void request_answer_read_flipped(struct room *room, int fd, enum request_kind kind,
                                 uint32_t bits, uint64_t dice);
/* When one begins: 0: it need not be timed. */
uint64_t request_time(const struct room *room, enum request_kind kind);
/* Of one that was answered in C: counts it, if it was a READ or WRITE. */
void request_count(struct room *room, struct counters *counters, uint64_t begun_ns);

#endif
