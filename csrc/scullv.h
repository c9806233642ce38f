/* scullv.h: all that Python sees of the C side. The text between the marks is also cffi's cdef, so
 * it keeps to what cffi parses: no macros with arguments, no includes, no attributes.
 *
 * Functions return 0 or more, or -errno. Pointers that *_new and *_open return are the caller's,
 * to be given back once by *_free or *_close. */
#ifndef SCULLV_H
#define SCULLV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Marks a function written in Python; for cffi _build.py puts `extern "Python+C"` in its place. */
#define SCULLV_PYTHON extern


/* cdef: begin */

/* --- budget.c: a limit shared by stores, in bytes ------------------------------------------- */
struct budget;
struct budget *budget_new(uint64_t max_bytes); /* NULL: no memory */
void budget_free(struct budget *budget);
uint64_t budget_used(const struct budget *budget); /* bytes now held */
/* From here on the file system of `fd` keeps the limit, and says what of it is used. `fd` is the
 * budget's. */
void budget_follow(struct budget *budget, int fd);
/* A tmpfs of so many bytes that is mounted nowhere: a descriptor of it, for openat(2). -errno.
 * `huge`: with large pages, where the kernel has them. */
int tmpfs_open(uint64_t max_bytes, bool huge);

/* --- store.c: the bytes of one device -------------------------------------------------------- */
struct store;
struct store_info {
    uint64_t size;         /* bytes: one past the last byte written, or as resized */
    uint64_t quantum;      /* bytes of one quantum */
    uint64_t region_bytes; /* a quantum rounded up to pages */
    uint64_t resident;     /* bytes of memory that the quanta have */
    uint64_t index_bytes;  /* memory of the index itself */
    uint32_t qset;         /* quanta of one quantum set */
    uint64_t changes;      /* counts writes, trims, punches, changes of size */
    uint64_t changed_ns;   /* when the last that a watch was there for was, ns since 1970; or 0 */
    uint64_t cuts;         /* counts what may have made the store shorter */
};
struct store *store_new(struct budget *budget, uint64_t quantum, uint32_t qset); /* NULL: errno */
/* A store whose bytes are those of the file `fd` from `offset` on; `fd` is the store's, on failure too.
 * `fixed`: bytes of a device that does not grow, and keeps them when it is trimmed; 0: it grows.
 * `limited`: the budget is charged for what the file has; else its file system keeps the limit. */
struct store *store_new_file(struct budget *budget, uint64_t quantum, uint32_t qset, int fd,
                             uint64_t offset, uint64_t fixed, bool limited); /* NULL: errno */
void store_free(struct store *store); /* gives the maker's reference back */
/* Empties the store, gives its memory back and adopts the geometry. -ENOMEM, -EINVAL: unchanged. */
int store_trim(struct store *store, uint64_t quantum, uint32_t qset);
int store_punch(struct store *store, uint64_t offset, uint64_t length);
int store_resize(struct store *store, uint64_t size); /* -EFBIG past 2^63-1 */
/* Gives every quantum of the range memory; grows the size unless `keep_size`. -ENOSPC. */
int store_allocate(struct store *store, uint64_t offset, uint64_t length, bool keep_size);
/* SEEK_DATA (`hole` false) and SEEK_HOLE. The offset, or -ENXIO past the end. */
int64_t store_seek_extent(struct store *store, uint64_t offset, bool hole);
void store_get_info(struct store *store, struct store_info *info);
uint64_t store_count_quanta(struct store *store); /* that have memory */
/* What was written is where it outlives a power cut, if it is a file on a disk. -ENOSYS: it is none. */
int store_sync(struct store *store);
int store_descriptor(const struct store *store); /* the file that it is; borrowed. -1: none */
/* For whoever changes the store otherwise than through the file view, before and after: pages that
 * the kernel has of the range are written back and dropped. Not while holding any lock. */
void store_tell_watch(struct store *store, uint64_t offset, uint64_t length);
/* The first quantum >= `from` that has memory; its region's byte offset in the arena.
 * 1, or 0 where there is none. */
int store_next_quantum(struct store *store, uint64_t from, uint64_t *number, uint64_t *offset);
/* Copies. Bytes moved, or -ENOSPC, -EFBIG. */
int64_t store_read(struct store *store, uint64_t offset, void *data, uint64_t length);
int64_t store_write(struct store *store, uint64_t offset, const void *data, uint64_t length);

/* --- words.c: what a process says last --------------------------------------------------------------- */
/* A fault's address is written to `fd`, before whoever heeded its signal until now heeds it. */
void last_words(int fd);

/* --- confine.c: what a process may not do any more ------------------------------------------------------- */
/* The calling thread and those that it starts gain no privilege, and are killed (SIGSYS) where they would
 * become another program or look into one. 0 or -errno. */
int confine(void);

/* --- canary.c: how others learn at once that this process is being killed ------------------------------ */
/* Whoever has the other end of `fd` sees its end when the process begins to end. `fd` is closed in the
 * rest of the process. 0 or -errno. */
int canary_start(int fd);

/* --- state.c: what outlives a worker -------------------------------------------------------------- */
struct state;
/* A file without a name with room for so much, all zeros: its descriptor, or -errno. */
int state_create(uint32_t devices, uint32_t channels);
struct state *state_open(int fd); /* NULL, errno EPROTO: it is none, or of another version */
void state_close(struct state *state);
uint32_t state_version(void);
/* The pending parameters, in Python's coding. False: they were never set. */
bool state_get_pending(struct state *state, uint64_t *value);
/* In an ioctl: they were `before`. One that is replayed, by a worker after the one that died, finds
 * what they were, and is not to set them again. */
void state_set_pending(struct state *state, uint64_t before, uint64_t value);
bool state_replays_pending(uint64_t *before);
/* For tests: how many kill points this build has (base/killpoint.h), 0: none; the calling process
 * heeds them from here on. The next to come by `point` dies in this way (enum death). */
uint32_t state_kill_points(struct state *state);
void state_kill_at(struct state *state, uint32_t point, uint32_t death);
bool state_was_killed(const struct state *state);
/* The store's geometry, and what it counts, are those of the state from here on, under this number. */
void store_keep(struct store *store, struct state *state, uint32_t device);

/* --- ledger.c: what of a channel outlives its worker ------------------------------------------------ */
struct ledger;
struct handle;
struct open_file {
    uint64_t number, node; /* as of struct call */
    int32_t flags, pid;
    uint32_t uid, gid;
};
/* Of channel `place` in the state `fd`, which stays the caller's; -1: of this process alone. NULL: no
 * memory. It belongs to the channel that it is given to. `saves`: it is of a device in Python. */
struct ledger *ledger_new(int fd, uint32_t place, bool saves);
void ledger_free(struct ledger *ledger); /* of one that was given to no channel */
/* The worker before has died: what it left free may be used. channel_take_over does it. */
void ledger_begin(struct ledger *ledger);
/* After a death: what requests were about to move is moved. Before anything else of this process looks
 * at positions and parameters. */
void ledger_settle(struct ledger *ledger, struct state *state);
/* Open files that a worker before has left: from entry 0 on, each once. False: no more. */
bool ledger_next_open(struct ledger *ledger, uint32_t *entry, struct open_file *found);
void ledger_attach(struct ledger *ledger, uint64_t number, struct handle *handle);
/* It is none's any more, and the handle is the caller's again. */
void ledger_disown(struct ledger *ledger, uint64_t number);
/* Where it saves: what the device (number 0) or an open file is from the next commit on, which an answer
 * of this thread makes, or ledger_commit; until then other threads wait. -EFBIG: it is too much. */
int ledger_save(struct ledger *ledger, uint64_t number, const void *data, size_t size);
void ledger_forget(struct ledger *ledger, uint64_t number);
void ledger_commit(struct ledger *ledger);
/* NULL: nothing is saved. */
const void *ledger_saved(struct ledger *ledger, uint64_t number, size_t *size);

/* --- handle.c: an open file: a store, the rules, a position ---------------------------------- */
struct handle *handle_new(struct store *store, bool ldd3); /* NULL: no memory */
void handle_free(struct handle *handle); /* gives the maker's reference back */
/* whence: SEEK_SET 0, SEEK_CUR 1, SEEK_END 2, SEEK_DATA 3, SEEK_HOLE 4. The position, or -EINVAL,
 * -ENXIO. */
int64_t handle_seek(struct handle *handle, int64_t offset, uint32_t whence);

/* --- filters.c: what befalls requests before they are answered ---------------------------------------- */
enum filter_kind {
    FILTER_ERROR,      /* error */
    FILTER_DELAY,      /* delay_ns, jitter_ns */
    FILTER_RATE,       /* bytes: a second */
    FILTER_SHORT,      /* bytes: of a READ or WRITE at most; 0: by chance */
    FILTER_READONLY,   /* error, of a WRITE, and of an OPEN for writing */
    FILTER_STUCK_POLL, /* nothing is ever ready */
    FILTER_CORRUPT,    /* bits: of a READ or WRITE, that change */
    FILTER_HANGUP      /* error, of all from then on */
};
struct filter_spec {
    uint32_t kind; /* enum filter_kind */
    uint32_t ops;  /* it concerns: 1 << enum call_kind, each */
    int32_t error; /* errno */
    uint32_t bits;
    uint64_t bytes, delay_ns, jitter_ns;
    uint64_t after_bytes, after_ns; /* it acts once so much has gone by */
    uint64_t count;  /* on so many requests; 0: without end */
    uint64_t chance; /* of 2^32 */
    uint64_t seed;   /* of that chance, and of all others */
    char file[256];  /* it acts while this is there; "": always */
    char text[480];  /* what was typed */
};
struct filter_seen {
    uint64_t number;
    uint64_t seen, acted; /* requests */
    uint32_t kind;
    char text[480];
};
struct filters;
/* Of device `place` in the state `fd`, which stays the caller's; -1: of this process alone, or of those that
 * it forks. NULL: no memory. Held by the channels that it is given to. */
struct filters *filters_new(int fd, uint32_t place);
void filters_free(struct filters *filters);
/* At the end. Its number, which is given once; or -ENOSPC. Clients may be at work. */
int64_t filters_add(struct filters *filters, const struct filter_spec *spec);
int filters_remove(struct filters *filters, uint64_t number); /* -ENOENT */
/* The first one whose number is larger than `after`. False: there is none. */
bool filters_next(struct filters *filters, uint64_t after, struct filter_seen *found);

/* --- upcall.c: one request on its way through Python -------------------------------------------- */
enum call_kind {
    CALL_OPEN,    /* flags */
    CALL_RELEASE, /* flags; the reply's errno is not seen by the client */
    CALL_READ,    /* size, offset, flags */
    CALL_WRITE,   /* data, offset, flags */
    CALL_IOCTL,   /* cmd, arg, ioctl_flags, data, out_size, flags */
    CALL_POLL,    /* poll: to be woken by call_notify_poll, or 0 */
    CALL_FSYNC,   /* flags */
    CALL_RESIZE,  /* file view: size wanted */
    CALL_REMOVE,  /* file view: the file `open` (an inode number) is unlinked */
    CALL_INTERRUPT, /* the client of call `id` got a signal; nothing to reply */
    CALL_HANGUP,  /* the channel ended by itself; nothing to reply */
    CALL_CROWDED, /* calls wait, and all threads are in handlers that wait; nothing to reply */
    CALL_REFUSED  /* cmd, size: the first message that was none; nothing to reply */
};
struct call {
    uint64_t id;   /* of this call in its channel; never 0 */
    uint64_t open; /* the open file, by its number; file view: see `node` */
    uint64_t node; /* file view: the inode */
    uint64_t offset, size;
    uint64_t arg;
    uint64_t poll; /* a poll handle's number; given back by call_drop_poll */
    const void *data; /* valid until the upcall returns */
    size_t data_size, out_size;
    uint32_t cmd, ioctl_flags;
    int32_t kind, flags;
    int32_t pid;
    uint32_t uid, gid;
    int32_t again; /* 1: it was running when a worker before this one died */
    int32_t refusal; /* errno that it is to be answered with after `delay_ns`; 0: by its handler */
    uint64_t delay_ns; /* of a channel that is pumped: before that it does not begin */
};
/* The upcall. `owner` is what the channel was opened with. Every call is answered
 * exactly once by a call_reply_*, from any thread, during the upcall or later, and answering takes it
 * back; but for INTERRUPT, HANGUP, CROWDED and REFUSED, which end with the upcall. */
SCULLV_PYTHON void python_call(void *owner, struct call *call);

/* 0: the client has its answer (or is gone, which is no error either). */
int call_reply_error(struct call *call, int error); /* errno > 0; 0: success, of RELEASE FSYNC … */
/* `number` (below 2^63) comes back as call->open. -errno (ENOENT: the client gave up): no release will
 * come. */
int call_reply_open(struct call *call, uint64_t number);
/* Of a channel with a data path, before its call_reply_open: the number for it. READ and WRITE of
 * this open file are answered in C by `handle`, which belongs to the channel from now on: it is freed
 * when the release is answered; where call_reply_open fails it is the caller's again. 0: too many files
 * are open. An OPEN with an `open` of its own has that number already, from a worker before. */
uint64_t call_take_handle(struct call *call, struct handle *handle);
int call_reply_data(struct call *call, const void *data, size_t size);         /* READ */
int call_reply_written(struct call *call, size_t size);                        /* WRITE */
int call_reply_ioctl(struct call *call, int result, const void *data, size_t size);
/* Unrestricted ioctls: ask the kernel to come again with these areas of client memory.
 * `areas`: pairs of (address, length), the `n_in` to copy in first, then `n_out`. */
int call_reply_retry(struct call *call, const uint64_t *areas, size_t n_in, size_t n_out);
int call_reply_poll(struct call *call, unsigned events);
int call_notify_poll(uint64_t poll); /* wakes who polls */
void call_drop_poll(uint64_t poll);

/* The handler of the call that this thread runs begins to wait for another: it is not one of the
 * channel's `callers` until call_resume, which returns when there is a turn for it. Nothing on other
 * threads. Thousands of handlers may wait so. Where handlers block in something else, and nothing is
 * answered for 50 ms while calls wait, more of them run, up to 1024. */
void call_pause(void);
void call_resume(void);

/* --- wake.c: system calls that end where their thread is woken ------------------------------------ */
/* This thread can be woken by the signal whose number this returns: by pthread_kill(3), repeated
 * until the call has ended, for it may come too early. */
int wake_prepare(void);
/* As the system calls, but -errno; -EINTR where the thread was woken before anything was done. */
int64_t wakeable_open(const char *path, int flags); /* with O_CLOEXEC */
int64_t wakeable_read(int fd, void *data, size_t size);
int64_t wakeable_write(int fd, const void *data, size_t size);
int64_t wakeable_ioctl(int fd, uint32_t command, uint64_t argument);

/* --- channel.c: workers on a channel ---------------------------------------------------------- */
enum placement_policy { PLACEMENT_NONE, PLACEMENT_FOLLOW, PLACEMENT_LIST };
struct channel_options {
    uint32_t threads;   /* that answer READ and WRITE in C; >= 1 */
    uint32_t callers;   /* calls that run in Python at once, but see call_pause; >= 1 */
    int32_t placement;  /* enum placement_policy */
    uint32_t cpus;      /* of `cpu` in use, with PLACEMENT_LIST */
    uint16_t cpu[64];
    int32_t spin_us;    /* poll for the next request so long before sleeping; -1: where it helps */
};
struct channel;
/* Takes the channel's end: 0, or -ETIMEDOUT, -EEXIST (the name is taken), -ENODEV (ended). */
int channel_wait_ready(struct channel *channel, uint32_t timeout_ms);
/* Ends the workers, then the channel; open calls must have been answered, or be answered never.
 * 0: no upcall is under way and none will come. -EBUSY: upcalls were still running after
 * `timeout_ms`; their clients have ECONNABORTED from the kernel, the memory is left to them. */
int channel_close(struct channel *channel, uint32_t timeout_ms);
uint64_t channel_requests(struct channel *channel); /* READ and WRITE answered in C */
/* What a channel has answered. latency[0]: in less than 2^10 ns, [i]: in less than 2^(10 + i), the last
 * one: all that took longer; their sum is the number of requests. The time is from where a request was
 * received to its answer, without the kernel's part of both. */
#define COUNTED_BUCKETS 28
#define COUNTED_IOCTLS 64
struct counted {
    uint64_t bytes; /* of payload, both ways */
    uint64_t errors;
    uint64_t ns; /* that all took together */
    uint64_t latency[28];
};
/* `kind`: of enum call_kind, up to CALL_REMOVE. */
void channel_count(struct channel *channel, int32_t kind, struct counted *sum);
/* The same by command, of the first 64 that the device knew: `index` 0 … 63. False: none there. */
bool channel_count_ioctl(struct channel *channel, uint32_t index, uint32_t *cmd,
                         struct counted *sum);
/* Where its workers run, in a word: "none" (anywhere), "list", or what is in force now, "follow", "spin",
 * "spinners", "crew", "free", "idlers", "pairs" (placement.c). */
const char *channel_placement(struct channel *channel);
uint32_t channel_under_way(struct channel *channel); /* calls into Python that are not answered */
/* Of a channel that was opened: what a worker process before has left is finished. Nothing before it looks
 * at what that one may still change. 0; -errno: channel_close follows. */
int channel_take_over(struct channel *channel);
/* Once: it serves from now on; takes over first, unless that was done. 0; -errno: channel_close follows. */
int channel_begin(struct channel *channel);
/* Of a channel that is pumped, before the first channel_pump: runs what a worker process before has left.
 * 0, -errno. */
int channel_resume(struct channel *channel);
/* Of a channel that is pumped: takes one request, if there is one, and runs its call on this thread.
 * 1; 0: there was none; -ENODEV: the channel has ended. */
int channel_pump(struct channel *channel);

/* --- cuse.c: a channel that is a character device --------------------------------------------- */
struct cuse_setup {
    const char *name; /* of the node, below /dev */
    uint32_t major, minor; /* 0: the kernel's choice */
    bool unrestricted;     /* ioctls may name any memory of the client */
    bool data_path;        /* open files have handles: READ and WRITE are answered in C */
    bool interruptible;    /* with `data_path`: calls may last, so that their clients' signals matter */
    bool pumped;           /* no threads: whoever sees `fd` readable calls channel_pump */
    struct ledger *ledger; /* NULL: Python numbers open files; the channel's, on failure too */
    struct filters *filters; /* held by the channel; NULL: there will be none */
};
/* A channel to serve the device on `fd`, an open /dev/cuse or a SEQPACKET socket that speaks the same,
 * which channel_begin does. `fd` is the channel's from here on, and closed by a failure as by the end.
 * NULL with errno set. */
struct channel *cuse_open(int fd, const struct cuse_setup *setup,
                          const struct channel_options *options, void *owner);

const char *cuse_library_version(void); /* of the libfuse that is there */

/* --- fileview.c: a channel that is a FUSE file system, with a file for each store -------------- */
#define VIEW_TEXT 2  /* the node of the text that Python makes; the directory is 1 */
#define VIEW_FIRST 3 /* of the first store's file; the others follow in order */
struct fileview_file {
    const char *name;
    struct store *store; /* held by the view */
    struct filters *filters; /* held by the channel; NULL: there will be none */
};
struct fileview_setup {
    const struct fileview_file *files;
    uint32_t n_files;
    const char *text_name; /* NULL: no text */
    /* A SEQPACKET socket to whoever looks up a name that is sent after a number (uint64_t), and returns the
     * number then; the channel's, on failure too. -1: it is mounted nowhere. */
    int looker;
    struct budget *budget; /* what statfs tells; held by the view */
    uint32_t uid, gid;     /* of everything */
    uint32_t mode;         /* of the stores' files: permission bits */
    bool passthrough;      /* stores that are files: the kernel does their I/O where it can */
    struct ledger *ledger; /* of its open files; the channel's, on failure too */
};
/* A channel to serve files on `fd`, which is mounted already or a SEQPACKET socket that speaks the same,
 * which channel_begin does; the channel owns it, on failure too. NULL with errno set. Of its calls, OPEN RELEASE IOCTL RESIZE
 * REMOVE name their `node`; they are run one at a time. OPEN gives every file a handle. */
struct channel *fileview_open(int fd, const struct fileview_setup *setup,
                              const struct channel_options *options, void *owner);
/* Once it is ready. Whether the kernel can read and write files without asking. */
bool fileview_can_pass(struct channel *channel);
/* Hands it `file` for that, of the view whose requests come by `fd`: its number for it, or -errno.
 * EPERM: that needs CAP_SYS_ADMIN. */
int fileview_hand_over(int fd, int file);
int store_file(const struct store *store); /* what is to be handed over; borrowed. -1: nothing */
/* What the kernel was handed, a number for each store or 0. No open is answered before. */
void fileview_settle(struct channel *channel, const int32_t *passed);
/* The stores no longer tell the view of changes. Before channel_close, while calls are answered. */
void fileview_forget(struct channel *channel);
/* mount(2) and umount2(2), for who may. Options: of a fuse mount, "fd=" among them. */
int fileview_mount(const char *directory, const char *options);
int fileview_unmount(const char *directory, bool lazy);

/* cdef: end */

#endif
