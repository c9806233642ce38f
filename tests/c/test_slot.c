#include "helper.h"

#include "slot.h"

static void readers_share_and_keep_writers_out(void **state)
{
    (void)state;
    slot_t slot = 0;
    assert_true(slot_pin_read(&slot));
    assert_true(slot_pin_read(&slot));
    assert_false(slot_pin_write(&slot));
    assert_false(slot_idle(&slot));
    assert_false(slot_unpin_read(&slot));
    assert_false(slot_pin_write(&slot));
    assert_false(slot_unpin_read(&slot));
    assert_true(slot_idle(&slot));
    assert_true(slot_pin_write(&slot));
}

static void a_writer_is_alone(void **state)
{
    (void)state;
    slot_t slot = 0;
    assert_true(slot_pin_write(&slot));
    assert_false(slot_pin_write(&slot));
    assert_false(slot_pin_read(&slot));
    assert_false(slot_unpin_write(&slot));
    assert_true(slot_pin_read(&slot));
}

static void a_retired_region_is_recycled_once_by_whoever_is_last(void **state)
{
    (void)state;
    slot_t slot = 0;
    assert_true(slot_retire(&slot)); /* nobody had it: who retires it */
    assert_true(slot_idle(&slot));

    slot_pin_read(&slot);
    slot_pin_read(&slot);
    assert_false(slot_retire(&slot));
    assert_false(slot_unpin_read(&slot));
    assert_true(slot_unpin_read(&slot));
    assert_true(slot_idle(&slot));

    slot_pin_write(&slot);
    assert_false(slot_retire(&slot));
    assert_true(slot_unpin_write(&slot));
    assert_true(slot_idle(&slot));
}

static void waiting_ends_though_the_pin_stays(void **state)
{
    (void)state;
    slot_t slot = 0;
    slot_wait(&slot);
    slot_pin_read(&slot);
    slot_wait(&slot);
    assert_false(slot_idle(&slot));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_share_and_keep_writers_out),
        cmocka_unit_test(a_writer_is_alone),
        cmocka_unit_test(a_retired_region_is_recycled_once_by_whoever_is_last),
        cmocka_unit_test(waiting_ends_though_the_pin_stays),
    };
    return RUN_ALL(tests);
}
