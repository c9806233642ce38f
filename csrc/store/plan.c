/* plan: the spans of a read. Holes are shown as one page of zeros, again and again. */
#include "store/plan.h"

#include <string.h>

static const uint8_t zeros[PLAN_ZEROS] __attribute__((aligned(4096)));

bool plan_add(struct read_plan *plan, const uint8_t *at, size_t n)
{
    struct iovec *last = plan->spans > 0 ? &plan->iov[plan->spans - 1] : NULL;
    if (last && (uint8_t *)last->iov_base + last->iov_len == at) {
        last->iov_len += n;
    } else {
        if (plan->spans == PLAN_SPANS)
            return false;
        plan->iov[plan->spans++] = (struct iovec){(void *)(uintptr_t)at, n};
    }
    plan->bytes += n;
    return true;
}

/* Shows `zeros` as often as it takes; neighbouring holes share one span while it lasts. */
bool plan_add_hole(struct read_plan *plan, size_t n)
{
    while (n > 0) {
        const struct iovec *last = plan->spans > 0 ? &plan->iov[plan->spans - 1] : NULL;
        size_t shown = last && last->iov_base == zeros ? last->iov_len : 0;
        shown = shown < PLAN_ZEROS ? shown : 0;
        size_t piece = n < PLAN_ZEROS - shown ? n : PLAN_ZEROS - shown;
        if (!plan_add(plan, zeros + shown, piece))
            return false;
        n -= piece;
    }
    return true;
}

void store_copy_plan(const struct read_plan *plan, void *data)
{
    size_t done = 0;
    for (unsigned i = 0; i < plan->spans; i++) {
        memcpy((uint8_t *)data + done, plan->iov[i].iov_base, plan->iov[i].iov_len);
        done += plan->iov[i].iov_len;
    }
}
