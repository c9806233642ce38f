#include "helper.h"

#include <pthread.h>
#include <sched.h>

#include "placement/seats.h"

#define WORKERS 3u

/* Workers that have joined, and wait. */
struct crew {
    struct seats seats;
    pthread_t thread[WORKERS];
    pthread_barrier_t joined, end;
    _Atomic unsigned next;
};

static void *work(void *arg)
{
    struct crew *crew = arg;
    unsigned worker = crew->next++;

    seats_join(&crew->seats, worker);
    pthread_barrier_wait(&crew->joined);
    pthread_barrier_wait(&crew->end);
    seats_leave(&crew->seats, worker);
    return NULL;
}

static void start(struct crew *crew)
{
    crew->next = 0;
    crew->seats = (struct seats){0};
    assert_int_equal(seats_init(&crew->seats), 0);
    pthread_barrier_init(&crew->joined, NULL, WORKERS + 1);
    pthread_barrier_init(&crew->end, NULL, WORKERS + 1);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&crew->thread[i], NULL, work, crew), 0);
    pthread_barrier_wait(&crew->joined);
}

static void end(struct crew *crew)
{
    pthread_barrier_wait(&crew->end);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(crew->thread[i], NULL);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(crew->seats.tid[i], 0);
}

static cpu_set_t cpus_of(const struct crew *crew, unsigned worker)
{
    cpu_set_t cpus;

    assert_int_equal(sched_getaffinity(crew->seats.tid[worker], sizeof(cpus), &cpus), 0);
    return cpus;
}

static int first_cpu(const struct seats *seats)
{
    int cpu = 0;

    while (!seats_may_use(seats, cpu))
        cpu++;
    return cpu;
}

static void all_go_to_one_cpu_and_are_free_again(void **state)
{
    (void)state;
    static struct crew crew;
    start(&crew);
    int cpu = first_cpu(&crew.seats);
    seats_take(&crew.seats, (struct seat){cpu, SCHED_IDLE});
    for (unsigned i = 0; i < WORKERS; i++) {
        cpu_set_t cpus = cpus_of(&crew, i);
        assert_int_equal(CPU_COUNT(&cpus), 1);
        assert_true(CPU_ISSET(cpu, &cpus));
        assert_int_equal(sched_getscheduler(crew.seats.tid[i]), SCHED_IDLE);
    }
    seats_take(&crew.seats, (struct seat){AT_LARGE, SCHED_OTHER});
    for (unsigned i = 0; i < WORKERS; i++) {
        cpu_set_t cpus = cpus_of(&crew, i);
        assert_true(CPU_EQUAL(&cpus, &crew.seats.home));
        assert_int_equal(sched_getscheduler(crew.seats.tid[i]), SCHED_OTHER);
    }
    end(&crew);
}

static void each_gets_a_cpu_round_and_round(void **state)
{
    (void)state;
    static struct crew crew;
    cpu_set_t all;
    start(&crew);
    unsigned many = seats_cpus(&crew.seats) < WORKERS ? seats_cpus(&crew.seats) : WORKERS;
    seats_take(&crew.seats, (struct seat){A_CPU_EACH, SCHED_OTHER});
    CPU_ZERO(&all);
    for (unsigned i = 0; i < WORKERS; i++) {
        cpu_set_t cpus = cpus_of(&crew, i);
        assert_int_equal(CPU_COUNT(&cpus), 1);
        CPU_OR(&all, &all, &cpus);
    }
    assert_int_equal(CPU_COUNT(&all), many);
    end(&crew);
}

static void a_worker_that_joins_later_is_placed_too(void **state)
{
    (void)state;
    static struct crew crew;
    start(&crew);
    int cpu = first_cpu(&crew.seats);
    seats_take(&crew.seats, (struct seat){cpu, SCHED_OTHER});
    seats_join(&crew.seats, WORKERS); /* the test's own thread */
    seats_take(&crew.seats, (struct seat){cpu, SCHED_OTHER});
    cpu_set_t cpus = cpus_of(&crew, WORKERS);
    assert_int_equal(CPU_COUNT(&cpus), 1);
    seats_take(&crew.seats, (struct seat){AT_LARGE, SCHED_OTHER});
    seats_leave(&crew.seats, WORKERS);
    end(&crew);
}

static void no_cpu_is_one_that_may_be_used(void **state)
{
    (void)state;
    struct seats seats = {0};
    assert_int_equal(seats_init(&seats), 0);
    assert_false(seats_may_use(&seats, -1));
    assert_false(seats_may_use(&seats, CPU_SETSIZE));
}

static void *want_a_cpu(void *arg)
{
    for (const _Atomic bool *end = arg; !*end;)
        ;
    return NULL;
}

static void where_others_want_all_cpus_it_is_crowded(void **state)
{
    (void)state;
    enum { MORE_THAN_WE_START = 100000 };
    struct seats seats = {0};
    pthread_t busy[WORKERS_MAX];
    _Atomic bool end = false;
    assert_int_equal(seats_init(&seats), 0);
    unsigned n = seats.cpus < WORKERS_MAX ? seats.cpus + 1 : WORKERS_MAX;
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(pthread_create(&busy[i], NULL, want_a_cpu, &end), 0);

    assert_true(seats_are_crowded(&seats, 1));
    assert_false(seats_are_crowded(&seats, MORE_THAN_WE_START));

    end = true;
    for (unsigned i = 0; i < n; i++)
        pthread_join(busy[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_go_to_one_cpu_and_are_free_again),
        cmocka_unit_test(each_gets_a_cpu_round_and_round),
        cmocka_unit_test(a_worker_that_joins_later_is_placed_too),
        cmocka_unit_test(no_cpu_is_one_that_may_be_used),
        cmocka_unit_test(where_others_want_all_cpus_it_is_crowded),
    };
    return RUN_ALL(tests);
}
