/*
 * DescribeInstanceStatus: computed from the instances. A running one is initializing until its boot has finished, then
 * ok: no clock decides that. Source: "Status checks for Amazon EC2 instances", EC2 user guide.
 */
#include "services/ec2/instance.h"

static struct ec2_instance_status_summary *summary(struct call *call, struct str status, struct str reachability)
{
    struct ec2_instance_status_summary *out = arena_new(call->arena, struct ec2_instance_status_summary);

    out->status = status;
    if (reachability.p) {
        out->details.items = arena_new(call->arena, struct ec2_instance_status_details);
        out->details.count = 1;
        out->details.items[0] = (struct ec2_instance_status_details){.name = S("reachability"), .status = reachability};
    }
    return out;
}

static struct ec2_ebs_status_summary *ebs_summary(struct call *call, bool booted)
{
    struct ec2_ebs_status_summary *out = arena_new(call->arena, struct ec2_ebs_status_summary);

    out->status = booted ? S("ok") : S("initializing");
    out->details.items = arena_new(call->arena, struct ec2_ebs_status_details);
    out->details.count = 1;
    out->details.items[0] = (struct ec2_ebs_status_details){.name = S("reachability"),
                                                            .status = booted ? S("passed") : S("initializing")};
    return out;
}

static void fill(struct call *call, const struct ec2_instance *instance, struct ec2_instance_status *view)
{
    bool booted = instance->booted.value;

    view->instance_id = instance->instance_id;
    view->availability_zone = instance->placement->availability_zone;
    view->availability_zone_id = instance->placement->availability_zone_id;
    view->instance_state = instance->state;
    view->operator= instance->operator;
    if (instance_state_of(instance) != INSTANCE_RUNNING) {
        view->instance_status = view->system_status = summary(call, S("not-applicable"), (struct str){0});
        return;
    }
    view->instance_status = summary(call, booted ? S("ok") : S("initializing"),
                                    booted ? S("passed") : S("initializing"));
    view->system_status = summary(call, S("ok"), S("passed"));
    view->attached_ebs_status = ebs_summary(call, true);
}

/* Running instances only, unless the request includes all. */
bool instance_status_source(struct call *call, uint64_t *position, struct ec2_instance_status *view)
{
    const struct ec2_describe_instance_status_request *in = call->in;
    const struct ec2_instance *instance;

    while ((instance = instance_next(call->tx, position))) {
        if (instance_state_of(instance) != INSTANCE_RUNNING && !in->include_all_instances.value)
            continue;
        fill(call, instance, view);
        return true;
    }
    return false;
}
