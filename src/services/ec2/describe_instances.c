#include "services/ec2/instance.h"

/* DescribeInstances: instances as their row says, those of one launch together in their reservation. */
int ec2_describe_instances(struct call *call, const struct ec2_describe_instances_request *in,
                           struct ec2_describe_instances_result *out, struct err *err)
{
    struct ec2_instance_list found;
    struct ec2_reservation *reservation = NULL;
    int r = resource_select(call, EC2_INSTANCE, in, (struct any_list *)&found, &out->next_token, err);

    if (r < 0)
        return r;
    out->reservations.items = arena_array(call->arena, struct ec2_reservation, found.count + 1);
    for (size_t i = 0; i < found.count; i++) {
        struct ec2_instance *instance = &found.items[i];
        if (!reservation || !str_equal(reservation->reservation_id, instance->reservation_id)) {
            reservation = &out->reservations.items[out->reservations.count++];
            reservation->reservation_id = instance->reservation_id;
            reservation->owner_id = instance->owner_id;
            reservation->instances.items = instance; /* they lie side by side */
        }
        reservation->instances.count++;
    }
    return 0;
}
