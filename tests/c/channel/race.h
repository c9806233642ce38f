/* Clients that race for a whole channel, with all its threads; what the tests of nodes and views share. */
#ifndef RACE_H
#define RACE_H

#include "channel/fakekernel.h"
#include "channel/played.h"

#define BLOCK PLAYED_QUANTUM
#define BLOCKS 32u
#define TURNS (SANITIZED ? 1500u : 6000u)

struct race {
    struct fakekernel kernel;
    struct played played;
    struct channel *channel;
    struct budget *budget;
    int allowed; /* an error that is none here, besides -ENOSPC */
    atomic_uint torn, failed;
    atomic_bool ending;
    bool ends_early; /* while clients are at work */
};

struct racer {
    struct race *race;
    unsigned number;
    uint64_t node, random;
    bool interrupts;
    pthread_t thread;
};

/* All but the channel. */
static inline void race_make(struct race *race, bool is_view)
{
    memset(race, 0, sizeof(*race));
    race->budget = budget_new(64 * BLOCK);
    for (unsigned i = 0; i < PLAYED_STORES; i++)
        race->played.store[i] = store_new(race->budget, BLOCK, 10);
    kernel_begin(&race->kernel, is_view);
}

static inline void race_begin(struct race *race, struct channel *channel)
{
    assert_non_null(channel);
    race->channel = channel;
    assert_int_equal(channel_begin(channel), 0);
    assert_int_equal(kernel_init(&race->kernel), 0);
    assert_int_equal(channel_wait_ready(channel, 30000), 0);
}

static inline void race_unmake(struct race *race)
{
    kernel_end(&race->kernel);
    for (unsigned i = 0; i < PLAYED_STORES; i++)
        store_free(race->played.store[i]);
    budget_free(race->budget);
    assert_int_equal(race->torn, 0);
    assert_int_equal(race->failed, 0);
    assert_int_equal(race->played.hung_up, 0);
}

/* An end under load is no failure. */
static inline bool went_well(struct race *race, int error)
{
    if (error && error != -ENOSPC && error != race->allowed && !race->ending &&
        !race->kernel.gone)
        race->failed++;
    return error == 0;
}

/* What a client has read is of one write. */
static inline void look(struct race *race, unsigned number)
{
    const struct kernel_client *client = &race->kernel.client[number];

    for (uint32_t i = 1; i < client->length; i++)
        if (client->body[i] != client->body[0])
            race->torn++;
}

#endif
