/* files: what a file view shows: a file for each store, the directory, the text. See files.c. */
#ifndef FILES_H
#define FILES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

#include <fuse_lowlevel.h>

#include "channel/upcall.h"
#include "store/store.h"
#include "view/invalidate.h"

struct view_file {
    struct fileview *view;
    fuse_ino_t ino;
    char *name;
    struct store *store; /* held */
    struct store_watch watch;
    int32_t backing_id;     /* the kernel's, of the file that it does I/O on itself; 0: it asks us */
    atomic_uint opens;      /* open files that the kernel has; a mapping keeps its file open */
    atomic_bool missed;     /* the kernel was not told of a change: a call held what it needed */
    _Atomic uint64_t size, cuts; /* of struct store_info: what the kernel was shown last */
    pthread_mutex_t lock;
    struct timespec accessed, modified, changed; /* lock */
    uint64_t seen;                               /* lock; store_info.changes they belong to */
};

struct fileview {
    struct channel *channel;
    struct fuse_session *session;
    struct ledger *ledger; /* the channel's */
    struct budget *budget; /* held */
    uint32_t uid, gid, mode;
    struct timespec born; /* when it began */
    char *text_name; /* NULL: there is no text file */
    uint32_t n_files;
    struct view_file *files;
    struct invalidator invalidator;
    bool invalidates; /* there is a thread for it, or was */
    bool watching, forgotten; /* told by the stores; not any more */
    unsigned kernel_minor; /* set by INIT: of its protocol */
    bool is_seen;         /* what libfuse sends can be amended */
    bool mmap_direct;     /* set by INIT: direct I/O and shared mappings go together */
    bool passthrough;     /* wanted; after INIT: the kernel knows it */
    pthread_mutex_t settling;
    pthread_cond_t is_settled;
    bool settled; /* settling; the backing_ids are what they will be */
};

struct fileview *view_of(fuse_req_t req);
struct view_file *view_find(struct fileview *view, fuse_ino_t ino); /* NULL: no device's */
/* A call about `ino`, or NULL: `req` is answered already. */
struct call *view_call(fuse_req_t req, enum call_kind kind, fuse_ino_t ino,
                       const struct fuse_file_info *fi);
/* A store_watch: told by the store, before and after. */
void view_store_changes(void *file, uint64_t offset, uint64_t length);
/* Changes to the store that the calling thread makes for the kernel, which knows what they do to
 * its pages: it is not told. Between begin and end nothing but the store is called. */
void view_begin_own(void);
void view_end_own(void);
/* A call that the kernel holds locks for: view_hold before it is submitted, view_release (on the
 * thread that runs calls) after it was answered. */
void view_hold(struct fileview *view, enum invalidate_hold what);
void view_release(struct fileview *view, enum invalidate_hold what);

#endif
