/* Turns: who may run a call, who waits, and when turns are lent. */
#include "helper.h"
#include "channel/queue.h"

/* No call gets that far here. */
void python_call(void *owner, struct call *call)
{
    (void)owner, (void)call;
    fail();
}

static void teardown_calls(struct queue *queue)
{
    struct call *call;

    while ((call = queue_take(queue)))
        call_drop(call);
    queue_destroy(queue);
}

static void add(struct queue *queue)
{
    assert_true(queue_add(queue, call_new_bare(CALL_HANGUP)));
}

static void test_a_call_without_a_turn_waits_for_one_that_ends(void **state)
{
    struct queue queue;

    (void)state;
    queue_init(&queue, 1);
    assert_true(queue_has_turn(&queue));
    queue_begin(&queue);
    assert_false(queue_has_turn(&queue));
    add(&queue);
    assert_null(queue_next(&queue));
    queue_end(&queue);
    assert_false(queue_has_turn(&queue)); /* the one that waits comes first */
    assert_int_equal(queue_due(&queue), 1);
    struct call *call = queue_next(&queue);
    assert_non_null(call);
    call_drop(call);
    teardown_calls(&queue);
}

static void test_a_handler_that_waits_holds_no_turn(void **state)
{
    struct queue queue;

    (void)state;
    queue_init(&queue, 1);
    for (unsigned i = 0; i < 500; i++) {
        assert_true(queue_has_turn(&queue));
        queue_begin(&queue);
        queue_pause(&queue);
    }
    queue_resume(&queue);
    assert_false(queue_has_turn(&queue));
    queue_end(&queue);
    teardown_calls(&queue);
}

static void test_turns_are_lent_only_while_nothing_moves(void **state)
{
    struct queue queue;

    (void)state;
    queue_init(&queue, 2);
    queue_begin(&queue);
    queue_begin(&queue);
    for (unsigned i = 0; i < 20; i++)
        add(&queue);
    queue.progress++; /* something ended since the last look */
    assert_int_equal(queue_look(&queue), QUEUE_MOVES);
    assert_int_equal(queue_due(&queue), 0);
    for (unsigned lent = 1; lent <= 8; lent *= 2) {
        assert_int_equal(queue_look(&queue), QUEUE_LENT);
        assert_int_equal(queue_due(&queue), lent);
        for (unsigned i = 0; i < lent; i++)
            call_drop(queue_next(&queue));
        assert_null(queue_next(&queue));
    }
    teardown_calls(&queue);
}

static void test_lent_turns_go_when_the_queues_own_suffice(void **state)
{
    struct queue queue;

    (void)state;
    queue_init(&queue, 1);
    queue_begin(&queue);
    add(&queue);
    assert_int_equal(queue_look(&queue), QUEUE_LENT);
    call_drop(queue_next(&queue));
    queue_end(&queue);
    assert_true(queue_has_turn(&queue)); /* one is stuck: the lent turn stays */
    queue_end(&queue);
    queue_begin(&queue);
    assert_false(queue_has_turn(&queue));
    teardown_calls(&queue);
}

static void test_lending_ends_at_the_limit_and_says_so(void **state)
{
    struct queue queue;
    unsigned running = 1;

    (void)state;
    queue_init(&queue, 1);
    queue_begin(&queue);
    for (unsigned i = 0; i < 2 * QUEUE_RUNNING_MAX; i++)
        add(&queue);
    while (queue_look(&queue) == QUEUE_LENT) {
        struct call *call;

        while ((call = queue_next(&queue))) {
            call_drop(call);
            running++;
        }
    }
    assert_int_equal(running, QUEUE_RUNNING_MAX);
    assert_int_equal(queue_look(&queue), QUEUE_CROWDED);
    teardown_calls(&queue);
}

static void test_a_handler_that_resumes_is_lent_a_turn(void **state)
{
    struct queue queue;

    (void)state;
    queue_init(&queue, 1);
    queue_begin(&queue);
    queue_pause(&queue);
    queue_begin(&queue); /* another, that never ends */
    pthread_mutex_lock(&queue.lock);
    queue_resume(&queue);
    pthread_mutex_unlock(&queue.lock);
    assert_int_equal(queue.running, 2);
    teardown_calls(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_call_without_a_turn_waits_for_one_that_ends),
        cmocka_unit_test(test_a_handler_that_waits_holds_no_turn),
        cmocka_unit_test(test_turns_are_lent_only_while_nothing_moves),
        cmocka_unit_test(test_lent_turns_go_when_the_queues_own_suffice),
        cmocka_unit_test(test_lending_ends_at_the_limit_and_says_so),
        cmocka_unit_test(test_a_handler_that_resumes_is_lent_a_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
