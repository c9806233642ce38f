/* filter: one thing that befalls requests, and when it does.
 *
 * A filter sees the requests of its operations. It is armed once so many bytes have passed, or so much
 * time, and as long as a file is there; then it acts by chance, on so many requests at most. What it
 * does is added to the verdict, or ends it. All of it is numbers in one struct, which may lie in the
 * state: a worker that follows another goes on with the same row of chances. */
#include "filter/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "filter/chance.h"

void filter_begin(struct filter *filter, const struct filter_spec *spec, uint64_t now_ns)
{
    filter->spec = *spec;
    filter->seen = filter->acted = filter->passed = 0;
    filter->begun_ns = now_ns;
    filter->dice = spec->seed;
    filter->free_ns = 0;
    filter->hung = false;
}

static bool opens_to_write(const struct filtered *request)
{
    const int mode = request->flags & O_ACCMODE;

    return mode == O_WRONLY || mode == O_RDWR;
}

static bool concerns(const struct filter *filter, const struct filtered *request)
{
    if (!(filter->spec.ops & 1u << request->kind))
        return false;
    return filter->spec.kind != FILTER_READONLY || request->kind != CALL_OPEN ||
           opens_to_write(request);
}

/* Those that are so for good; the others have acted on a request that comes again, or have not. */
static bool lasts(const struct filter *filter)
{
    return filter->hung || filter->spec.kind == FILTER_READONLY ||
           filter->spec.kind == FILTER_STUCK_POLL;
}

static bool is_armed(const struct filter *filter, uint64_t passed, uint64_t now_ns)
{
    const struct filter_spec *spec = &filter->spec;

    return passed >= spec->after_bytes && now_ns - filter->begun_ns >= spec->after_ns &&
           (!spec->count || filter->acted < spec->count) &&
           (!*spec->file || access(spec->file, F_OK) == 0);
}

static bool is_struck(struct filter *filter)
{
    return filter->spec.chance >= CHANCE_ALWAYS ||
           chance_next(&filter->dice) >> 32 < filter->spec.chance;
}

/* Whether it acts on the request; counts. */
static bool acts(struct filter *filter, const struct filtered *request)
{
    const uint64_t passed = filter->passed;

    filter->seen++;
    filter->passed += request->bytes;
    if (filter->hung)
        return true;
    return is_armed(filter, passed, request->now_ns) && is_struck(filter);
}

/* As many nanoseconds as the bytes take. */
static uint64_t time_of(uint64_t bytes, uint64_t bytes_a_second)
{
    return (uint64_t)((unsigned __int128)bytes * 1000000000u / bytes_a_second);
}

/* A request waits until all that went before has had its time, and then has its own. */
static uint64_t wait_for_rate(struct filter *filter, const struct filtered *request)
{
    if (filter->free_ns < request->now_ns)
        filter->free_ns = request->now_ns;
    filter->free_ns += time_of(request->bytes, filter->spec.bytes);
    return filter->free_ns - request->now_ns;
}

static uint64_t delay_of(struct filter *filter)
{
    const struct filter_spec *spec = &filter->spec;
    const uint64_t delay = spec->delay_ns + chance_below(&filter->dice, 2 * spec->jitter_ns + 1);

    return delay > spec->jitter_ns ? delay - spec->jitter_ns : 0;
}

/* So many that something is left, and something is missing. */
static uint64_t cut(struct filter *filter, uint64_t bytes)
{
    if (filter->spec.bytes)
        return filter->spec.bytes;
    return bytes > 1 ? 1 + chance_below(&filter->dice, bytes - 1) : bytes;
}

bool filter_judge(struct filter *filter, const struct filtered *request, struct verdict *verdict)
{
    const struct filter_spec *spec = &filter->spec;
    uint64_t bytes;

    if (!concerns(filter, request) || (request->again && !lasts(filter)) || !acts(filter, request))
        return true;
    filter->acted++;
    switch ((enum filter_kind)spec->kind) {
    case FILTER_ERROR:
    case FILTER_READONLY:
        verdict->error = spec->error;
        return false;
    case FILTER_DELAY:
        verdict->delay_ns += delay_of(filter);
        break;
    case FILTER_RATE:
        verdict->delay_ns += wait_for_rate(filter, request);
        break;
    case FILTER_SHORT:
        bytes = cut(filter, request->bytes < verdict->bytes ? request->bytes : verdict->bytes);
        if (bytes < verdict->bytes)
            verdict->bytes = bytes;
        break;
    case FILTER_STUCK_POLL:
        verdict->stuck = true;
        return false;
    case FILTER_CORRUPT:
        verdict->bits = spec->bits;
        verdict->dice ^= chance_next(&filter->dice);
        break;
    case FILTER_HANGUP:
        filter->hung = true;
        verdict->hung = true;
        verdict->error = spec->error;
        return false;
    }
    return true;
}
