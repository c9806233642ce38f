#include "helper.h"

#include "memory/pin.h"

static void readers_share_and_keep_writers_out(void **state)
{
    (void)state;
    pin_t pins = 0;
    assert_true(pin_read(&pins));
    assert_true(pin_read(&pins));
    assert_false(pin_write(&pins));
    assert_false(pin_idle(&pins));
    assert_false(pin_end_read(&pins));
    assert_false(pin_write(&pins));
    assert_false(pin_end_read(&pins));
    assert_true(pin_idle(&pins));
    assert_true(pin_write(&pins));
}

static void a_writer_is_alone(void **state)
{
    (void)state;
    pin_t pins = 0;
    assert_true(pin_write(&pins));
    assert_false(pin_write(&pins));
    assert_false(pin_read(&pins));
    assert_false(pin_end_write(&pins));
    assert_true(pin_read(&pins));
}

static void a_retired_region_is_recycled_once_by_whoever_is_last(void **state)
{
    (void)state;
    pin_t pins = 0;
    assert_true(pin_retire(&pins)); /* nobody had it: who retires it */
    assert_true(pin_idle(&pins));

    pin_read(&pins);
    pin_read(&pins);
    assert_false(pin_retire(&pins));
    assert_false(pin_end_read(&pins));
    assert_true(pin_end_read(&pins));
    assert_true(pin_idle(&pins));

    pin_write(&pins);
    assert_false(pin_retire(&pins));
    assert_true(pin_end_write(&pins));
    assert_true(pin_idle(&pins));
}

static void waiting_ends_though_the_pin_stays(void **state)
{
    (void)state;
    pin_t pins = 0;
    pin_wait(&pins);
    pin_read(&pins);
    pin_wait(&pins);
    assert_false(pin_idle(&pins));
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
