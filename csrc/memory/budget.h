/* budget: how many bytes the stores that share it may hold. Counted references; see budget.c. */
#ifndef BUDGET_H
#define BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "scullv.h"

/* What is charged: regions of data, the index's own memory, regions kept warm for reuse. Each has
 * an allowance of its own, so that neither sparse positions nor recycling outgrow the limit. */
enum budget_kind { BUDGET_REGIONS, BUDGET_INDEX, BUDGET_WARM, BUDGET_KINDS };

struct budget *budget_hold(struct budget *budget);
bool budget_charge(struct budget *budget, enum budget_kind kind, uint64_t bytes);
void budget_uncharge(struct budget *budget, enum budget_kind kind, uint64_t bytes);
/* Whether regions and what is kept warm are more than the limit, together. */
bool budget_over(const struct budget *budget);
uint64_t budget_max(const struct budget *budget);

#endif
