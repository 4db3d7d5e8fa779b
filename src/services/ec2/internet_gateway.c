/* Internet gateways: a VPC has one at most, a gateway one VPC. Source: "Internet gateways", VPC user guide. */
#include "services/ec2/public_address.h"

int ec2_create_internet_gateway(struct call *call, const struct ec2_create_internet_gateway_request *in,
                                struct ec2_create_internet_gateway_result *out, struct err *err)
{
    struct ec2_internet_gateway *gateway;
    struct ec2_tag_list tags;
    int r = tags_specified(call, &in->tag_specifications, "internet-gateway", NULL, &tags, err);

    if (r < 0)
        return r;
    gateway = internet_gateway_create(call->tx, id_new(call->arena, S("igw-")));
    gateway->owner_id = call->account;
    gateway->tags = tags;
    out->internet_gateway = gateway;
    return 0;
}

/* Routes of the VPC to this gateway lead nowhere while it is not attached, and show that. */
static void set_route_states(struct call *call, struct str vpc_id, struct str gateway_id, struct str state)
{
    const struct ec2_route_table *const *found;
    size_t count = route_table_find(call->tx, EC2_ROUTE_TABLE_BY_VPC_ID, vpc_id, &found);

    for (size_t i = 0; i < count; i++) {
        struct ec2_route_table *table = tx_edit(call->tx, EC2_ROUTE_TABLE, found[i]->route_table_id);
        for (size_t k = 0; k < table->routes.count; k++)
            if (str_equal(table->routes.items[k].gateway_id, gateway_id))
                table->routes.items[k].state = state;
    }
}

int ec2_attach_internet_gateway(struct call *call, const struct ec2_attach_internet_gateway_request *in, void *out,
                                struct err *err)
{
    struct ec2_internet_gateway *gateway;
    const struct ec2_vpc *vpc;
    int r = internet_gateway_edit(call->tx, in->internet_gateway_id, &gateway, err);

    if (r == 0)
        r = vpc_get(call->tx, in->vpc_id, &vpc, err);
    if (r < 0)
        return r;
    if (gateway->attachments.count)
        return err_aws(err, &EC2_RESOURCE_ALREADY_ASSOCIATED,
                       "resource " STR_FMT " is already attached to network " STR_FMT,
                       STR_ARG(gateway->internet_gateway_id), STR_ARG(gateway->attachments.items[0].vpc_id));
    if (tx_find_any(call->tx, EC2_INTERNET_GATEWAY, EC2_INTERNET_GATEWAY_BY_ATTACHMENTS_VPC_ID, vpc->vpc_id))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Network " STR_FMT " already has an internet gateway attached", STR_ARG(vpc->vpc_id));
    gateway->attachments.items = arena_new(call->arena, struct ec2_internet_gateway_attachment);
    gateway->attachments.count = 1;
    gateway->attachments.items[0] = (struct ec2_internet_gateway_attachment){.state = S("available"),
                                                                             .vpc_id = vpc->vpc_id};
    set_route_states(call, vpc->vpc_id, gateway->internet_gateway_id, S("active"));
    return 0;
}

static bool has_public_address(struct call *call, struct str vpc_id)
{
    const struct ec2_network_interface *const *interfaces;
    size_t count = network_interface_find(call->tx, EC2_NETWORK_INTERFACE_BY_VPC_ID, vpc_id, &interfaces);

    for (size_t i = 0; i < count; i++)
        if (public_address_any(interfaces[i]))
            return true;
    return false;
}

int ec2_detach_internet_gateway(struct call *call, const struct ec2_detach_internet_gateway_request *in, void *out,
                                struct err *err)
{
    struct ec2_internet_gateway *gateway;
    int r = internet_gateway_edit(call->tx, in->internet_gateway_id, &gateway, err);

    if (r < 0)
        return r;
    if (!gateway->attachments.count || !str_equal(gateway->attachments.items[0].vpc_id, in->vpc_id))
        return err_aws(err, &EC2_GATEWAY_NOT_ATTACHED, "resource " STR_FMT " is not attached to network " STR_FMT,
                       STR_ARG(in->internet_gateway_id), STR_ARG(str_first(in->vpc_id, 64)));
    if (has_public_address(call, in->vpc_id))
        return err_aws(
            err, &EC2_DEPENDENCY_VIOLATION,
            "Network " STR_FMT
            " has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.",
            STR_ARG(in->vpc_id));
    gateway->attachments.count = 0;
    set_route_states(call, in->vpc_id, gateway->internet_gateway_id, S("blackhole"));
    return 0;
}

int ec2_delete_internet_gateway(struct call *call, const struct ec2_delete_internet_gateway_request *in, void *out,
                                struct err *err)
{
    const struct ec2_internet_gateway *gateway;
    int r = internet_gateway_get(call->tx, in->internet_gateway_id, &gateway, err);

    if (r < 0)
        return r;
    if (gateway->attachments.count)
        return err_aws(err, &EC2_DEPENDENCY_VIOLATION,
                       "The internetGateway '" STR_FMT "' has dependencies and cannot be deleted.",
                       STR_ARG(gateway->internet_gateway_id));
    internet_gateway_remove(call->tx, gateway->internet_gateway_id);
    return 0;
}
