/* The network: what the driver is told, and told again. */
#include "reconcile/reconcile_fixture.h"

static void what_went_stale_while_it_was_told_is_told_again(void **state)
{
    make_instance(INSTANCE_RUNNING);
    driver_has(INSTANCE);
    begin();
    hold(SET_GROUP);
    set_port(81);
    await(SET_GROUP);
    set_port(82);
    settle();
    let_go(SET_GROUP);
    settle();
    assert_int_equal(tries(SET_GROUP), 2);
    assert_int_equal(told_port, 82);
}

static void what_was_refused_is_told_as_it_is_by_then(void **state)
{
    make_instance(INSTANCE_RUNNING);
    driver_has(INSTANCE);
    begin();
    refuse(SET_GROUP, 3);
    set_port(81);
    settle(); /* it rests for 200 ms */
    set_port(82);
    settle(); /* … and is told at once what is new, which is refused too */
    assert_int_equal(tries(SET_GROUP), 3);
    pass_ms(400);
    assert_int_equal(told_port, 82);
    assert_int_equal(tries(SET_GROUP), 4);
    pass_ms(5 * MINUTES);
    assert_int_equal(tries(SET_GROUP), 4);
}

static void what_went_stale_while_it_was_refused_does_not_rest(void **state)
{
    make_instance(INSTANCE_RUNNING);
    driver_has(INSTANCE);
    begin();
    refuse(SET_GROUP, 1000);
    set_port(81);
    pass_ms(3 * MINUTES);
    hold(SET_GROUP);
    set_port(82);
    await(SET_GROUP);
    refuse(SET_GROUP, 1);
    set_port(83);
    settle();
    let_go(SET_GROUP);
    settle();
    assert_int_equal(told_port, 83);
}

static void a_network_that_rests_keeps_nobody_waiting_and_is_left_when_its_record_is(void **state)
{
    make_instance(INSTANCE_RUNNING);
    driver_has(INSTANCE);
    begin();
    refuse(SET_VPC, 1000);
    change_vpc();
    pass_ms(MINUTES);
    delete_vpc();
    settle();
    assert_int_equal(tries(REMOVE_VPC), 1);
    assert_int_equal(said_errors(), 1);
    assert_int_equal(said_infos(), 1);
}

static void a_world_lives_while_its_network_is_told_and_no_longer(void **state)
{
    struct err err = ERR_INIT;

    make_instance(INSTANCE_TERMINATED);
    begin();
    hold(REMOVE_VPC);
    world_keep(&world, store_world(engine.store, S("999999999999"), engine.region));
    assert_int_equal(store_reset(engine.store, engine.account, &err), 0);
    await(REMOVE_VPC);
    others_read(1);
    assert_true(there_is("000000000000"));
    refuse(REMOVE_VPC, 3);
    let_go(REMOVE_VPC);
    settle();
    others_read(1001);
    assert_true(there_is("000000000000"));
    pass_ms(MINUTES);
    assert_int_equal(tries(REMOVE_VPC), 4);
    others_read(2001);
    assert_false(there_is("000000000000"));
}

int main(void)
{
    static const struct CMUnitTest networks_tests[] = {
        TEST(what_went_stale_while_it_was_told_is_told_again),
        TEST(what_was_refused_is_told_as_it_is_by_then),
        TEST(what_went_stale_while_it_was_refused_does_not_rest),
        TEST(a_network_that_rests_keeps_nobody_waiting_and_is_left_when_its_record_is),
        TEST(a_world_lives_while_its_network_is_told_and_no_longer),
    };

    return cmocka_run_group_tests(networks_tests, NULL, NULL);
}
