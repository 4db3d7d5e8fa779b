/*
 * Elastic IPs: AllocateAddress, AssociateAddress, DisassociateAddress, ReleaseAddress. The address's record is the home
 * of the allocation, the interface's of what it is put on. Source: "Elastic IP addresses", EC2 user guide.
 */
#include "services/ec2/address.h"
#include "services/ec2/instance.h"
#include "services/ec2/public_address.h"

int ec2_allocate_address(struct call *call, const struct ec2_allocate_address_request *in,
                         struct ec2_allocate_address_result *out, struct err *err)
{
    struct ec2_address *address;
    struct ec2_tag_list tags;
    struct str ip;
    int r;

    if (in->public_ipv4_pool.p || in->customer_owned_ipv4_pool.p || in->ipam_pool_id.p || in->address.p)
        return err_aws(err, &AWS_NOT_IMPLEMENTED, "Address pools, and the choice of an Elastic IP, are not built yet.");
    if (in->network_border_group.p && !str_equal(in->network_border_group, call->region))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "Invalid network border group '" STR_FMT "'.",
                       STR_ARG(str_first(in->network_border_group, 64)));
    r = tags_specified(call, &in->tag_specifications, "elastic-ip", NULL, &tags, err);
    if (r == 0)
        r = public_address_take(call->engine, call->tx, &ip, err);
    if (r < 0)
        return r;
    address = address_create(call->tx, id_new(call->arena, S("eipalloc-")));
    address->public_ip = ip;
    address->domain = S("vpc");
    address->public_ipv4_pool = S("amazon");
    address->network_border_group = call->region;
    address->tags = tags;
    out->allocation_id = address->allocation_id;
    out->public_ip = ip;
    out->domain = S("vpc");
    out->public_ipv4_pool = S("amazon");
    out->network_border_group = call->region;
    return 0;
}

/* By allocation id, or by the address itself. */
static int edit_address(struct call *call, struct str allocation_id, struct str public_ip, struct ec2_address **ret,
                        struct err *err)
{
    const struct ec2_address *const *found;

    if (allocation_id.p)
        return address_edit(call->tx, allocation_id, ret, err);
    if (!public_ip.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "Either public IP or allocation id must be specified");
    if (!address_find(call->tx, EC2_ADDRESS_BY_PUBLIC_IP, public_ip, &found))
        return err_aws(err, &EC2_INVALID_ADDRESS_NOT_FOUND, "Address '" STR_FMT "' not found.",
                       STR_ARG(str_first(public_ip, 64)));
    *ret = tx_edit(call->tx, EC2_ADDRESS, found[0]->allocation_id);
    return 0;
}

static void take_off(struct call *call, struct ec2_address *address)
{
    struct ec2_network_interface *eni = address->network_interface_id.p
                                            ? tx_edit(call->tx, EC2_NETWORK_INTERFACE, address->network_interface_id)
                                            : NULL;

    if (eni)
        public_address_detach(eni, address->public_ip);
    elastic_ip_forget(address);
}

/* The interface that the request names, by itself or by its instance. */
static int edit_target(struct call *call, const struct ec2_associate_address_request *in,
                       struct ec2_network_interface **ret, struct err *err)
{
    const struct ec2_network_interface *const *found;
    const struct ec2_instance *instance;
    size_t count;
    int r;

    if (in->network_interface_id.p)
        return network_interface_edit(call->tx, in->network_interface_id, ret, err);
    if (!in->instance_id.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "Either instance ID or network interface id must be specified");
    r = instance_get(call->tx, in->instance_id, &instance, err);
    if (r < 0)
        return r;
    count = instance_interfaces(call->tx, call->arena, instance->instance_id, &found);
    if (!count || instance_state_of(instance) == INSTANCE_SHUTTING_DOWN ||
        instance_state_of(instance) == INSTANCE_TERMINATED)
        return err_aws(err, &EC2_INVALID_INSTANCE_ID,
                       "The instance '" STR_FMT "' is not in a valid state for this operation.",
                       STR_ARG(instance->instance_id));
    if (count > 1)
        return err_aws(err, &EC2_INVALID_INSTANCE_ID,
                       "There are multiple interfaces attached to instance '" STR_FMT
                       "'. Please specify an interface ID for the operation instead.",
                       STR_ARG(instance->instance_id));
    *ret = tx_edit(call->tx, EC2_NETWORK_INTERFACE, found[0]->network_interface_id);
    return 0;
}

static int find_private(const struct ec2_network_interface *eni, struct str wanted,
                        const struct ec2_network_interface_private_ip_address **ret, struct err *err)
{
    for (size_t i = 0; i < eni->private_ip_addresses.count; i++) {
        *ret = &eni->private_ip_addresses.items[i];
        if (wanted.p ? str_equal((*ret)->private_ip_address, wanted) : (*ret)->primary.value)
            return 0;
    }
    return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                   "The private IP address '" STR_FMT "' does not belong to the interface '" STR_FMT "'.",
                   STR_ARG(str_first(wanted, 64)), STR_ARG(eni->network_interface_id));
}

/* The private address may have a public one: an Elastic IP only gives way when that is allowed. */
static int clear_private(struct call *call, const struct ec2_associate_address_request *in,
                         struct ec2_network_interface *eni,
                         const struct ec2_network_interface_private_ip_address *private, struct err *err)
{
    struct ec2_address *other;

    if (!private->association)
        return 0;
    if (!private->association->allocation_id.p) {
        public_address_detach(eni, private->association->public_ip);
        return 0;
    }
    if (in->allow_reassociation.set && !in->allow_reassociation.value)
        return err_aws(err, &EC2_RESOURCE_ALREADY_ASSOCIATED,
                       "resource " STR_FMT " is already associated with associate-id " STR_FMT,
                       STR_ARG(eni->network_interface_id), STR_ARG(private->association->association_id));
    other = tx_edit(call->tx, EC2_ADDRESS, private->association->allocation_id);
    if (other)
        take_off(call, other);
    return 0;
}

static int check_gateway(struct call *call, const struct ec2_network_interface *eni, struct err *err)
{
    if (tx_find_any(call->tx, EC2_INTERNET_GATEWAY, EC2_INTERNET_GATEWAY_BY_ATTACHMENTS_VPC_ID, eni->vpc_id))
        return 0;
    return err_aws(err, &EC2_GATEWAY_NOT_ATTACHED, "Network " STR_FMT " is not attached to any internet gateway",
                   STR_ARG(eni->vpc_id));
}

static void put_on(struct call *call, struct ec2_address *address, struct ec2_network_interface *eni,
                   const struct ec2_network_interface_private_ip_address *private)
{
    struct ec2_network_interface_association association = {.allocation_id = address->allocation_id,
                                                            .association_id = id_new(call->arena, S("eipassoc-")),
                                                            .ip_owner_id = call->account,
                                                            .public_ip = address->public_ip};

    association.public_dns_name = public_dns_name(call->arena, call->region, vpc_peek(call->tx, eni->vpc_id),
                                                  address->public_ip);
    public_address_attach(call->arena, eni, private->private_ip_address, &association);
    address->association_id = association.association_id;
    address->network_interface_id = eni->network_interface_id;
    address->network_interface_owner_id = call->account;
    address->private_ip_address = private->private_ip_address;
    address->instance_id = eni->attachment ? eni->attachment->instance_id : (struct str){0};
}

int ec2_associate_address(struct call *call, const struct ec2_associate_address_request *in,
                          struct ec2_associate_address_result *out, struct err *err)
{
    const struct ec2_network_interface_private_ip_address *private = NULL;
    struct ec2_network_interface *eni;
    struct ec2_address *address;
    struct str before;
    int r = edit_address(call, in->allocation_id, in->public_ip, &address, err);

    if (r == 0)
        r = edit_target(call, in, &eni, err);
    if (r == 0)
        r = find_private(eni, in->private_ip_address, &private, err);
    if (r == 0)
        r = check_gateway(call, eni, err);
    if (r < 0)
        return r;
    if (address->association_id.p && in->allow_reassociation.set && !in->allow_reassociation.value)
        return err_aws(err, &EC2_RESOURCE_ALREADY_ASSOCIATED,
                       "resource " STR_FMT " is already associated with associate-id " STR_FMT,
                       STR_ARG(address->allocation_id), STR_ARG(address->association_id));
    r = clear_private(call, in, eni, private, err);
    if (r < 0)
        return r;
    before = address->instance_id;
    if (address->association_id.p)
        take_off(call, address);
    put_on(call, address, eni, private);
    public_address_return(call, before);
    out->association_id = address->association_id;
    return 0;
}

int ec2_disassociate_address(struct call *call, const struct ec2_disassociate_address_request *in, void *out,
                             struct err *err)
{
    const struct ec2_address *const *found;
    struct ec2_address *address;
    struct str before;
    int r;

    if (in->association_id.p) {
        if (!address_find(call->tx, EC2_ADDRESS_BY_ASSOCIATION_ID, in->association_id, &found))
            return err_aws(err, &EC2_INVALID_ASSOCIATION_ID_NOT_FOUND,
                           "The association ID '" STR_FMT "' does not exist",
                           STR_ARG(str_first(in->association_id, 64)));
        address = tx_edit(call->tx, EC2_ADDRESS, found[0]->allocation_id);
    } else {
        r = edit_address(call, (struct str){0}, in->public_ip, &address, err);
        if (r < 0)
            return r;
    }
    before = address->instance_id;
    take_off(call, address);
    public_address_return(call, before); /* "it receives a new public IP address" */
    return 0;
}

static bool in_default_vpc(struct call *call, const struct ec2_address *address)
{
    const struct ec2_network_interface *eni = network_interface_peek(call->tx, address->network_interface_id);
    const struct ec2_vpc *vpc = eni ? vpc_peek(call->tx, eni->vpc_id) : NULL;

    return vpc && vpc->is_default.value;
}

/* In a default VPC it is taken away from whoever has it; elsewhere that must have been done. */
int ec2_release_address(struct call *call, const struct ec2_release_address_request *in, void *out, struct err *err)
{
    struct ec2_address *address;
    int r = edit_address(call, in->allocation_id, in->public_ip, &address, err);

    if (r < 0)
        return r;
    if (address->association_id.p && !in_default_vpc(call, address))
        return err_aws(err, &EC2_INVALID_IP_ADDRESS_IN_USE, "Address " STR_FMT " is in use.",
                       STR_ARG(address->public_ip));
    if (address->association_id.p) {
        struct str before = address->instance_id;
        take_off(call, address);
        public_address_return(call, before);
    }
    address_remove(call->tx, address->allocation_id);
    return 0;
}

/* By allocation ids and addresses, alone or together: every one must exist. */
int ec2_describe_addresses(struct call *call, const struct ec2_describe_addresses_request *in,
                           struct ec2_describe_addresses_result *out, struct err *err)
{
    struct ec2_describe_addresses_request by_id = *in;
    struct str *ids = arena_array(call->arena, struct str, in->allocation_ids.count + in->public_ips.count), next = {0};
    size_t count = in->allocation_ids.count;

    if (count)
        memcpy(ids, in->allocation_ids.items, count * sizeof *ids);
    for (size_t i = 0; i < in->public_ips.count; i++) {
        const struct ec2_address *const *found;
        if (!address_find(call->tx, EC2_ADDRESS_BY_PUBLIC_IP, in->public_ips.items[i], &found))
            return err_aws(err, &EC2_INVALID_ADDRESS_NOT_FOUND, "Address '" STR_FMT "' not found.",
                           STR_ARG(str_first(in->public_ips.items[i], 64)));
        ids[count++] = found[0]->allocation_id;
    }
    by_id.allocation_ids.items = ids;
    by_id.allocation_ids.count = count;
    return resource_select(call, EC2_ADDRESS, &by_id, (struct any_list *)&out->addresses, &next, err);
}

/* For DescribeAddressesAttribute: the name that an address has in reverse DNS. None is ever given one yet. */
bool address_attribute_source(struct call *call, uint64_t *position, struct ec2_address_attribute *view)
{
    const struct ec2_address *address = address_next(call->tx, position);

    if (!address)
        return false;
    view->allocation_id = address->allocation_id;
    view->public_ip = address->public_ip;
    return true;
}
