/* filter: one thing that befalls requests, and when it does. See filter.c. */
#ifndef FILTER_H
#define FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "scullv.h"

/* What a filter is told of a request. */
struct filtered {
    enum call_kind kind;
    uint64_t bytes;  /* of a READ or WRITE */
    int32_t flags;   /* of an OPEN */
    uint64_t now_ns; /* monotonic; filters_judge looks at the clock */
    bool again;      /* a worker before this one had it already: chance has had its say */
};

/* What all filters together make of it. */
struct verdict {
    int32_t error;     /* errno that it is answered with; 0: it goes on */
    bool hung, stuck;  /* a POLL is answered with POLLHUP and POLLERR, or with nothing */
    uint64_t delay_ns; /* not before so long, */
    uint64_t changes;  /* or until filters change; so often they had (waits.h) */
    uint64_t bytes;    /* of a READ or WRITE, at most */
    uint32_t bits;     /* that change on the way; which ones comes of `dice` */
    uint64_t dice;
};

/* A filter and what it has come to. */
struct filter {
    _Atomic uint64_t number; /* 0: there is none in this place; they count up in order */
    struct filter_spec spec;
    uint64_t seen, acted; /* requests */
    uint64_t passed;      /* bytes of those seen */
    uint64_t begun_ns;    /* when it was added */
    uint64_t dice;        /* chance */
    uint64_t free_ns;     /* RATE: when all that was let through has had its time */
    bool hung;            /* HANGUP: for good */
};

void filter_begin(struct filter *filter, const struct filter_spec *spec, uint64_t now_ns);
/* True: the request goes on to the next filter. */
bool filter_judge(struct filter *filter, const struct filtered *request, struct verdict *verdict);

#endif
