/* ways: in what ways the workers of a channel can serve, of which the fastest is found by trial.
 *
 * - FOLLOW: by one worker, bound to the client's CPU and in SCHED_IDLE. Bound alone is not enough:
 *   when a bound worker replies, its CPU counts as busy and the scheduler wakes the client
 *   elsewhere; a CPU that runs nothing but SCHED_IDLE counts as idle (kernel/sched/fair.c:
 *   available_idle_cpu, sched_idle_cpu), so the client stays.
 * - SPIN: by one worker, which looks for the next request for a while before it sleeps. Best where
 *   an interrupt to another CPU is dear and a system call cheap: in emulators.
 * - SPINNERS: by a CREW that spins, so that no CPU goes to sleep, the client's neither. Best for small
 *   blocks where waking a CPU is dearer still.
 * - CREW: by a worker for each CPU, where the scheduler wants them. Best beside CPU hogs.
 * - FREE: by one worker, where the scheduler wants it. In place of SPIN and CREW beside busy channels
 *   of the same process, whose clients need the CPUs that those would take.
 * - IDLERS, a CREW in SCHED_IDLE: clients bring several requests before it runs. With fewer clients
 *   than CPUs that looks fast at first, until they come to share a CPU.
 *
 * Workers that run Python take turns at the interpreter: one of them is best for several clients as
 * well, unless handlers wait for something else; then it is the CREW. None of them is ever in
 * SCHED_IDLE: beside a busy process it would keep the interpreter from all others for seconds. Where the
 * place of workers is not ours to choose, only how many of them read is. */
#include "placement/ways.h"

static const struct way
    FOLLOW = {.name = "follow", .readers = ONE, .idle = true, .bound = true},
    FREE = {.name = "free", .readers = ONE},
    SPIN = {.name = "spin", .readers = ONE, .spins = true},
    SPINNERS = {.name = "spinners", .readers = ONE_A_CPU, .spins = true},
    IDLERS = {.name = "idlers", .readers = ONE_A_CPU, .idle = true};
const struct way CREW = {.name = "crew", .readers = ONE_A_CPU};

static const struct way *const data_one[] = {&FOLLOW, &CREW, &SPIN, &SPINNERS};
static const struct way *const data_beside[] = {&FREE, &FOLLOW};
static const struct way *const data_many[] = {&CREW, &IDLERS};
static const struct way *const python[] = {&FREE, &CREW, &SPIN};
static const struct way *const anywhere[] = {&FREE, &CREW};

const struct plan PLAN_DATA = {
    .one =
        {
            [SMALL] = {data_one, 4, .calm = 1, .yields = true},
            [LARGE] = {data_one, 3, .calm = 1, .yields = true},
        },
    .beside = {data_beside, 2, .yields = true},
    .many = {data_many, 2, .yields = true},
    .pairs = true,
};
const struct plan PLAN_PYTHON = {
    .one = {[SMALL ... LARGE] = {python, 3, .first = 2, .calm = 1}},
    .beside = {python, 3},
    .many = {python, 3},
};
const struct plan PLAN_ANYWHERE = {
    .one = {[SMALL ... LARGE] = {anywhere, 2, .calm = 1}},
    .beside = {anywhere, 2},
    .many = {anywhere, 2},
};
