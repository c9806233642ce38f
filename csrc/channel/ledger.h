/* ledger: what of a channel outlives its worker. See ledger.c (open files) and under_way.c (messages). */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "recover/journal.h"
#include "scullv.h"

struct handle;

#define LEDGER_ROOM ((size_t)4096 + ((size_t)1 << 20)) /* bytes of a message, at most */
#define LEDGER_MESSAGE ((size_t)4096 - 80)              /* where in a room a message begins */
#define LEDGER_ROOMS 496u                              /* of threads that read, at most */
#define LEDGER_CALLS 4096u                             /* calls that wait or run, at most */
#define LEDGER_RESERVED 64u                            /* of those, for RELEASE alone */
#define LEDGER_CALL ((size_t)1192)                     /* bytes of the message of one */
#define LEDGER_GREETING ((size_t)256)                  /* bytes of INIT, at most */

bool ledger_outlives(const struct ledger *ledger); /* else it is of this process alone */
bool ledger_saves(const struct ledger *ledger);    /* it is of a device in Python (saved.c) */

/* --- the beginning of the channel ---------------------------------------------------------------- */

/* Keeps the kernel's INIT. */
void ledger_keep_greeting(struct ledger *ledger, const void *message, size_t length);
void ledger_set_greeted(struct ledger *ledger); /* … which has been answered */
/* The INIT that a worker before has answered: its length; 0: none has. */
size_t ledger_greeting(const struct ledger *ledger, void *message);

/* --- open files ---------------------------------------------------------------------------------- */

/* A number for the handle, which is the ledger's now, even and not 0. 0: there are too many. */
uint64_t ledger_open(struct ledger *ledger, struct handle *handle, const struct call *call);
/* The handle of a number; NULL: it is none's. Borrowed: nobody closes the file meanwhile. */
struct handle *ledger_handle(const struct ledger *ledger, uint64_t file);
/* The same for whoever cannot know that: it stays until handle_free. */
struct handle *ledger_hold(struct ledger *ledger, uint64_t file);
bool ledger_is_of(const struct ledger *ledger, uint64_t file, uint64_t node); /* opened there */
/* The open file has gone, and the handle is freed. False: it had gone before, or was never there. */
bool ledger_close(struct ledger *ledger, uint64_t file);

/* --- messages under way --------------------------------------------------------------------------- */

/* Of a reader's number: where it receives, `bytes` (LEDGER_ROOM at most). NULL: not kept. */
void *ledger_room(struct ledger *ledger, unsigned number, size_t bytes);
/* Has the first so many in the page tables, while another process may still use them. */
void ledger_warm_rooms(struct ledger *ledger, unsigned rooms, size_t bytes);
struct journal *ledger_journal(struct ledger *ledger, unsigned number); /* NULL: not kept */
/* Of a call that will be run by another thread: the message (from the journal of this thread) is kept
 * in a slot, whose journal goes to `kept`; NULL where nothing outlives the process. 0, or -EMSGSIZE: too
 * long to be kept, -ENOBUFS: no slot. */
int ledger_keep_call(struct ledger *ledger, const void *message, size_t length,
                     struct journal **kept);
/* The calling thread begins with the call that lies in the slot of `journal`. Where the ledger saves:
 * whether it began before, in a worker that died. */
bool ledger_begin_call(struct ledger *ledger, struct journal *journal);
/* The answer, as it is sent; from here on it is the one that the client gets. */
void ledger_answer_call(struct ledger *ledger, struct journal *journal, const struct iovec *iov,
                        int count);
/* … which a worker before may have got to: its length, or 0. Nothing where the ledger saves nothing. */
size_t ledger_answered_call(const struct ledger *ledger, const struct journal *journal,
                            const void **answer);
/* The client of this call was interrupted. Nothing where it is not kept. */
void ledger_interrupt_call(struct ledger *ledger, uint64_t unique);
void ledger_drop_call(struct ledger *ledger, struct journal *journal); /* answered */

/* Open files that are polled by somebody: from entry 0 on. 0: no more; else what the kernel knows the
 * poll by. Their clients ask again. */
uint64_t ledger_next_poll(struct ledger *ledger, uint32_t *entry);
/* What was under way when the worker before died: each message once, INIT first, then calls, INTERRUPTs
 * last (also those of calls that the worker before had heard of), with its journal. The cells that they
 * were to move have been moved. */
void ledger_each(struct ledger *ledger,
                 void (*found)(void *arg, const void *message, struct journal *journal),
                 void *arg);

#endif
