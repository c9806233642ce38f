/* saved: what a device in Python has saved, and the answers that go with it. See saved.c. */
#ifndef SAVED_H
#define SAVED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define SAVED_CALLS 1024u                                  /* calls that wait or run, at most */
#define SAVED_FILES 32768u                                 /* open files, at most */
#define SAVED_BYTES ((size_t)640 << 20)                    /* of the state that it takes */
#define SAVED_MESSAGE ((size_t)4096 + ((size_t)128 << 10)) /* bytes of a message or an answer */

struct saved;

struct saved *saved_open(int fd, uint64_t offset); /* in the state; NULL: no memory */
void saved_close(struct saved *saved);
/* After a death: what was put, and not committed, will not count. Of so many entries and calls. */
void saved_settle(struct saved *saved, uint32_t files, uint32_t calls);

/* A message that is too long for its slot lies here. */
uint8_t *saved_message(struct saved *saved, uint32_t call);

/* What counts from the next commit on: of the device (number 0), or of an open file. -EFBIG. */
int saved_put(struct saved *saved, uint64_t number, uint32_t entry, const void *data, size_t size);
/* Nothing is saved of the open file any more. */
void saved_forget(struct saved *saved, uint64_t number, uint32_t entry);
void saved_commit(struct saved *saved);
/* Of the last commit; NULL: nothing. */
const void *saved_get(const struct saved *saved, uint64_t number, uint32_t entry, size_t *size);

/* The call begins to run. Whether it did so before, in a worker that died. */
bool saved_begin(struct saved *saved, uint32_t call, uint64_t unique);
/* Its answer, which is committed with all that was put before. */
void saved_answer(struct saved *saved, uint32_t call, uint64_t unique, const struct iovec *iov,
                  int count);
/* The answer that was committed; its length; 0: none was. */
size_t saved_answered(const struct saved *saved, uint32_t call, uint64_t unique,
                      const void **answer);
/* Its client was interrupted; whether he was. */
void saved_interrupt(struct saved *saved, uint32_t call, uint64_t unique);
bool saved_is_interrupted(const struct saved *saved, uint32_t call, uint64_t unique);

#endif
