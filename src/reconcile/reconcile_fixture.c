#include "reconcile/reconcile_fixture.h"

#include "base/log.h"
#include "operation/park.h"
#include "services/services.h"

#include <stdatomic.h>
#include <stdio.h>

enum { WORKERS = 4, ALARMS = 16 };

struct engine engine;
struct world *world;
struct instances *instances;
static struct networks *networks;
static struct workload_sink sink;
static uv_loop_t loop;
static uv_async_t wake; /* keeps the loop, and wakes it when a job waits */
static struct arena arena;

/* --- the clock ---------------------------------------------------------------------------------------------------- */

static _Atomic int64_t now_us, began_us;
static struct alarm *alarms[ALARMS];

static int64_t fake_now(void)
{
    return now_us;
}

static void fake_set(struct alarm *alarm)
{
    size_t at = 0;

    while (at < ALARMS && alarms[at] != alarm)
        at++;
    if (at < ALARMS)
        alarms[at] = NULL;
    for (size_t i = 0; alarm->at_us; i++) {
        assert_true(i < ALARMS);
        if (!alarms[i]) {
            alarms[i] = alarm;
            return;
        }
    }
}

static const struct clock fake_clock = {fake_now, fake_set};

/* The first to ring until then. */
static struct alarm *next_alarm(int64_t until_us)
{
    struct alarm *first = NULL;

    for (size_t i = 0; i < ALARMS; i++)
        if (alarms[i] && alarms[i]->at_us <= until_us && (!first || alarms[i]->at_us < first->at_us))
            first = alarms[i];
    return first;
}

void pass_ms(int64_t ms)
{
    int64_t until = now_us + ms * 1000;
    struct alarm *alarm;

    settle();
    while ((alarm = next_alarm(until))) {
        now_us = alarm->at_us > now_us ? alarm->at_us : now_us;
        alarm->at_us = 0;
        fake_set(alarm);
        alarm->ring(alarm);
        settle();
    }
    now_us = until;
}

/* --- the driver ----------------------------------------------------------------------------------------------------
 */

static struct {
    unsigned fails;
    bool held;
    unsigned waiting;
    size_t count;
    int64_t at_us[TRIES];
} steps[STEPS];
static uv_mutex_t lock; /* of steps, and what was told */
static uv_cond_t gone_on;
static char has[32];
int told_port;

static int take_step(enum step step, struct err *err)
{
    static const char *const names[STEPS] = {"ensure",  "stop",      "reboot",        "remove",     "observe",
                                             "set_vpc", "set_group", "set_interface", "remove_vpc", "commit"};
    int r = 0;

    uv_mutex_lock(&lock);
    steps[step].at_us[steps[step].count % TRIES] = now_us;
    steps[step].count++;
    steps[step].waiting++;
    while (steps[step].held) {
        uv_async_send(&wake);
        uv_cond_wait(&gone_on, &lock);
    }
    steps[step].waiting--;
    if (steps[step].fails > 0) {
        steps[step].fails--;
        r = err_plain(err, "%s fails the %zu. time", names[step], steps[step].count);
    }
    uv_mutex_unlock(&lock);
    return r;
}

static int fake_ensure(void *cookie, const struct workload_spec *spec, struct err *err)
{
    return take_step(ENSURE, err);
}

static int fake_stop(void *cookie, struct str id, unsigned grace_ms, struct err *err)
{
    return take_step(STOP, err);
}

static int fake_reboot(void *cookie, struct str id, unsigned grace_ms, struct err *err)
{
    return take_step(REBOOT, err);
}

static int fake_remove(void *cookie, struct str id, struct err *err)
{
    return take_step(REMOVE, err);
}

static int fake_observe(void *cookie, struct arena *in, struct workload_observed **ret, size_t *ret_count,
                        struct err *err)
{
    int r = take_step(OBSERVE, err);

    if (r < 0)
        return r;
    *ret_count = has[0] ? 1 : 0;
    *ret = arena_array(in, struct workload_observed, 1);
    (*ret)[0] = (struct workload_observed){str_of(has), WORKLOAD_RUNNING, true, true};
    return 0;
}

static int fake_set_vpc(void *cookie, const struct fabric_vpc *vpc, struct err *err)
{
    return take_step(SET_VPC, err);
}

static int fake_set_group(void *cookie, struct str vpc_id, const struct fabric_group *group, struct err *err)
{
    int port = group->count ? group->rules[0].from : 0;
    int r = take_step(SET_GROUP, err);

    if (r == 0)
        told_port = port;
    return r;
}

static int fake_set_interface(void *cookie, const struct workload_interface *interface, struct err *err)
{
    return take_step(SET_INTERFACE, err);
}

static int fake_remove_vpc(void *cookie, struct str vpc_id, struct err *err)
{
    return take_step(REMOVE_VPC, err);
}

static const struct workload_driver fake_driver = {
    .name = "fake",
    .ensure = fake_ensure,
    .stop = fake_stop,
    .reboot = fake_reboot,
    .remove = fake_remove,
    .observe = fake_observe,
    .set_vpc = fake_set_vpc,
    .set_group = fake_set_group,
    .set_interface = fake_set_interface,
    .remove_vpc = fake_remove_vpc,
};

void driver_has(struct str id)
{
    assert_true(str_to_z(id, has, sizeof has));
}

void refuse(enum step step, unsigned times)
{
    uv_mutex_lock(&lock);
    steps[step].fails = times;
    uv_mutex_unlock(&lock);
}

void hold(enum step step)
{
    uv_mutex_lock(&lock);
    steps[step].held = true;
    uv_mutex_unlock(&lock);
}

void let_go(enum step step)
{
    uv_mutex_lock(&lock);
    steps[step].held = false;
    uv_cond_broadcast(&gone_on);
    uv_mutex_unlock(&lock);
}

static unsigned waiting(enum step step)
{
    unsigned count;

    uv_mutex_lock(&lock);
    count = steps[step].held ? steps[step].waiting : 0;
    uv_mutex_unlock(&lock);
    return count;
}

void await(enum step step)
{
    while (!waiting(step))
        uv_run(&loop, UV_RUN_ONCE);
}

size_t tries(enum step step)
{
    return steps[step].count;
}

int64_t tried_ms(enum step step, size_t n)
{
    assert_true(n < steps[step].count && n < TRIES);
    return (steps[step].at_us[n] - began_us) / 1000;
}

/* --- commits and the log -------------------------------------------------------------------------------------------
 */

int __real_tx_commit(struct tx *tx, struct err *err);
int __wrap_tx_commit(struct tx *tx, struct err *err);
void __wrap_log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool ours; /* the transaction is the test's */
static atomic_size_t said[LOG_DEBUG + 1];

int __wrap_tx_commit(struct tx *tx, struct err *err)
{
    if (ours || take_step(COMMIT, err) == 0)
        return __real_tx_commit(tx, err);
    tx_rollback(tx);
    return -1;
}

void __wrap_log_line(enum log_level level, const char *format, ...)
{
    said[level]++;
}

size_t said_errors(void)
{
    return said[LOG_ERROR];
}

size_t said_infos(void)
{
    return said[LOG_INFO];
}

/* --- records -------------------------------------------------------------------------------------------------------
 */

struct tx *edit(void)
{
    return tx_begin(engine.store, world, &arena, S("test"));
}

void commit(struct tx *tx)
{
    struct err err = ERR_INIT;

    ours = true;
    assert_int_equal(tx_commit(tx, &err), 0);
    ours = false;
    arena_free(&arena);
}

static void make_network(struct tx *tx)
{
    struct ec2_subnet *subnet = subnet_create(tx, S("subnet-1"));
    struct ec2_security_group_rule *rule = security_group_rule_create(tx, RULE);

    vpc_create(tx, VPC)->cidr_block = S("10.0.0.0/16");
    subnet->vpc_id = VPC;
    subnet->cidr_block = S("10.0.1.0/24");
    security_group_create(tx, GROUP)->vpc_id = VPC;
    rule->group_id = GROUP;
    rule->ip_protocol = S("tcp");
    rule->from_port = rule->to_port = INT(80);
    rule->cidr_ipv4 = S("0.0.0.0/0");
}

static void make_interface(struct tx *tx)
{
    static struct ec2_group_identifier group = {.group_id = {"sg-00000000000000001", 20}};
    static struct ec2_network_interface_private_ip_address address = {.private_ip_address = {"10.0.1.4", 8}};
    struct ec2_network_interface *eni = network_interface_create(tx, INTERFACE);

    eni->attachment = arena_new(&arena, struct ec2_network_interface_attachment);
    eni->attachment->instance_id = INSTANCE;
    eni->attachment->device_index = INT(0);
    eni->vpc_id = VPC;
    eni->subnet_id = S("subnet-1");
    eni->mac_address = S("02:00:00:00:00:01");
    eni->public_wanted = NO;
    address.primary = YES;
    eni->private_ip_addresses.items = &address;
    eni->private_ip_addresses.count = 1;
    eni->groups.items = &group;
    eni->groups.count = 1;
}

void make_instance(enum instance_state state)
{
    struct tx *tx = edit();
    struct ec2_instance *instance = instance_create(tx, INSTANCE);

    make_network(tx);
    make_interface(tx);
    instance->instance_type = S("t3.micro");
    instance->image_id = S("ami-1");
    instance->generation = INT(1);
    instance->booted = BOOL(state == INSTANCE_RUNNING);
    instance->reboots_asked = instance->reboots_done = INT(0);
    instance->cpu_options = arena_new(&arena, struct ec2_cpu_options);
    instance->cpu_options->core_count = instance->cpu_options->threads_per_core = INT(1);
    instance->metadata_options = arena_new(&arena, struct ec2_instance_metadata_options_response);
    instance_set_state(&arena, instance, state);
    commit(tx);
}

void set_state(enum instance_state state)
{
    struct tx *tx = edit();

    instance_set_state(&arena, tx_edit(tx, EC2_INSTANCE, INSTANCE), state);
    commit(tx);
}

void set_port(int port)
{
    struct tx *tx = edit();
    struct ec2_security_group_rule *rule = tx_edit(tx, EC2_SECURITY_GROUP_RULE, RULE);

    rule->from_port = rule->to_port = INT(port);
    commit(tx);
}

void want_look(void)
{
    struct tx *tx = edit();

    tx_edit(tx, EC2_INSTANCE, INSTANCE);
    commit(tx);
}

void ask_reboot(void)
{
    struct tx *tx = edit();

    ((struct ec2_instance *)tx_edit(tx, EC2_INSTANCE, INSTANCE))->reboots_asked = INT(1);
    commit(tx);
}

void change_vpc(void)
{
    struct tx *tx = edit();

    ((struct ec2_vpc *)tx_edit(tx, EC2_VPC, VPC))->cidr_block = S("10.0.0.0/15");
    commit(tx);
}

void delete_vpc(void)
{
    struct tx *tx = edit();

    tx_remove(tx, EC2_VPC, VPC);
    commit(tx);
}

void start(struct str type, bool public)
{
    struct tx *tx = edit();
    struct ec2_instance *instance = tx_edit(tx, EC2_INSTANCE, INSTANCE);
    struct ec2_network_interface *eni = tx_edit(tx, EC2_NETWORK_INTERFACE, INTERFACE);

    eni->public_wanted = BOOL(public);
    instance->instance_type = type;
    instance->generation = INT(2);
    instance_set_state(tx_arena(tx), instance, INSTANCE_PENDING);
    commit(tx);
}

void start_again(void)
{
    start(S("t3.micro"), false);
}

void ask_stop(void)
{
    set_state(INSTANCE_STOPPING);
}

const struct ec2_instance *instance_now(void)
{
    struct tx *tx = edit();
    const struct ec2_instance *instance = instance_peek(tx, INSTANCE);

    tx_rollback(tx);
    return instance;
}

enum instance_state state_of_instance(void)
{
    const struct ec2_instance *instance = instance_now();

    assert_non_null(instance);
    return instance_state_of(instance);
}

/* --- what happens --------------------------------------------------------------------------------------------------
 */

static void on_wake(uv_async_t *async)
{
}

static bool at_once(void)
{
    return uv_backend_timeout(&loop) == 0;
}

static bool job_runs(void)
{
    size_t held = 0;

    for (int i = 0; i < STEPS; i++)
        held += waiting((enum step)i);
    return work_pending(engine.pool) > held;
}

void settle(void)
{
    do {
        while (at_once() || job_runs())
            uv_run(&loop, at_once() ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        uv_run(&loop, UV_RUN_NOWAIT); /* what was posted */
    } while (at_once() || job_runs());
}

void report(enum workload_event_kind kind)
{
    sink.event(sink.cookie, &(struct workload_event){.kind = kind, .id = INSTANCE});
    settle();
}

void report_exit(struct workload_exit exit)
{
    sink.event(sink.cookie, &(struct workload_event){.kind = WORKLOAD_EXITED, .id = INSTANCE, .exit = exit});
    settle();
}

static void start_instances(void *arg)
{
    instances_start(instances, arg, S("tiny"));
}

static void begin_with(const struct workload_backend *backend)
{
    settle(); /* what is made before is no change */
    networks = networks_new(&engine, &fake_clock);
    engine.parking = parking_new(&engine);
    instances = instances_new(&engine, &fake_clock);
    if (backend->driver)
        sink = instances_sink(instances);
    began_us = now_us;
    networks_start(networks, backend, start_instances, (void *)backend);
    settle();
}

void begin(void)
{
    static const struct workload_backend backend = {&fake_driver, NULL};

    begin_with(&backend);
}

void begin_without_driver(void)
{
    static const struct workload_backend backend;

    begin_with(&backend);
}

/* --- other worlds --------------------------------------------------------------------------------------------------
 */

enum { MANY = 400 };

bool there_is(const char *account)
{
    for (struct world *at = NULL; (at = store_next_world(engine.store, at));)
        if (str_equal(world_account(at), str_of(account)))
            return true;
    return false;
}

void others_read(int first)
{
    char account[16];

    for (int i = first; i < first + MANY; i++) {
        snprintf(account, sizeof account, "%012d", i);
        store_world(engine.store, str_of(account), engine.region);
    }
    settle();
    for (int i = 0; i < 3; i++)
        uv_run(engine.loop, UV_RUN_NOWAIT);
}

int open_world(void **state)
{
    struct store_options options = {service_kinds, service_kind_count, NULL, &loop};
    struct err err = ERR_INIT;

    memset(steps, 0, sizeof steps);
    memset(alarms, 0, sizeof alarms);
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++)
        said[i] = 0;
    has[0] = 0;
    told_port = 0;
    now_us = 3600 * 1000000ll;
    uv_mutex_init(&lock);
    uv_cond_init(&gone_on);
    uv_loop_init(&loop);
    uv_async_init(&loop, &wake, on_wake);
    engine = (struct engine){.loop = &loop,
                             .account = S("000000000000"),
                             .region = S("us-east-1"),
                             .public_network = 0xc6120000,
                             .public_prefix = 20};
    assert_int_equal(store_open(&options, &engine.store, &err), 0);
    engine.pool = work_pool_new(&loop, WORKERS);
    world = NULL;
    world_keep(&world, store_world(engine.store, engine.account, engine.region));
    return 0;
}

static bool ended;

static void on_networks_stopped(void *arg)
{
    ended = true;
}

static void on_instances_stopped(void *arg)
{
    networks_stop(networks, on_networks_stopped, NULL);
}

int close_world(void **state)
{
    for (int i = 0; i < STEPS; i++)
        let_go((enum step)i);
    ended = false;
    instances_stop(instances, on_instances_stopped, NULL);
    settle();
    assert_true(ended);
    instances_free(instances);
    networks_free(networks);
    parking_free(engine.parking);
    world_keep(&world, NULL);
    store_close(engine.store);
    work_pool_free(engine.pool);
    uv_close((uv_handle_t *)&wake, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    uv_mutex_destroy(&lock);
    uv_cond_destroy(&gone_on);
    arena_free(&arena);
    return 0;
}
