#include "services/ec2/instance.h"
#include "services/ec2/launch.h"

/*
 * RunInstances: check all, then write all. The answer says pending; it is held until the machines run, 500 ms at most.
 */
int ec2_run_instances(struct call *call, const struct ec2_run_instances_request *in, struct ec2_reservation *out,
                      struct err *err)
{
    struct launch launch;
    int r = launch_plan(call, in, &launch, err);

    if (r < 0)
        return r;
    out->reservation_id = launch.reservation_id;
    out->owner_id = call->account;
    out->instances.items = arena_array(call->arena, struct ec2_instance, (size_t)launch.count);
    for (int64_t n = 0; n < launch.count && r == 0; n++) {
        struct ec2_instance *instance;
        r = launch_instance(call, &launch, n, &instance, err);
        if (r == 0)
            r = resource_view(call, EC2_INSTANCE, instance, &out->instances.items[out->instances.count++], err);
        if (r == 0)
            call_wait_for(call, EC2_INSTANCE, instance->instance_id, instance_settled);
    }
    return r;
}
