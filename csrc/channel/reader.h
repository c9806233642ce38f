/* reader: one request, waited for, received and answered. See reader.c. */
#ifndef READER_H
#define READER_H

#include "channel/roster.h"

/* Takes the next request: 1; 0: there was none; or -errno: there will be none. `busy`: the one before
 * was just now, so that it pays to look for the next awake. */
int reader_turn(struct worker *worker, bool busy);
/* The same for a worker that placement does not know. */
int reader_take(struct worker *worker);
/* A message that is in the room: answered, refused, or made a call. */
void reader_process(struct workers *workers, struct room *room, size_t length,
                    _Atomic uint64_t *answered);
/* What was received is a signal, or a request that was withdrawn. */
bool reader_is_nothing(ssize_t length);

#endif
