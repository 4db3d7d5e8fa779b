/*
 * Network interfaces: their attributes, and the end of one that its instance has left behind. Sources: the operations
 * in the API reference; "Elastic network interfaces", EC2 user guide.
 */
#include "services/ec2/network_interface.h"

#include "services/ec2/public_address.h"
#include "services/ec2/quotas.h"

static bool has_group(const struct ec2_group_identifier_list *groups, struct str id)
{
    for (size_t i = 0; i < groups->count; i++)
        if (str_equal(groups->items[i].group_id, id))
            return true;
    return false;
}

int network_interface_set_groups(struct call *call, struct ec2_network_interface *eni, const struct str *ids,
                                 size_t count, struct err *err)
{
    struct ec2_group_identifier_list groups = {.items = arena_array(call->arena, struct ec2_group_identifier, count)};

    if (!count)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter groupSet");
    for (size_t i = 0; i < count; i++) {
        const struct ec2_security_group *group;
        int r = security_group_get(call->tx, ids[i], &group, err);
        if (r < 0)
            return r;
        if (!str_equal(group->vpc_id, eni->vpc_id))
            return err_aws(err, &AWS_INVALID_PARAMETER,
                           "You have specified two resources that belong to different networks.");
        if (!has_group(&groups, group->group_id))
            groups.items[groups.count++] = (struct ec2_group_identifier){.group_id = group->group_id,
                                                                         .group_name = group->group_name};
    }
    if ((int64_t)groups.count > quota_value(QUOTA_GROUPS_PER_INTERFACE))
        return err_aws(err, &EC2_SECURITY_GROUPS_PER_INTERFACE_LIMIT_EXCEEDED,
                       "The maximum number of security groups per interface has been reached.");
    eni->groups = groups;
    return 0;
}

void network_interface_free_addresses(struct tx *tx, const struct ec2_network_interface *eni)
{
    const struct ec2_address *const *found;
    size_t count = address_find(tx, EC2_ADDRESS_BY_NETWORK_INTERFACE_ID, eni->network_interface_id, &found);

    for (size_t i = 0; i < count; i++)
        elastic_ip_forget(tx_edit(tx, EC2_ADDRESS, found[i]->allocation_id));
}

void network_interface_leave(struct tx *tx, struct str id)
{
    struct ec2_network_interface *eni = tx_edit(tx, EC2_NETWORK_INTERFACE, id);
    const struct ec2_address *const *found;
    size_t count = address_find(tx, EC2_ADDRESS_BY_NETWORK_INTERFACE_ID, id, &found);

    for (size_t i = 0; i < count; i++) {
        struct ec2_address *address = tx_edit(tx, EC2_ADDRESS, found[i]->allocation_id);
        address->instance_id = (struct str){0};
    }
    if (eni->association && !eni->association->allocation_id.p)
        public_address_detach(eni, eni->association->public_ip);
    eni->attachment = NULL;
    eni->status = S("available");
}

static int set_attachment(struct ec2_network_interface *eni, const struct ec2_network_interface_attachment_changes *in,
                          struct err *err)
{
    if (!in->attachment_id.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter attachment.attachmentId");
    if (!eni->attachment || !str_equal(eni->attachment->attachment_id, in->attachment_id))
        return err_aws(err, &EC2_INVALID_ATTACHMENT_ID_NOT_FOUND, "The attachment ID '" STR_FMT "' does not exist",
                       STR_ARG(str_first(in->attachment_id, 64)));
    if (in->ena_queue_count.set || in->default_ena_queue_count.set)
        return err_aws(err, &AWS_NOT_IMPLEMENTED, "The number of ENA queues of an interface is not built yet.");
    if (in->delete_on_termination.set)
        eni->attachment->delete_on_termination = in->delete_on_termination;
    return 0;
}

/* Of a running instance the address comes or goes at once. */
static void set_public(struct call *call, struct ec2_network_interface *eni, struct opt_bool wanted)
{
    eni->public_wanted = wanted;
    if (wanted.value && eni->attachment)
        public_address_return(call, eni->attachment->instance_id);
    else if (!wanted.value && eni->association && !eni->association->allocation_id.p)
        public_address_detach(eni, eni->association->public_ip);
}

static size_t attributes_given(const struct ec2_modify_network_interface_attribute_request *in)
{
    return (in->description != NULL) + (in->source_dest_check != NULL) + (in->groups.count > 0) +
           (in->attachment != NULL) + in->associate_public_ip_address.set;
}

static int refuse_not_built(const struct ec2_modify_network_interface_attribute_request *in, struct err *err)
{
    if (in->ena_srd_specification || in->enable_primary_ipv6.set || in->connection_tracking_specification ||
        in->associated_subnet_ids.count)
        return err_aws(err, &AWS_NOT_IMPLEMENTED,
                       "ENA Express, IPv6, time-outs of connection tracking and further subnets of a network interface "
                       "are not built yet.");
    return 0;
}

int ec2_modify_network_interface_attribute(struct call *call,
                                           const struct ec2_modify_network_interface_attribute_request *in, void *out,
                                           struct err *err)
{
    struct ec2_network_interface *eni;
    int r = network_interface_edit(call->tx, in->network_interface_id, &eni, err);

    if (r == 0)
        r = refuse_not_built(in, err);
    if (r < 0)
        return r;
    if (attributes_given(in) != 1)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       attributes_given(in) ? "Fields for multiple attribute types specified"
                                            : "No attributes specified.");
    if (in->groups.count)
        return network_interface_set_groups(call, eni, in->groups.items, in->groups.count, err);
    if (in->attachment)
        return set_attachment(eni, in->attachment, err);
    if (in->description)
        eni->description = in->description->value.p ? in->description->value : S("");
    if (in->source_dest_check && in->source_dest_check->value.set)
        eni->source_dest_check = in->source_dest_check->value;
    if (in->associate_public_ip_address.set)
        set_public(call, eni, in->associate_public_ip_address);
    return 0;
}

int ec2_reset_network_interface_attribute(struct call *call,
                                          const struct ec2_reset_network_interface_attribute_request *in, void *out,
                                          struct err *err)
{
    struct ec2_network_interface *eni;
    int r = network_interface_edit(call->tx, in->network_interface_id, &eni, err);

    if (r < 0)
        return r;
    if (!in->source_dest_check.p)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION, "No attributes specified.");
    eni->source_dest_check = YES;
    return 0;
}

int ec2_describe_network_interface_attribute(struct call *call,
                                             const struct ec2_describe_network_interface_attribute_request *in,
                                             struct ec2_describe_network_interface_attribute_result *out,
                                             struct err *err)
{
    const struct ec2_network_interface *eni;
    int r = network_interface_get(call->tx, in->network_interface_id, &eni, err);

    if (r < 0)
        return r;
    if (!in->attribute.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter attribute");
    out->network_interface_id = eni->network_interface_id;
    if (str_equal(in->attribute, S("groupSet"))) {
        out->groups = eni->groups;
    } else if (str_equal(in->attribute, S("attachment"))) {
        out->attachment = eni->attachment;
    } else if (str_equal(in->attribute, S("associatePublicIpAddress"))) {
        out->associate_public_ip_address = BOOL(eni->public_wanted.value);
    } else if (str_equal(in->attribute, S("sourceDestCheck"))) {
        out->source_dest_check = arena_new(call->arena, struct ec2_attribute_boolean_value);
        out->source_dest_check->value = eni->source_dest_check;
    } else {
        out->description = arena_new(call->arena, struct ec2_attribute_value);
        out->description->value = eni->description;
    }
    return 0;
}

int ec2_delete_network_interface(struct call *call, const struct ec2_delete_network_interface_request *in, void *out,
                                 struct err *err)
{
    const struct ec2_network_interface *eni;
    int r = network_interface_get(call->tx, in->network_interface_id, &eni, err);

    if (r < 0)
        return r;
    if (eni->attachment)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "Network interface '" STR_FMT "' is currently in use.",
                       STR_ARG(eni->network_interface_id));
    network_interface_free_addresses(call->tx, eni);
    network_interface_remove(call->tx, eni->network_interface_id);
    return 0;
}
