/* killpoint: places at which a test lets a worker die. Nothing, but in test builds (-DKILL_POINTS). */
#ifndef KILLPOINT_H
#define KILLPOINT_H

/* In the order in which a request comes by them. */
enum kill_point {
    KILL_NOWHERE,
    KILL_TAKEN,      /* the message has been read, and nothing done */
    KILL_UNRECORDED, /* a step is done, which the journal does not know yet */
    KILL_RECORDED,   /* it knows */
    KILL_UNMOVED,    /* a cell is about to be moved */
    KILL_HALF_MOVED, /* its value is new, its count is not */
    KILL_MOVED,
    KILL_OPENED,     /* an open file is in the table, and its client does not know */
    KILL_KEPT,       /* a call is in two places: its room and a slot of its own */
    KILL_QUEUED,     /* a call waits for its thread */
    KILL_UNANSWERED, /* all is done but the answer */
    KILL_ANSWERED,   /* the client has it, the slot still has the message */
    KILL_CLOSED,     /* an open file is gone from the table, its release is not answered */
    KILL_UNCOMMITTED, /* a device in Python has saved what it is, which does not count yet */
    KILL_COMMITTED,   /* it does, and the client does not know */
    KILL_POINTS_END
};

/* What a worker dies of. */
enum death { DEATH_BY_SIGNAL, DEATH_BY_WILD_WRITE, DEATH_BY_EXEC };

#ifdef KILL_POINTS
/* Dies here if this is the point that was asked for, once. */
void kill_point(enum kill_point point);
#define KILL_POINT(point) kill_point(point)
#else
#define KILL_POINT(point) ((void)0)
#endif

#endif
