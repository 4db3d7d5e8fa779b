/* Machines: what rests and how long, what is kept meanwhile, and what is forgotten. */
#include "reconcile/reconcile_fixture.h"

static void rests_grow_to_half_a_minute(void **state)
{
    static const int64_t rests[] = {0, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000};
    enum { COUNT = sizeof rests / sizeof *rests };

    make_instance(INSTANCE_STOPPING);
    driver_has(INSTANCE);
    refuse(STOP, 1000);
    begin();
    pass_ms(10 * MINUTES);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(tried_ms(STOP, i + 1) - tried_ms(STOP, i), rests[i]);
    assert_int_equal(said_errors(), 1);
}

static void what_failed_before_does_not_keep_another_job_waiting(void **state)
{
    make_instance(INSTANCE_STOPPING);
    driver_has(INSTANCE);
    refuse(STOP, 1000);
    begin();
    pass_ms(10 * MINUTES);
    refuse(REMOVE, 1);
    set_state(INSTANCE_SHUTTING_DOWN);
    settle();
    assert_int_equal(tries(REMOVE), 2);
    assert_int_equal(state_of_instance(), INSTANCE_TERMINATED);
}

static void what_failed_before_does_not_count_for_a_later_start(void **state)
{
    make_instance(INSTANCE_RUNNING);
    refuse(ENSURE, 4);
    begin();
    pass_ms(10 * MINUTES);
    report(WORKLOAD_READY);
    refuse(ENSURE, 1);
    report_exit((struct workload_exit){0});
    assert_int_equal(tries(ENSURE), 6); /* at once: it had run for long */
    pass_ms(200);
    assert_int_equal(tries(ENSURE), 7);
}

static void a_reboot_long_after_a_start_that_failed_is_repaired_at_once(void **state)
{
    make_instance(INSTANCE_RUNNING);
    refuse(ENSURE, 4);
    begin();
    pass_ms(10 * MINUTES);
    report(WORKLOAD_READY);
    refuse(REBOOT, 1);
    ask_reboot();
    settle();
    assert_int_equal(tries(ENSURE), 6);
}

static void a_job_that_fails_rests_though_a_commit_was_refused_before(void **state)
{
    make_instance(INSTANCE_PENDING);
    begin();
    refuse(COMMIT, 2);
    report(WORKLOAD_READY);
    refuse(STOP, 20);
    ask_stop();
    settle();
    assert_int_equal(tries(STOP), 2);
    pass_ms(10 * MINUTES);
    assert_int_equal(tries(STOP), 21);
    assert_int_equal(state_of_instance(), INSTANCE_STOPPED);
}

static void a_start_that_failed_on_a_full_disk_is_not_made_twice(void **state)
{
    make_instance(INSTANCE_STOPPED);
    begin();
    refuse(ENSURE, 9);
    refuse(COMMIT, 4);
    start_again();
    pass_ms(5 * MINUTES);
    assert_int_equal(tries(ENSURE), 1);
    assert_int_equal(tries(COMMIT), 5);
    assert_int_equal(state_of_instance(), INSTANCE_STOPPED);
    assert_int_equal(said_errors(), 2); /* the start, and the disk */
    assert_int_equal(said_infos(), 1);
}

static void what_ends_soon_after_its_start_boots_ever_later(void **state)
{
    static const int64_t rests[] = {0, 200, 400, 800};

    make_instance(INSTANCE_RUNNING);
    driver_has(INSTANCE);
    begin();
    pass_ms(10 * MINUTES);
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
        report_exit((struct workload_exit){.status = 256});
        assert_int_equal(tries(ENSURE), rests[i] ? i : i + 1);
        pass_ms(rests[i]);
        assert_int_equal(tries(ENSURE), i + 1);
    }
    pass_ms(MINUTES);
    report_exit((struct workload_exit){.status = 256}); /* it ran steadily */
    assert_int_equal(tries(ENSURE), 5);
    assert_int_equal(said_errors(), 0);
    assert_int_equal(state_of_instance(), INSTANCE_RUNNING);
}

static void what_was_reported_on_a_full_disk_is_written_when_it_can_be(void **state)
{
    make_instance(INSTANCE_PENDING);
    begin();
    refuse(COMMIT, 1000);
    report(WORKLOAD_READY);
    report(WORKLOAD_BOOTED);
    pass_ms(10 * MINUTES);
    assert_int_equal(state_of_instance(), INSTANCE_PENDING);
    assert_true(tries(COMMIT) < 40);
    refuse(COMMIT, 0);
    pass_ms(30 * 1000);
    assert_int_equal(state_of_instance(), INSTANCE_RUNNING);
    assert_true(instance_now()->booted.value);
    assert_int_equal(tries(ENSURE), 1);
    assert_int_equal(said_errors(), 1);
    assert_int_equal(said_infos(), 1);
}

static void what_was_refused_is_written_as_soon_as_anything_is(void **state)
{
    make_instance(INSTANCE_PENDING);
    begin();
    refuse(COMMIT, 1000);
    report(WORKLOAD_READY);
    pass_ms(10 * MINUTES);
    refuse(COMMIT, 0);
    settle();
    assert_int_equal(state_of_instance(), INSTANCE_PENDING);
    set_port(81);
    settle();
    assert_int_equal(state_of_instance(), INSTANCE_RUNNING);
}

static void what_one_can_write_the_others_can(void **state)
{
    struct tx *tx;
    struct ec2_instance *over;

    make_instance(INSTANCE_PENDING);
    tx = edit();
    over = instance_create(tx, S("i-00000000000000002"));
    instance_set_state(tx_arena(tx), over, INSTANCE_TERMINATED);
    over->terminated_at = TIME(1); /* it is to be forgotten at the next full minute */
    commit(tx);
    begin();
    refuse(COMMIT, 1000);
    report(WORKLOAD_READY);
    pass_ms(119 * 1000); /* tried after 111 s, and next after 141 */
    refuse(COMMIT, 0);
    pass_ms(999);
    assert_int_equal(state_of_instance(), INSTANCE_PENDING);
    pass_ms(1);
    assert_int_equal(state_of_instance(), INSTANCE_RUNNING);
}

static void a_reboot_that_is_done_is_not_done_again_for_want_of_its_record(void **state)
{
    make_instance(INSTANCE_RUNNING);
    driver_has(INSTANCE);
    begin();
    refuse(COMMIT, 1000);
    ask_reboot();
    pass_ms(10 * MINUTES);
    assert_int_equal(tries(REBOOT), 1);
    report_exit((struct workload_exit){.status = 256}); /* … and what ended boots all the same */
    assert_int_equal(tries(ENSURE), 1);
    refuse(COMMIT, 0);
    pass_ms(MINUTES);
    assert_int_equal(tries(REBOOT), 1);
    assert_int_equal(instance_now()->reboots_done.value, 1);
}

static void a_reboot_that_is_done_is_written_again_when_its_record_was_taken_back(void **state)
{
    struct tx *tx;

    make_instance(INSTANCE_RUNNING);
    driver_has(INSTANCE);
    begin();
    ask_reboot();
    settle();
    tx = edit();
    ((struct ec2_instance *)tx_edit(tx, EC2_INSTANCE, INSTANCE))->reboots_done = INT(0);
    commit(tx);
    settle();
    assert_int_equal(instance_now()->reboots_done.value, 1);
    assert_int_equal(tries(REBOOT), 1);
}

static void what_ends_on_a_full_disk_before_it_is_written_boots_again(void **state)
{
    make_instance(INSTANCE_PENDING);
    begin();
    refuse(COMMIT, 1000);
    report(WORKLOAD_READY);
    report_exit((struct workload_exit){.status = 256});
    assert_int_equal(tries(ENSURE), 2);
}

static void what_powered_itself_off_on_a_full_disk_stays_off(void **state)
{
    make_instance(INSTANCE_RUNNING);
    driver_has(INSTANCE);
    begin();
    refuse(COMMIT, 1000);
    report_exit((struct workload_exit){.power_off = true});
    pass_ms(10 * MINUTES);
    assert_int_equal(tries(ENSURE), 0);
}

static void reports_of_before_a_reboot_are_not_of_the_boot_that_was_asked_for(void **state)
{
    make_instance(INSTANCE_PENDING);
    hold(ENSURE);
    begin();
    await(ENSURE);
    set_state(INSTANCE_RUNNING);
    ask_reboot();
    report(WORKLOAD_READY);
    report(WORKLOAD_BOOTED);
    hold(REBOOT);
    let_go(ENSURE);
    await(REBOOT);
    assert_false(instance_now()->booted.value);
    report(WORKLOAD_STARTING);
    let_go(REBOOT);
    settle();
    assert_false(instance_now()->booted.value);
    report(WORKLOAD_READY);
    report(WORKLOAD_BOOTED);
    assert_true(instance_now()->booted.value);
    assert_int_equal(instance_now()->reboots_done.value, 1);
}

static void without_machines_what_is_refused_is_tried_again_too(void **state)
{
    static const int64_t tried[] = {0, 0, 200, 600, 1400};

    make_instance(INSTANCE_PENDING);
    refuse(COMMIT, 4);
    begin_without_driver();
    pass_ms(5 * MINUTES);
    for (size_t i = 0; i < sizeof tried / sizeof *tried; i++)
        assert_int_equal(tried_ms(COMMIT, i), tried[i]);
    assert_int_equal(state_of_instance(), INSTANCE_RUNNING);
    assert_int_equal(said_errors(), 1);
    assert_int_equal(said_infos(), 1);
}

static void a_terminated_instance_that_could_not_be_forgotten_is_a_minute_later(void **state)
{
    struct tx *tx;

    make_instance(INSTANCE_TERMINATED);
    tx = edit();
    ((struct ec2_instance *)tx_edit(tx, EC2_INSTANCE, INSTANCE))->terminated_at = TIME(1);
    commit(tx);
    refuse(COMMIT, 2);
    begin();
    pass_ms(2 * MINUTES);
    assert_non_null(instance_now());
    pass_ms(MINUTES);
    assert_null(instance_now());
    assert_int_equal(said_errors(), 1);
    assert_int_equal(said_infos(), 1);
}

/* --- what is not durable -------------------------------------------------------------------------------------------
 */

static struct {
    enum instance_state state;
    bool asked, told, early;
} next;

/* Hears of changes before the reconciler does: that has its machine to look at when the next change is not told yet. */
static void ask_next(void *cookie, const struct change *change)
{
    if (change->kind != EC2_INSTANCE)
        return;
    if (!next.asked) {
        next.asked = true;
        set_state(next.state);
        return;
    }
    next.told = true;
    next.early |= instance_state_of(change->new) == next.state && work_pending(engine.pool) > 0;
}

static void nothing_is_done_to_a_machine_before_what_asks_for_it_is_durable(void **state)
{
    static const enum instance_state states[] = {INSTANCE_SHUTTING_DOWN, INSTANCE_STOPPING};

    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (i > 0)
            open_world(NULL);
        memset(&next, 0, sizeof next);
        next.state = states[i];
        make_instance(INSTANCE_RUNNING);
        driver_has(INSTANCE);
        settle();
        store_subscribe(engine.store, ask_next, NULL);
        begin();
        want_look();
        settle();
        assert_true(next.told);
        assert_false(next.early);
        assert_int_equal(tries(REMOVE) + tries(STOP), 1);
        if (i == 0)
            close_world(NULL);
    }
}

/* The fixture keeps the world that its records are in; this one only the reconciler does. */
static void a_world_lives_while_a_job_of_its_machine_runs_and_no_longer(void **state)
{
    driver_has(INSTANCE); /* which has no record: it is taken to be of the default account */
    world_keep(&world, store_world(engine.store, S("999999999999"), engine.region));
    hold(REMOVE);
    begin();
    await(REMOVE);
    others_read(1);
    assert_true(there_is("000000000000"));
    refuse(REMOVE, 3);
    let_go(REMOVE);
    settle();
    others_read(1001); /* while it rests */
    assert_true(there_is("000000000000"));
    pass_ms(MINUTES);
    assert_int_equal(tries(REMOVE), 4);
    others_read(2001);
    assert_false(there_is("000000000000"));
}

int main(void)
{
    static const struct CMUnitTest instances_tests[] = {
        TEST(rests_grow_to_half_a_minute),
        TEST(what_failed_before_does_not_keep_another_job_waiting),
        TEST(what_failed_before_does_not_count_for_a_later_start),
        TEST(a_reboot_long_after_a_start_that_failed_is_repaired_at_once),
        TEST(a_job_that_fails_rests_though_a_commit_was_refused_before),
        TEST(a_start_that_failed_on_a_full_disk_is_not_made_twice),
        TEST(what_ends_soon_after_its_start_boots_ever_later),
        TEST(what_was_reported_on_a_full_disk_is_written_when_it_can_be),
        TEST(what_was_refused_is_written_as_soon_as_anything_is),
        TEST(what_one_can_write_the_others_can),
        TEST(a_reboot_that_is_done_is_not_done_again_for_want_of_its_record),
        TEST(a_reboot_that_is_done_is_written_again_when_its_record_was_taken_back),
        TEST(what_ends_on_a_full_disk_before_it_is_written_boots_again),
        TEST(what_powered_itself_off_on_a_full_disk_stays_off),
        TEST(reports_of_before_a_reboot_are_not_of_the_boot_that_was_asked_for),
        TEST(without_machines_what_is_refused_is_tried_again_too),
        TEST(a_terminated_instance_that_could_not_be_forgotten_is_a_minute_later),
        TEST(nothing_is_done_to_a_machine_before_what_asks_for_it_is_durable),
        TEST(a_world_lives_while_a_job_of_its_machine_runs_and_no_longer),
    };

    return cmocka_run_group_tests(instances_tests, NULL, NULL);
}
