/* company: whether one client calls, or several at once.
 *
 * Clients that call at once take turns at the device, request by request; so turns are counted.
 * A few calls of a parent between those of its child are no company. One client of several may get
 * no turn for a while (it lost its CPU), so that "several" is given up only after some time, or soon
 * after somebody has closed a file: he may have been the company. The look at which that happened
 * is not judged: who was there before, and who is now, is all one in it.
 *
 * Pure: no clock, no system call, no lock. */
#include "placement/company.h"

#define REQUESTS 16u    /* that a judgement takes at least */
#define TURNS_SHARE 8u  /* one turn in so many requests is company */
#define ALONE_MOST 64u  /* judgements */
#define CALLERS_AGE 16u /* looks; in one, not every client gets a turn */

static void count_callers(struct company *company, unsigned callers)
{
    if (!company->several) {
        company->callers = 1;
    } else if (callers >= company->callers || ++company->callers_age > CALLERS_AGE) {
        company->callers = callers;
        company->callers_age = 0;
    }
}

static bool several(struct company *company)
{
    if (company->turns * TURNS_SHARE > company->seen) {
        company->alone = 0;
        return true;
    }
    if (company->alone < ALONE_MOST)
        company->alone++;
    return company->several && company->alone < ALONE_MOST;
}

bool company_judge(struct company *company, const struct callers_look *look)
{
    bool before = company->several;

    if (look->left) {
        company->alone = ALONE_MOST;
        company->seen = company->turns = 0;
        company->callers = before ? 2 : 1;
        return false;
    }
    company->seen += look->seen;
    company->turns += look->turns;
    if (company->seen >= REQUESTS) {
        company->several = several(company);
        company->seen = company->turns = 0;
    }
    count_callers(company, look->callers);
    return company->several != before;
}
