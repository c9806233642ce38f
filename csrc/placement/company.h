/* company: whether one client calls, or several at once. See company.c. */
#ifndef COMPANY_H
#define COMPANY_H

#include <stdbool.h>
#include <stdint.h>

#include "placement/callers.h"

struct company {
    uint32_t seen, turns; /* since the last judgement */
    unsigned alone;       /* judgements in a row without turns */
    bool several;
    unsigned callers;     /* the most of the last looks; 1 where there are not several */
    unsigned callers_age; /* looks since there were so many */
};

/* True: the answer in company->several is another now. */
bool company_judge(struct company *company, const struct callers_look *look);

#endif
