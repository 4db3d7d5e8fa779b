/*
 * CreateVpc, DeleteVpc and a VPC's attributes. Sources: the operations in the API reference; "VPC CIDR blocks" in the
 * VPC user guide for the sizes.
 */
#include "services/ec2/address.h"
#include "services/ec2/public_address.h"
#include "services/ec2/vpc_parts.h"

/*
 * Addresses that no interface can have, whoever asks: "this network", loopback, link-local (where the metadata service
 * and the resolver answer), multicast, reserved. A VPC's block, of /16 at most, lies in one of them or outside of all.
 * Source: RFC 6890; "VPC CIDR blocks" allows private and publicly routable ones.
 */
static bool is_special(uint32_t network)
{
    return network >> 24 == 0 || network >> 24 == 127 || network >> 16 == 0xa9fe || network >> 28 >= 0xe;
}

static int check_cidr(struct str cidr, struct str *ret, struct call *call, struct err *err)
{
    uint32_t network;
    unsigned prefix;

    if (!cidr.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "Either 'cidrBlock' or 'ipv4IpamPoolId' should be provided.");
    if (!cidr_parse_any(cidr, &network, &prefix))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Value (" STR_FMT ") for parameter cidrBlock is invalid. This is not a valid CIDR block.",
                       STR_ARG(str_first(cidr, 64)));
    if (prefix < 16 || prefix > 28 || is_special(network))
        return err_aws(err, &EC2_INVALID_VPC_RANGE, "The CIDR '" STR_FMT "' is invalid.", STR_ARG(cidr));
    network &= prefix_mask(prefix); /* AWS clears the host bits */
    *ret = call_printf(call, STR_FMT "/%u", STR_ARG(address_text(call->arena, network)), prefix);
    return 0;
}

static struct str default_dhcp_options(struct call *call)
{
    const struct ec2_dhcp_options *options;
    uint64_t position = 0;

    options = dhcp_options_next(call->tx, &position);
    return options ? options->dhcp_options_id : S("default");
}

static void fill(struct call *call, const struct ec2_create_vpc_request *in, struct str cidr, struct ec2_vpc *vpc)
{
    struct ec2_vpc_cidr_block_association *association = arena_new(call->arena, struct ec2_vpc_cidr_block_association);

    vpc->owner_id = call->account;
    vpc->state = S("available");
    vpc->cidr_block = cidr;
    vpc->dhcp_options_id = default_dhcp_options(call);
    vpc->instance_tenancy = in->instance_tenancy.p ? in->instance_tenancy : S("default");
    vpc->is_default = NO;
    vpc->dns_support = YES;
    vpc->dns_hostnames = NO;
    vpc->cidr_block_association_set.items = association;
    vpc->cidr_block_association_set.count = 1;
    association->association_id = id_new(call->arena, S("vpc-cidr-assoc-"));
    association->cidr_block = cidr;
    association->cidr_block_state = arena_new(call->arena, struct ec2_vpc_cidr_block_state);
    association->cidr_block_state->state = S("associated");
    vpc->block_public_access_states = arena_new(call->arena, struct ec2_block_public_access_states);
    vpc->block_public_access_states->internet_gateway_block_mode = S("off");
}

/* The answer says pending, as AWS's does; the VPC is available. */
int ec2_create_vpc(struct call *call, const struct ec2_create_vpc_request *in, struct ec2_create_vpc_result *out,
                   struct err *err)
{
    struct vpc_parts parts = {.tx = call->tx, .arena = call->arena, .account = call->account, .region = call->region};
    struct ec2_tag_list tags;
    struct ec2_vpc *vpc;
    int r;

    if (in->ipv4_ipam_pool_id.p || in->ipv6_ipam_pool_id.p || in->ipv6_pool.p ||
        in->amazon_provided_ipv6_cidr_block.value || in->ipv6_cidr_block.p)
        return err_aws(err, &AWS_NOT_IMPLEMENTED, "IPv6 CIDR blocks and IPAM pools of VPCs are not built yet.");
    if (str_equal(in->instance_tenancy, S("host")))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Value (host) for parameter instanceTenancy is invalid. A VPC's is default or dedicated.");
    r = check_cidr(in->cidr_block, &parts.cidr, call, err);
    if (r == 0)
        r = tags_specified(call, &in->tag_specifications, "vpc", NULL, &tags, err);
    if (r < 0)
        return r;
    parts.vpc = id_new(call->arena, S("vpc-"));
    vpc = vpc_create(call->tx, parts.vpc);
    fill(call, in, parts.cidr, vpc);
    vpc->tags = tags;
    vpc_make_parts(&parts, 0);
    out->vpc = arena_new(call->arena, struct ec2_vpc);
    *out->vpc = *vpc;
    out->vpc->state = S("pending");
    return 0;
}

/* What a VPC has of its own goes with it; what somebody made in it holds it. */
static struct str dependency_of(struct call *call, struct str id)
{
    const struct ec2_route_table *const *tables;
    const struct ec2_security_group *const *groups;
    const struct ec2_network_acl *const *acls;
    size_t count;

    if (tx_find_any(call->tx, EC2_SUBNET, EC2_SUBNET_BY_VPC_ID, id) ||
        tx_find_any(call->tx, EC2_INTERNET_GATEWAY, EC2_INTERNET_GATEWAY_BY_ATTACHMENTS_VPC_ID, id) ||
        tx_find_any(call->tx, EC2_NETWORK_INTERFACE, EC2_NETWORK_INTERFACE_BY_VPC_ID, id))
        return id;
    count = route_table_find(call->tx, EC2_ROUTE_TABLE_BY_VPC_ID, id, &tables);
    for (size_t i = 0; i < count; i++)
        if (!tables[i]->associations.count || !tables[i]->associations.items[0].main.value)
            return tables[i]->route_table_id;
    count = security_group_find(call->tx, EC2_SECURITY_GROUP_BY_VPC_ID, id, &groups);
    for (size_t i = 0; i < count; i++)
        if (!str_equal(groups[i]->group_name, S("default")))
            return groups[i]->group_id;
    count = network_acl_find(call->tx, EC2_NETWORK_ACL_BY_VPC_ID, id, &acls);
    for (size_t i = 0; i < count; i++)
        if (!acls[i]->is_default.value)
            return acls[i]->network_acl_id;
    return (struct str){0};
}

static void remove_rules(struct call *call, struct str group_id)
{
    const struct ec2_security_group_rule *const *rules;
    size_t count = security_group_rule_find(call->tx, EC2_SECURITY_GROUP_RULE_BY_GROUP_ID, group_id, &rules);

    for (size_t i = 0; i < count; i++)
        security_group_rule_remove(call->tx, rules[i]->security_group_rule_id);
}

static void remove_parts(struct call *call, struct str id)
{
    const struct ec2_route_table *const *tables;
    const struct ec2_security_group *const *groups;
    const struct ec2_network_acl *const *acls;
    size_t count = route_table_find(call->tx, EC2_ROUTE_TABLE_BY_VPC_ID, id, &tables);

    for (size_t i = 0; i < count; i++)
        route_table_remove(call->tx, tables[i]->route_table_id);
    count = security_group_find(call->tx, EC2_SECURITY_GROUP_BY_VPC_ID, id, &groups);
    for (size_t i = 0; i < count; i++) {
        remove_rules(call, groups[i]->group_id);
        security_group_remove(call->tx, groups[i]->group_id);
    }
    count = network_acl_find(call->tx, EC2_NETWORK_ACL_BY_VPC_ID, id, &acls);
    for (size_t i = 0; i < count; i++)
        network_acl_remove(call->tx, acls[i]->network_acl_id);
}

int ec2_delete_vpc(struct call *call, const struct ec2_delete_vpc_request *in, void *out, struct err *err)
{
    const struct ec2_vpc *vpc;
    int r = vpc_get(call->tx, in->vpc_id, &vpc, err);

    if (r < 0)
        return r;
    if (dependency_of(call, vpc->vpc_id).p)
        return err_aws(err, &EC2_DEPENDENCY_VIOLATION, "The vpc '" STR_FMT "' has dependencies and cannot be deleted.",
                       STR_ARG(vpc->vpc_id));
    remove_parts(call, vpc->vpc_id);
    vpc_remove(call->tx, vpc->vpc_id);
    return 0;
}

static struct ec2_attribute_boolean_value *flag(struct call *call, bool value)
{
    struct ec2_attribute_boolean_value *out = arena_new(call->arena, struct ec2_attribute_boolean_value);

    out->value = BOOL(value);
    return out;
}

/* A default VPC has both; its record, computed, says neither. */
int ec2_describe_vpc_attribute(struct call *call, const struct ec2_describe_vpc_attribute_request *in,
                               struct ec2_describe_vpc_attribute_result *out, struct err *err)
{
    const struct ec2_vpc *vpc;
    int r = vpc_get(call->tx, in->vpc_id, &vpc, err);

    if (r < 0)
        return r;
    out->vpc_id = vpc->vpc_id;
    if (str_equal(in->attribute, S("enableDnsSupport")))
        out->enable_dns_support = flag(call, !vpc->dns_support.set || vpc->dns_support.value);
    else if (str_equal(in->attribute, S("enableDnsHostnames")))
        out->enable_dns_hostnames = flag(call,
                                         vpc->dns_hostnames.set ? vpc->dns_hostnames.value : vpc->is_default.value);
    else
        out->enable_network_address_usage_metrics = flag(call, vpc->address_metrics.value);
    return 0;
}

static int set_dns_hostnames(struct call *call, struct ec2_vpc *vpc, bool wanted, struct err *err)
{
    if (wanted && vpc->dns_support.set && !vpc->dns_support.value)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "DNS hostnames can be enabled only in a VPC with DNS support: '" STR_FMT "' has none.",
                       STR_ARG(vpc->vpc_id));
    vpc->dns_hostnames = BOOL(wanted);
    public_addresses_rename(call, vpc);
    return 0;
}

int ec2_modify_vpc_attribute(struct call *call, const struct ec2_modify_vpc_attribute_request *in, void *out,
                             struct err *err)
{
    struct ec2_vpc *vpc;
    int given = !!in->enable_dns_hostnames + !!in->enable_dns_support + !!in->enable_network_address_usage_metrics;
    int r = vpc_edit(call->tx, in->vpc_id, &vpc, err);

    if (r < 0)
        return r;
    if (given != 1)
        return err_aws(err, given ? &EC2_INVALID_PARAMETER_COMBINATION : &EC2_MISSING_PARAMETER,
                       given ? "Fields for multiple attribute types specified"
                             : "The request must contain an attribute to modify");
    if (in->enable_dns_hostnames)
        return set_dns_hostnames(call, vpc, in->enable_dns_hostnames->value.value, err);
    if (in->enable_network_address_usage_metrics) {
        vpc->address_metrics = BOOL(in->enable_network_address_usage_metrics->value.value);
        return 0;
    }
    vpc->dns_support = BOOL(in->enable_dns_support->value.value);
    public_addresses_rename(call, vpc);
    return 0;
}
