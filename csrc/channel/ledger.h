/* ledger: what of a channel outlives its worker: open files, messages under way. See ledger.c. */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "recover/journal.h"
#include "scullv.h"

struct handle;

#define LEDGER_ROOM ((size_t)4096 + ((size_t)1 << 20)) /* bytes of a message, at most */
#define LEDGER_MESSAGE ((size_t)4096 - 80)              /* where in a room a message begins */
#define LEDGER_ROOMS 64u                               /* of threads that read */
#define LEDGER_CALLS 4096u                             /* calls that wait or run, at most */
#define LEDGER_CALL ((size_t)1192)                     /* bytes of the message of one */
#define LEDGER_GREETING ((size_t)256)                  /* bytes of INIT, at most */

bool ledger_outlives(const struct ledger *ledger); /* else it is of this process alone */

/* --- the beginning of the channel ---------------------------------------------------------------- */

/* Keeps the kernel's INIT. */
void ledger_keep_greeting(struct ledger *ledger, const void *message, size_t length);
void ledger_set_greeted(struct ledger *ledger); /* … which has been answered */
/* The INIT that a worker before has answered: its length; 0: none has. */
size_t ledger_greeting(const struct ledger *ledger, void *message);

/* --- open files ---------------------------------------------------------------------------------- */

/* A number for the handle, which is the ledger's now, even and not 0. 0: there are too many. */
uint64_t ledger_open(struct ledger *ledger, struct handle *handle, const struct call *call);
/* The handle of a number; NULL: it is none's. */
struct handle *ledger_handle(const struct ledger *ledger, uint64_t file);
/* The open file has gone, and the handle is freed. */
void ledger_close(struct ledger *ledger, uint64_t file);
/* Forgets it, and the handle is the caller's again. */
void ledger_disown(struct ledger *ledger, uint64_t file);

/* --- messages under way --------------------------------------------------------------------------- */

/* Of a reader's number: where it receives, `bytes` (LEDGER_ROOM at most). NULL: not kept. */
void *ledger_room(struct ledger *ledger, unsigned number, size_t bytes);
struct journal *ledger_journal(struct ledger *ledger, unsigned number); /* NULL: not kept */
/* Of a call that will be run by another thread: the message (from the journal of this thread) is kept
 * in a slot, whose journal goes to `kept`; NULL where nothing outlives the process. 0, or -EMSGSIZE: too
 * long to be kept, -ENOBUFS: no slot. */
int ledger_keep_call(struct ledger *ledger, const void *message, size_t length,
                     struct journal **kept);
/* The calling thread begins with the call that lies in the slot of `journal`. */
void ledger_begin_call(struct journal *journal);
void ledger_drop_call(struct ledger *ledger, struct journal *journal); /* answered */

/* What was under way when the worker before died: each message once, calls first, INTERRUPTs last,
 * with its journal. The cells that they were to move have been moved. */
void ledger_each(struct ledger *ledger,
                 void (*found)(void *arg, const void *message, struct journal *journal),
                 void *arg);

#endif
