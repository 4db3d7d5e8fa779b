/* What fails is tried again, at its time, until it is done, and is said once: every step's failure. */
#include "reconcile/reconcile_fixture.h"

#include <stdio.h>

enum { GONE = -1 };

/* --- what brings a step about ------------------------------------------------------------------------------------- */

static void become_ready(void)
{
    report(WORKLOAD_READY);
}

static void become_booted(void)
{
    report(WORKLOAD_BOOTED);
}

static void power_off(void)
{
    report_exit((struct workload_exit){.power_off = true});
}

static void change_group(void)
{
    set_port(443);
}

static void set_mac(struct str mac)
{
    struct tx *tx = edit();

    ((struct ec2_network_interface *)tx_edit(tx, EC2_NETWORK_INTERFACE, INTERFACE))->mac_address = mac;
    commit(tx);
}

static void lose_mac(void)
{
    set_mac(S("none"));
}

static void change_interface(void)
{
    set_mac(S("02:00:00:00:00:02"));
}

static void start_with_address(void)
{
    start(S("t3.micro"), true);
}

static void start_as_no_type(void)
{
    start(S("t3.none"), false);
}

static void ask_terminate(void)
{
    set_state(INSTANCE_SHUTTING_DOWN);
}

static void forget_record(void)
{
    struct tx *tx = edit();

    tx_remove(tx, EC2_INSTANCE, INSTANCE);
    commit(tx);
}

/* --- the table ------------------------------------------------------------------------------------------------------
 */

struct row {
    const char *name;
    enum { IS_PENDING, IS_STOPPED, RUNS, ENDED, ENDS } at_first;
    void (*happens)(void); /* then; NULL: nothing */
    struct {
        enum step step;
        unsigned times;
    } fails, also;     /* from then on */
    const char *tried; /* the first of them, when: milliseconds since the start */
    enum step done;    /* another step, how often it is taken in all */
    size_t done_times;
    bool over; /* the log says so; what failed it says once */
    int state_then;
};

#define FOUR_FAILURES "0 0 200 600 1400 "

/* A row a line. */
/* clang-format off */
static const struct row rows[] = {
    /* the driver */
    {"a stop", RUNS, ask_stop, {STOP, 4}, {0}, FOUR_FAILURES, ENSURE, 0, true, INSTANCE_STOPPED},
    {"a stop of before", ENDS, NULL, {STOP, 4}, {0}, FOUR_FAILURES, ENSURE, 0, true, INSTANCE_STOPPED},
    {"a removal", RUNS, ask_terminate, {REMOVE, 4}, {0}, FOUR_FAILURES, STOP, 0, true, INSTANCE_TERMINATED},
    {"a removal without a record", RUNS, forget_record, {REMOVE, 4}, {0}, FOUR_FAILURES, STOP, 0, true, GONE},
    {"a launch", IS_PENDING, NULL, {ENSURE, 9}, {0}, "0 ", REMOVE, 1, false, INSTANCE_TERMINATED},
    {"a start", IS_STOPPED, start_again, {ENSURE, 9}, {0}, "0 ", REMOVE, 0, false, INSTANCE_STOPPED},
    {"a start of records that make no machine", IS_STOPPED, start_as_no_type, {ENSURE, 9}, {0}, "", REMOVE, 0, false, INSTANCE_STOPPED},
    {"a boot of what had ended", ENDED, NULL, {ENSURE, 3}, {0}, "0 0 200 600 ", REMOVE, 0, true, INSTANCE_RUNNING},
    {"boots of what had ended, for ever", ENDED, NULL, {ENSURE, 99}, {0}, FOUR_FAILURES, REMOVE, 0, false, INSTANCE_STOPPED},
    {"a reboot", RUNS, ask_reboot, {REBOOT, 9}, {0}, "0 ", ENSURE, 1, true, INSTANCE_RUNNING},
    {"boots after a reboot", RUNS, ask_reboot, {ENSURE, 2}, {REBOOT, 1}, "0 200 600 ", REBOOT, 1, true, INSTANCE_RUNNING},
    {"asking what runs", ENDS, NULL, {OBSERVE, 4}, {0}, FOUR_FAILURES, STOP, 1, true, INSTANCE_STOPPED},
    {"asking what runs, which nothing does", ENDED, NULL, {OBSERVE, 4}, {0}, FOUR_FAILURES, ENSURE, 1, true, INSTANCE_RUNNING},

    /* the network */
    {"a VPC", RUNS, change_vpc, {SET_VPC, 4}, {0}, FOUR_FAILURES, STOP, 0, true, INSTANCE_RUNNING},
    {"a VPC's end", RUNS, delete_vpc, {REMOVE_VPC, 4}, {0}, FOUR_FAILURES, STOP, 0, true, INSTANCE_RUNNING},
    {"a group", RUNS, change_group, {SET_GROUP, 4}, {0}, FOUR_FAILURES, STOP, 0, true, INSTANCE_RUNNING},
    {"an interface", RUNS, change_interface, {SET_INTERFACE, 4}, {0}, FOUR_FAILURES, STOP, 0, true, INSTANCE_RUNNING},
    {"an interface without a place", RUNS, lose_mac, {SET_INTERFACE, 9}, {0}, "", STOP, 0, false, INSTANCE_RUNNING},
    {"an interface of what is adopted", RUNS, NULL, {SET_INTERFACE, 4}, {0}, FOUR_FAILURES, ENSURE, 0, true, INSTANCE_RUNNING},

    /* the store */
    {"to write that it is ready", IS_PENDING, become_ready, {COMMIT, 4}, {0}, FOUR_FAILURES, ENSURE, 1, true, INSTANCE_RUNNING},
    {"to write that it is booted", IS_PENDING, become_booted, {COMMIT, 4}, {0}, FOUR_FAILURES, ENSURE, 1, true, INSTANCE_PENDING},
    {"to write that it is stopped", RUNS, ask_stop, {COMMIT, 4}, {0}, FOUR_FAILURES, STOP, 1, true, INSTANCE_STOPPED},
    {"to write that it is terminated", RUNS, ask_terminate, {COMMIT, 4}, {0}, FOUR_FAILURES, REMOVE, 1, true, INSTANCE_TERMINATED},
    {"to write that it was rebooted", RUNS, ask_reboot, {COMMIT, 4}, {0}, FOUR_FAILURES, REBOOT, 1, true, INSTANCE_RUNNING},
    {"to write that it powered itself off", RUNS, power_off, {COMMIT, 4}, {0}, FOUR_FAILURES, STOP, 1, true, INSTANCE_STOPPED},
    {"to write its public address", IS_STOPPED, start_with_address, {COMMIT, 4}, {0}, FOUR_FAILURES, ENSURE, 1, true, INSTANCE_PENDING},
};
/* clang-format on */

static void happen(const struct row *row)
{
    refuse(row->fails.step, row->fails.times);
    if (row->also.times)
        refuse(row->also.step, row->also.times);
    if (row->happens)
        row->happens();
}

/* What a commit that is not refused brings may bring others. */
static bool tried_as_it_should(const struct row *row, size_t before)
{
    char text[TRIES * 8] = "";
    size_t len = 0;

    for (size_t i = before; i < tries(row->fails.step); i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%lld ", (long long)tried_ms(row->fails.step, i));
    if (row->fails.step == COMMIT ? str_starts(str_of(text), str_of(row->tried)) : strcmp(text, row->tried) == 0)
        return true;
    print_error("%s: tried after %sms\n", row->name, text);
    return false;
}

static void make_as(const struct row *row)
{
    static const enum instance_state states[] = {
        [IS_PENDING] = INSTANCE_PENDING, [IS_STOPPED] = INSTANCE_STOPPED, [RUNS] = INSTANCE_RUNNING,
        [ENDED] = INSTANCE_RUNNING,      [ENDS] = INSTANCE_STOPPING,
    };

    make_instance(states[row->at_first]);
    if (row->at_first == RUNS || row->at_first == ENDS)
        driver_has(INSTANCE);
}

static void try_row(const struct row *row)
{
    size_t before = 0;

    open_world(NULL);
    make_as(row);
    if (!row->happens)
        happen(row);
    begin();
    if (row->happens) {
        before = tries(row->fails.step);
        happen(row);
    }
    pass_ms(5 * MINUTES);
    assert_true(tried_as_it_should(row, before));
    if (instance_now() ? (int)state_of_instance() != row->state_then : row->state_then != GONE)
        fail_msg("%s: its end is another", row->name);
    if (tries(row->done) != row->done_times)
        fail_msg("%s: step %d is done %zu times", row->name, row->done, tries(row->done));
    if (said_errors() != 1 || said_infos() != row->over)
        fail_msg("%s: said %zu times, and over %zu times", row->name, said_errors(), said_infos());
    close_world(NULL);
}

static void every_step_that_fails_is_tried_again_at_its_time_and_said_once(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        try_row(&rows[i]);
}

int main(void)
{
    static const struct CMUnitTest reconcile_tests[] = {
        cmocka_unit_test(every_step_that_fails_is_tried_again_at_its_time_and_said_once),
    };

    return cmocka_run_group_tests(reconcile_tests, NULL, NULL);
}
