/* What Python would be: answers to the calls of a channel, in C. */
#ifndef PLAYED_H
#define PLAYED_H

#include <pthread.h>
#include <stdatomic.h>

#define PLAYED_QUANTUM 4096u
#define PLAYED_STORES 2u
#define PLAYED_FILES 64u

enum { CMD_SEEK = 0x101, CMD_TRIM, CMD_PUNCH, CMD_WAIT, CMD_LATER };

struct played {
    struct store *store[PLAYED_STORES];
    bool foreign;
    atomic_uint numbers, hung_up, late;
    /* Of a channel whose calls one thread runs: by number; handles that the channel has. */
    struct {
        uint64_t number;
        struct handle *handle;
    } file[PLAYED_FILES];
};

static inline struct store *played_store(struct played *played, const struct call *call)
{
    return played->store[call->node > VIEW_FIRST ? 1 : 0];
}

static inline struct handle **played_file(struct played *played, uint64_t number)
{
    unsigned i = 0;

    while (i < PLAYED_FILES && played->file[i].number != number)
        i++;
    assert_true(i < PLAYED_FILES);
    if (!number)
        return NULL;
    return &played->file[i].handle;
}

static inline void played_open(struct played *played, struct call *call)
{
    struct handle *handle;
    uint64_t number;
    unsigned i = 0;

    if (played->foreign) {
        call_reply_open(call, ++played->numbers);
        return;
    }
    handle = handle_new(played_store(played, call), false);
    number = handle ? call_take_handle(call, handle) : 0;
    if (!number) {
        handle_free(handle);
        call_reply_error(call, ENOMEM);
        return;
    }
    while (i < PLAYED_FILES && played->file[i].number)
        i++;
    assert_true(i < PLAYED_FILES);
    played->file[i].number = number;
    played->file[i].handle = handle;
    if (call_reply_open(call, number) == 0)
        return;
    played->file[i].number = 0;
    handle_free(handle);
}

static inline void played_release(struct played *played, struct call *call)
{
    for (unsigned i = 0; !played->foreign && i < PLAYED_FILES; i++)
        if (played->file[i].number == call->open)
            played->file[i].number = 0;
    call_reply_error(call, 0);
}

static inline void *played_later(void *arg)
{
    call_reply_ioctl(arg, 0, NULL, 0);
    return NULL;
}

/* An answer of another thread, after the upcall. */
static inline void played_leave(struct played *played, struct call *call)
{
    pthread_t thread;

    played->late++;
    pthread_create(&thread, NULL, played_later, call);
    pthread_detach(thread);
}

static inline void played_ioctl(struct played *played, struct call *call)
{
    struct store *store = played_store(played, call);
    int error = 0;

    switch (call->cmd) {
    case CMD_SEEK:
        handle_seek(*played_file(played, call->open), (int64_t)call->arg, SEEK_SET);
        break;
    case CMD_TRIM:
        error = -store_trim(store, PLAYED_QUANTUM, 10);
        break;
    case CMD_PUNCH:
        error = -store_punch(store, call->arg, PLAYED_QUANTUM);
        break;
    case CMD_WAIT:
        call_pause();
        usleep(100);
        call_resume();
        break;
    case CMD_LATER:
        played_leave(played, call);
        return;
    default:
        error = ENOTTY;
    }
    if (error)
        call_reply_error(call, error);
    else
        call_reply_ioctl(call, 0, NULL, 0);
}

static inline void played_poll(struct call *call)
{
    const uint64_t poll = call->poll;

    call_reply_poll(call, 1);
    if (poll) {
        call_notify_poll(poll);
        call_drop_poll(poll);
    }
}

void python_call(void *owner, struct call *call)
{
    static const uint8_t zeros[KERNEL_DATA];
    struct played *played = owner;

    switch (call->kind) {
    case CALL_OPEN:
        played_open(played, call);
        break;
    case CALL_RELEASE:
        played_release(played, call);
        break;
    case CALL_READ:
        call_reply_data(call, zeros, call->size < sizeof(zeros) ? call->size : sizeof(zeros));
        break;
    case CALL_WRITE:
        call_reply_written(call, call->data_size);
        break;
    case CALL_IOCTL:
        played_ioctl(played, call);
        break;
    case CALL_POLL:
        played_poll(call);
        break;
    case CALL_RESIZE:
    case CALL_REMOVE:
        call_reply_error(call, -store_trim(played_store(played, call), PLAYED_QUANTUM, 10));
        break;
    case CALL_HANGUP:
        played->hung_up++;
        break;
    default: /* INTERRUPT, CROWDED, REFUSED: nobody waits */
        break;
    }
}

#endif
