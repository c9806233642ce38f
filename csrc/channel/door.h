/* door: every message is checked here once, before anything else looks at it. See door.c. */
#ifndef DOOR_H
#define DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which kernel is behind the channel: fs/fuse/cuse.c or fs/fuse. */
enum door_side { DOOR_CUSE, DOOR_FUSE };

/* Of a message of `length` bytes, the first 80 of which are at `head` (as many as there are): 0, or
 * -EPROTO: its sizes lie; -ENOSYS: no message for this side, or one that nobody here knows. */
int door_check(const void *head, size_t length, enum door_side side);
/* Of a message that door_check let pass and that lies whole at `message`: 0, or -EPROTO: a name in it
 * does not end. */
int door_check_names(const void *message, size_t length);
/* Whether the kernel waits for an answer to it. */
bool door_is_answered(const void *head);

#endif
