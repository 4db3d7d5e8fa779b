/*
 * The members of an instance that other records own: where it stands in the network comes from its interfaces, its
 * block devices from its volumes. Once those are gone (terminated), the members are too.
 */
#include "services/ec2/instance.h"

static struct ec2_instance_network_interface_association *
view_association(struct call *call, const struct ec2_network_interface_association *in)
{
    struct ec2_instance_network_interface_association *out;

    if (!in)
        return NULL;
    out = arena_new(call->arena, struct ec2_instance_network_interface_association);
    out->ip_owner_id = in->ip_owner_id;
    out->public_dns_name = in->public_dns_name;
    out->public_ip = in->public_ip;
    out->carrier_ip = in->carrier_ip;
    out->customer_owned_ip = in->customer_owned_ip;
    out->allocation_id = in->allocation_id;
    out->association_id = in->association_id;
    return out;
}

static void view_addresses(struct call *call, const struct ec2_network_interface *eni,
                           struct ec2_instance_network_interface *out)
{
    size_t count = eni->private_ip_addresses.count;

    out->private_ip_addresses.items = arena_array(call->arena, struct ec2_instance_private_ip_address, count);
    out->private_ip_addresses.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct ec2_network_interface_private_ip_address *from = &eni->private_ip_addresses.items[i];
        struct ec2_instance_private_ip_address *to = &out->private_ip_addresses.items[i];
        to->association = view_association(call, from->association);
        to->primary = from->primary;
        to->private_dns_name = from->private_dns_name;
        to->private_ip_address = from->private_ip_address;
    }
}

static void view_attachment(struct call *call, const struct ec2_network_interface_attachment *in,
                            struct ec2_instance_network_interface *out)
{
    struct ec2_instance_network_interface_attachment *to = arena_new(call->arena,
                                                                     struct ec2_instance_network_interface_attachment);

    to->attach_time = in->attach_time;
    to->attachment_id = in->attachment_id;
    to->delete_on_termination = in->delete_on_termination;
    to->device_index = in->device_index;
    to->network_card_index = in->network_card_index;
    to->status = in->status;
    out->attachment = to;
}

static void view_interface(struct call *call, const struct ec2_network_interface *eni,
                           struct ec2_instance_network_interface *out)
{
    out->association = view_association(call, eni->association);
    view_attachment(call, eni->attachment, out);
    view_addresses(call, eni, out);
    out->description = eni->description;
    out->groups = eni->groups;
    out->mac_address = eni->mac_address;
    out->network_interface_id = eni->network_interface_id;
    out->owner_id = eni->owner_id;
    out->private_dns_name = eni->private_dns_name;
    out->private_ip_address = eni->private_ip_address;
    out->source_dest_check = eni->source_dest_check;
    out->status = eni->status;
    out->subnet_id = eni->subnet_id;
    out->vpc_id = eni->vpc_id;
    out->interface_type = eni->interface_type;
    out->operator= eni->operator;
    out->requester_managed = eni->requester_managed;
    out->requester_id = eni->requester_id;
    out->tag_set = eni->tag_set;
}

static void view_network(struct call *call, struct ec2_instance *view)
{
    const struct ec2_network_interface *const *found, *primary;
    size_t count = instance_interfaces(call->tx, call->arena, view->instance_id, &found);

    if (!count)
        return;
    view->network_interfaces.items = arena_array(call->arena, struct ec2_instance_network_interface, count);
    view->network_interfaces.count = count;
    for (size_t i = 0; i < count; i++)
        view_interface(call, found[i], &view->network_interfaces.items[i]);
    primary = found[0];
    view->vpc_id = primary->vpc_id;
    view->subnet_id = primary->subnet_id;
    view->private_ip_address = primary->private_ip_address;
    view->private_dns_name = primary->private_dns_name;
    view->security_groups = primary->groups;
    view->source_dest_check = primary->source_dest_check;
    if (primary->association) {
        view->public_ip_address = primary->association->public_ip;
        view->public_dns_name = primary->association->public_dns_name;
    }
}

static void view_volumes(struct call *call, struct ec2_instance *view)
{
    const struct ec2_volume *const *found;
    size_t count = volume_find(call->tx, EC2_VOLUME_BY_ATTACHMENTS_INSTANCE_ID, view->instance_id, &found);

    if (!count)
        return;
    view->block_device_mappings.items = arena_array(call->arena, struct ec2_instance_block_device_mapping, count);
    view->block_device_mappings.count = count;
    for (size_t i = 0; i < count; i++) {
        const struct ec2_volume_attachment *from = &found[i]->attachments.items[0];
        struct ec2_ebs_instance_block_device *to = arena_new(call->arena, struct ec2_ebs_instance_block_device);
        to->attach_time = from->attach_time;
        to->delete_on_termination = from->delete_on_termination;
        to->status = from->state;
        to->volume_id = from->volume_id;
        view->block_device_mappings.items[i] = (struct ec2_instance_block_device_mapping){.device_name = from->device,
                                                                                          .ebs = to};
    }
}

int instance_derive(struct call *call, const struct ec2_instance *instance, struct ec2_instance *view, struct err *err)
{
    view_network(call, view);
    view_volumes(call, view);
    return 0;
}

/* A view is its instance, the interfaces and the volumes. */
size_t instance_kept_while(struct call *call, const struct ec2_instance *instance, uint64_t *versions, size_t count,
                           size_t max)
{
    const struct ec2_network_interface *const *interfaces;
    const struct ec2_volume *const *volumes;
    size_t interface_count = network_interface_find(call->tx, EC2_NETWORK_INTERFACE_BY_ATTACHMENT_INSTANCE_ID,
                                                    instance->instance_id, &interfaces);
    size_t volume_count = volume_find(call->tx, EC2_VOLUME_BY_ATTACHMENTS_INSTANCE_ID, instance->instance_id, &volumes);

    if (count + interface_count + volume_count > max)
        return 0;
    for (size_t i = 0; i < interface_count; i++)
        versions[count++] = record_version(interfaces[i]);
    for (size_t i = 0; i < volume_count; i++)
        versions[count++] = record_version(volumes[i]);
    return count;
}
