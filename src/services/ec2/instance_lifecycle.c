/*
 * StartInstances, StopInstances, RebootInstances, TerminateInstances: what should be. Every id is looked at before any
 * is changed; the reconciler brings the machines after. Source: "Amazon EC2 instance state changes", EC2 user guide.
 */
#include "base/time.h"
#include "services/ec2/instance.h"

/* The instances named, each once, ready to change. */
static int edit_all(struct call *call, const struct ec2_instance_id_string_list *ids, struct ec2_instance ***ret,
                    size_t *ret_count, struct err *err)
{
    struct ec2_instance **instances = arena_array(call->arena, struct ec2_instance *, ids->count);
    struct str *missing = arena_array(call->arena, struct str, ids->count);
    const struct resource *row = &ec2_resources[EC2_INSTANCE];
    size_t count = 0, missing_count = 0;

    for (size_t i = 0; i < ids->count; i++) {
        if (!resource_id_well_formed(row, ids->items[i]))
            return resource_malformed(row, ids->items[i], err);
        if (!instance_peek(call->tx, ids->items[i]))
            missing[missing_count++] = ids->items[i];
    }
    if (missing_count)
        return resource_not_found(row, missing, missing_count, err);
    for (size_t i = 0; i < ids->count; i++) {
        bool again = false;
        for (size_t k = 0; k < count && !again; k++)
            again = str_equal(instances[k]->instance_id, ids->items[i]);
        if (!again)
            instances[count++] = tx_edit(call->tx, EC2_INSTANCE, ids->items[i]);
    }
    *ret = instances;
    *ret_count = count;
    return 0;
}

/* Answers and waits for one change. */
static void note_change(struct call *call, struct ec2_instance_state_change_list *out, struct ec2_instance *instance,
                        enum instance_state before)
{
    struct ec2_instance_state_change *change = &out->items[out->count++];

    change->instance_id = instance->instance_id;
    change->previous_state = arena_new(call->arena, struct ec2_instance_state);
    *change->previous_state = instance_state(before);
    change->current_state = arena_new(call->arena, struct ec2_instance_state);
    *change->current_state = instance_state(instance_state_of(instance));
    if (!instance_settled(instance))
        call_wait_for(call, EC2_INSTANCE, instance->instance_id, instance_settled);
}

static int wrong_state(const struct ec2_instance *instance, const char *what, struct err *err)
{
    return err_aws(err, &EC2_INCORRECT_INSTANCE_STATE,
                   "The instance '" STR_FMT "' is not in a state from which it can be %s.",
                   STR_ARG(instance->instance_id), what);
}

int ec2_start_instances(struct call *call, const struct ec2_start_instances_request *in,
                        struct ec2_start_instances_result *out, struct err *err)
{
    struct ec2_instance **instances;
    size_t count;
    int r = edit_all(call, &in->instance_ids, &instances, &count, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        enum instance_state state = instance_state_of(instances[i]);
        if (state != INSTANCE_STOPPED && state != INSTANCE_RUNNING && state != INSTANCE_PENDING)
            r = wrong_state(instances[i], "started", err);
    }
    if (r < 0)
        return r;
    out->starting_instances.items = arena_array(call->arena, struct ec2_instance_state_change, count);
    for (size_t i = 0; i < count; i++) {
        enum instance_state before = instance_state_of(instances[i]);
        if (before == INSTANCE_STOPPED) {
            instance_set_state(call->arena, instances[i], INSTANCE_PENDING);
            instance_set_reason(call->arena, instances[i], (struct str){0}, (struct str){0});
            instances[i]->state_transition_reason = S("");
            instances[i]->launch_time = TIME(time_now_ms() / 1000 * 1000);
            instances[i]->generation.value++;
            instances[i]->booted = NO;
        }
        note_change(call, &out->starting_instances, instances[i], before);
    }
    return 0;
}

static void begin_stop(struct call *call, struct ec2_instance *instance, enum instance_state state)
{
    instance_set_state(call->arena, instance, state);
    instance_set_reason(call->arena, instance, S("Client.UserInitiatedShutdown"),
                        S("Client.UserInitiatedShutdown: User initiated shutdown"));
    instance->state_transition_reason = instance_transition(call->arena, time_now_ms());
}

static int check_stop(const struct ec2_stop_instances_request *in, const struct ec2_instance *instance, struct err *err)
{
    enum instance_state state = instance_state_of(instance);

    if (in->hibernate.value)
        return err_aws(err, &EC2_UNSUPPORTED_HIBERNATION_CONFIGURATION,
                       "The instance '" STR_FMT "' is not configured for hibernation, so it cannot be hibernated.",
                       STR_ARG(instance->instance_id));
    if (instance->disable_api_stop.value && state != INSTANCE_STOPPED)
        return err_aws(err, &EC2_OPERATION_NOT_PERMITTED,
                       "The instance '" STR_FMT
                       "' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.",
                       STR_ARG(instance->instance_id));
    if (str_equal(instance->root_device_type, S("instance-store")))
        return err_aws(err, &EC2_UNSUPPORTED_OPERATION,
                       "The instance '" STR_FMT "' does not have an 'ebs' root device type and cannot be stopped.",
                       STR_ARG(instance->instance_id));
    if (state != INSTANCE_RUNNING && state != INSTANCE_STOPPED && state != INSTANCE_STOPPING)
        return wrong_state(instance, "stopped", err);
    return 0;
}

int ec2_stop_instances(struct call *call, const struct ec2_stop_instances_request *in,
                       struct ec2_stop_instances_result *out, struct err *err)
{
    struct ec2_instance **instances;
    size_t count;
    int r = edit_all(call, &in->instance_ids, &instances, &count, err);

    for (size_t i = 0; i < count && r == 0; i++)
        r = check_stop(in, instances[i], err);
    if (r < 0)
        return r;
    out->stopping_instances.items = arena_array(call->arena, struct ec2_instance_state_change, count);
    for (size_t i = 0; i < count; i++) {
        enum instance_state before = instance_state_of(instances[i]);
        if (before == INSTANCE_RUNNING)
            begin_stop(call, instances[i], INSTANCE_STOPPING);
        if (before != INSTANCE_STOPPED)
            instances[i]->force_stop = BOOL(in->force.value || instances[i]->force_stop.value);
        note_change(call, &out->stopping_instances, instances[i], before);
    }
    return 0;
}

int ec2_terminate_instances(struct call *call, const struct ec2_terminate_instances_request *in,
                            struct ec2_terminate_instances_result *out, struct err *err)
{
    struct ec2_instance **instances;
    size_t count;
    int r = edit_all(call, &in->instance_ids, &instances, &count, err);

    for (size_t i = 0; i < count && r == 0; i++)
        if (instances[i]->disable_api_termination.value && instance_state_of(instances[i]) != INSTANCE_TERMINATED)
            r = err_aws(err, &EC2_OPERATION_NOT_PERMITTED,
                        "The instance '" STR_FMT
                        "' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.",
                        STR_ARG(instances[i]->instance_id));
    if (r < 0)
        return r;
    out->terminating_instances.items = arena_array(call->arena, struct ec2_instance_state_change, count);
    for (size_t i = 0; i < count; i++) {
        enum instance_state before = instance_state_of(instances[i]);
        if (before != INSTANCE_TERMINATED && before != INSTANCE_SHUTTING_DOWN)
            begin_stop(call, instances[i], INSTANCE_SHUTTING_DOWN);
        note_change(call, &out->terminating_instances, instances[i], before);
    }
    return 0;
}

int ec2_reboot_instances(struct call *call, const struct ec2_reboot_instances_request *in, void *out, struct err *err)
{
    struct ec2_instance **instances;
    size_t count;
    int r = edit_all(call, &in->instance_ids, &instances, &count, err);

    for (size_t i = 0; i < count && r == 0; i++)
        if (instance_state_of(instances[i]) != INSTANCE_RUNNING)
            r = wrong_state(instances[i], "rebooted", err);
    for (size_t i = 0; i < count && r == 0; i++) {
        instances[i]->reboots_asked = INT(instances[i]->reboots_asked.value + 1);
        instances[i]->booted = NO;
        call_wait_for(call, EC2_INSTANCE, instances[i]->instance_id, instance_settled);
    }
    return r;
}

/* Basic or detailed monitoring: a fact of the record; nothing measures yet. */
static int monitor(struct call *call, const struct ec2_instance_id_string_list *ids, struct str now, struct str settled,
                   struct ec2_instance_monitoring_list *out, struct err *err)
{
    struct ec2_instance **instances;
    size_t count;
    int r = edit_all(call, ids, &instances, &count, err);

    if (r < 0)
        return r;
    out->items = arena_array(call->arena, struct ec2_instance_monitoring, count);
    for (size_t i = 0; i < count; i++) {
        struct ec2_monitoring *shown = arena_new(call->arena, struct ec2_monitoring);
        instances[i]->monitoring = arena_new(call->arena, struct ec2_monitoring);
        instances[i]->monitoring->state = settled;
        shown->state = now;
        out->items[out->count++] = (struct ec2_instance_monitoring){.instance_id = instances[i]->instance_id,
                                                                    .monitoring = shown};
    }
    return 0;
}

int ec2_monitor_instances(struct call *call, const struct ec2_monitor_instances_request *in,
                          struct ec2_monitor_instances_result *out, struct err *err)
{
    return monitor(call, &in->instance_ids, S("pending"), S("enabled"), &out->instance_monitorings, err);
}

int ec2_unmonitor_instances(struct call *call, const struct ec2_unmonitor_instances_request *in,
                            struct ec2_unmonitor_instances_result *out, struct err *err)
{
    return monitor(call, &in->instance_ids, S("disabling"), S("disabled"), &out->instance_monitorings, err);
}
