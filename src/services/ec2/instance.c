#include "services/ec2/instance.h"

#include "base/time.h"
#include "services/ec2/network_interface.h"

#include <stdlib.h>

static const struct {
    enum instance_state state;
    struct str name;
} states[] = {
    {INSTANCE_PENDING, {"pending", 7}},
    {INSTANCE_RUNNING, {"running", 7}},
    {INSTANCE_SHUTTING_DOWN, {"shutting-down", 13}},
    {INSTANCE_TERMINATED, {"terminated", 10}},
    {INSTANCE_STOPPING, {"stopping", 8}},
    {INSTANCE_STOPPED, {"stopped", 7}},
};

struct ec2_instance_state instance_state(enum instance_state state)
{
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (states[i].state == state)
            return (struct ec2_instance_state){.code = INT(state), .name = states[i].name};
    abort();
}

void instance_set_state(struct arena *arena, struct ec2_instance *instance, enum instance_state state)
{
    instance->state = arena_new(arena, struct ec2_instance_state);
    *instance->state = instance_state(state);
}

void instance_set_reason(struct arena *arena, struct ec2_instance *instance, struct str code, struct str message)
{
    if (!code.p) {
        instance->state_reason = NULL;
        return;
    }
    instance->state_reason = arena_new(arena, struct ec2_state_reason);
    *instance->state_reason = (struct ec2_state_reason){.code = code, .message = message};
}

bool instance_settled(const void *record)
{
    const struct ec2_instance *instance = record;

    switch (instance_state_of(instance)) {
    case INSTANCE_PENDING:
    case INSTANCE_STOPPING:
    case INSTANCE_SHUTTING_DOWN:
        return false;
    case INSTANCE_RUNNING:
        return instance->booted.value;
    case INSTANCE_STOPPED:
    case INSTANCE_TERMINATED:
        return true;
    }
    return true;
}

struct str instance_transition(struct arena *arena, int64_t now_ms)
{
    char text[TIME_ISO_SIZE];
    struct str iso = time_iso(now_ms, text);

    return arena_printf(arena, "User initiated (%.10s %.8s GMT)", iso.p, iso.p + 11);
}

size_t instance_interfaces(struct tx *tx, struct arena *arena, struct str instance_id,
                           const struct ec2_network_interface *const **ret)
{
    const struct ec2_network_interface *const *found, **sorted;
    size_t count = network_interface_find(tx, EC2_NETWORK_INTERFACE_BY_ATTACHMENT_INSTANCE_ID, instance_id, &found);

    *ret = found;
    if (count < 2)
        return count;
    sorted = arena_array(arena, const struct ec2_network_interface *, count);
    for (size_t i = 0; i < count; i++) {
        size_t k = i;
        for (; k > 0 && sorted[k - 1]->attachment->device_index.value > found[i]->attachment->device_index.value; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = found[i];
    }
    *ret = sorted;
    return count;
}

void instance_release(struct tx *tx, struct arena *arena, struct str instance_id)
{
    const struct ec2_network_interface *const *interfaces;
    const struct ec2_volume *const *volumes;
    size_t count = instance_interfaces(tx, arena, instance_id, &interfaces);

    for (size_t i = 0; i < count; i++) {
        if (interfaces[i]->attachment->delete_on_termination.value) {
            network_interface_free_addresses(tx, interfaces[i]);
            network_interface_remove(tx, interfaces[i]->network_interface_id);
            continue;
        }
        network_interface_leave(tx, interfaces[i]->network_interface_id);
    }
    count = volume_find(tx, EC2_VOLUME_BY_ATTACHMENTS_INSTANCE_ID, instance_id, &volumes);
    for (size_t i = 0; i < count; i++) {
        struct ec2_volume *volume;
        if (volumes[i]->attachments.items[0].delete_on_termination.value) {
            volume_remove(tx, volumes[i]->volume_id);
            continue;
        }
        volume = tx_edit(tx, EC2_VOLUME, volumes[i]->volume_id);
        volume->attachments.count = 0;
        volume->state = S("available");
    }
}
