/* CreateSubnet, DeleteSubnet, ModifySubnetAttribute. Source: the operations in the API reference; "Subnet CIDR blocks".
 */
#include "services/ec2/address.h"
#include "services/ec2/catalogue/regions.h"
#include "services/ec2/vpc_parts.h"

static bool inside(uint32_t network, unsigned prefix, uint32_t outer, unsigned outer_prefix)
{
    return prefix >= outer_prefix && (network & prefix_mask(outer_prefix)) == outer;
}

/* Within one of the VPC's blocks, and apart from its other subnets. */
static int check_place(struct call *call, const struct ec2_vpc *vpc, struct str cidr, struct err *err)
{
    const struct ec2_subnet *const *others;
    size_t count = subnet_find(call->tx, EC2_SUBNET_BY_VPC_ID, vpc->vpc_id, &others);
    uint32_t network, other;
    unsigned prefix, other_prefix;
    bool within = false;

    cidr_parse(cidr, &network, &prefix);
    for (size_t i = 0; i < vpc->cidr_block_association_set.count; i++)
        within |= cidr_parse(vpc->cidr_block_association_set.items[i].cidr_block, &other, &other_prefix) &&
                  inside(network, prefix, other, other_prefix);
    if (!within)
        return err_aws(err, &EC2_INVALID_SUBNET_RANGE, "The CIDR '" STR_FMT "' is invalid.", STR_ARG(cidr));
    for (size_t i = 0; i < count; i++)
        if (cidr_parse(others[i]->cidr_block, &other, &other_prefix) &&
            (inside(network, prefix, other, other_prefix) || inside(other, other_prefix, network, prefix)))
            return err_aws(err, &EC2_INVALID_SUBNET_CONFLICT, "The CIDR '" STR_FMT "' conflicts with another subnet",
                           STR_ARG(cidr));
    return 0;
}

static int check_cidr(struct call *call, const struct ec2_create_subnet_request *in, struct str *ret, struct err *err)
{
    uint32_t network;
    unsigned prefix;

    if (in->ipv6_cidr_block.p || in->ipv6_native.value || in->ipv4_ipam_pool_id.p || in->ipv6_ipam_pool_id.p ||
        in->outpost_arn.p)
        return err_aws(err, &AWS_NOT_IMPLEMENTED,
                       "IPv6 CIDR blocks, IPAM pools and Outposts of subnets are not built yet.");
    if (!in->cidr_block.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "Either 'cidrBlock' or 'ipv4IpamPoolId' should be provided.");
    if (!cidr_parse_any(in->cidr_block, &network, &prefix))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Value (" STR_FMT ") for parameter cidrBlock is invalid. This is not a valid CIDR block.",
                       STR_ARG(str_first(in->cidr_block, 64)));
    if (prefix < 16 || prefix > 28)
        return err_aws(err, &EC2_INVALID_SUBNET_RANGE, "The CIDR '" STR_FMT "' is invalid.", STR_ARG(in->cidr_block));
    *ret = call_printf(call, STR_FMT "/%u", STR_ARG(address_text(call->arena, network & prefix_mask(prefix))), prefix);
    return 0;
}

/* The zone asked for, by name or id; AWS chooses otherwise: here the first. */
static int choose_zone(struct call *call, const struct ec2_create_subnet_request *in, const struct zone **ret,
                       struct err *err)
{
    const struct region *region = region_find(call->region);

    *ret = in->availability_zone.p      ? zone_find(region, in->availability_zone)
           : in->availability_zone_id.p ? zone_find_id(region, in->availability_zone_id)
                                        : region_zone(region, 0);
    if (*ret)
        return 0;
    return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                   "Value (" STR_FMT ") for parameter availabilityZone is invalid. Subnets can currently only be "
                   "created in the following availability zones of this region.",
                   STR_ARG(str_first(in->availability_zone.p ? in->availability_zone : in->availability_zone_id, 64)));
}

static int join_default_acl(struct call *call, struct vpc_parts *parts, struct str subnet_id, struct err *err)
{
    const struct ec2_network_acl *const *acls;
    size_t count = network_acl_find(call->tx, EC2_NETWORK_ACL_BY_VPC_ID, parts->vpc, &acls);

    for (size_t i = 0; i < count; i++) {
        struct ec2_network_acl *acl;
        struct ec2_network_acl_association *items;

        if (!acls[i]->is_default.value)
            continue;
        acl = tx_edit(call->tx, EC2_NETWORK_ACL, acls[i]->network_acl_id);
        items = arena_array(call->arena, struct ec2_network_acl_association, acl->associations.count + 1);
        if (acl->associations.count)
            memcpy(items, acl->associations.items, acl->associations.count * sizeof *items);
        acl->associations.items = items;
        vpc_join_acl(parts, acl, subnet_id, "");
        return 0;
    }
    return err_plain(err, "VPC " STR_FMT " has no default network ACL", STR_ARG(parts->vpc));
}

static void fill(struct call *call, struct vpc_parts *parts, struct str cidr, const struct zone *zone,
                 struct ec2_subnet *subnet)
{
    subnet->owner_id = call->account;
    subnet->vpc_id = parts->vpc;
    subnet->state = S("available");
    subnet->availability_zone = catalogue_text(zone->name);
    subnet->availability_zone_id = catalogue_text(zone->id);
    subnet->cidr_block = cidr;
    subnet->default_for_az = NO;
    subnet->map_public_ip_on_launch = NO;
    subnet->private_dns_name_options_on_launch = arena_new(call->arena, struct ec2_private_dns_name_options_on_launch);
    *subnet->private_dns_name_options_on_launch = (struct ec2_private_dns_name_options_on_launch){
        .hostname_type = S("ip-name"),
        .enable_resource_name_dns_a_record = NO,
        .enable_resource_name_dns_aaaa_record = NO};
    subnet->block_public_access_states = arena_new(call->arena, struct ec2_block_public_access_states);
    subnet->block_public_access_states->internet_gateway_block_mode = S("off");
}

int ec2_create_subnet(struct call *call, const struct ec2_create_subnet_request *in,
                      struct ec2_create_subnet_result *out, struct err *err)
{
    struct vpc_parts parts = {.tx = call->tx, .arena = call->arena, .account = call->account, .region = call->region};
    const struct zone *zone = NULL;
    const struct ec2_vpc *vpc;
    struct ec2_subnet *subnet;
    struct ec2_tag_list tags;
    int r = vpc_get(call->tx, in->vpc_id, &vpc, err);

    if (r == 0)
        r = check_cidr(call, in, &parts.cidr, err);
    if (r == 0)
        r = check_place(call, vpc, parts.cidr, err);
    if (r == 0)
        r = choose_zone(call, in, &zone, err);
    if (r == 0)
        r = tags_specified(call, &in->tag_specifications, "subnet", NULL, &tags, err);
    if (r < 0)
        return r;
    parts.vpc = vpc->vpc_id;
    subnet = subnet_create(call->tx, id_new(call->arena, S("subnet-")));
    fill(call, &parts, parts.cidr, zone, subnet);
    subnet->tags = tags;
    r = join_default_acl(call, &parts, subnet->subnet_id, err);
    out->subnet = arena_new(call->arena, struct ec2_subnet);
    return r < 0 ? r : resource_view(call, EC2_SUBNET, subnet, out->subnet, err);
}

/* Takes the subnet out of the associations of ACLs and route tables. */
static void leave(struct call *call, struct str id)
{
    const struct ec2_network_acl *const *acls;
    const struct ec2_route_table *const *tables;
    size_t count = network_acl_find(call->tx, EC2_NETWORK_ACL_BY_ASSOCIATIONS_SUBNET_ID, id, &acls);

    for (size_t i = 0; i < count; i++) {
        struct ec2_network_acl *acl = tx_edit(call->tx, EC2_NETWORK_ACL, acls[i]->network_acl_id);
        size_t kept = 0;
        for (size_t k = 0; k < acl->associations.count; k++)
            if (!str_equal(acl->associations.items[k].subnet_id, id))
                acl->associations.items[kept++] = acl->associations.items[k];
        acl->associations.count = kept;
    }
    count = route_table_find(call->tx, EC2_ROUTE_TABLE_BY_ASSOCIATIONS_SUBNET_ID, id, &tables);
    for (size_t i = 0; i < count; i++) {
        struct ec2_route_table *table = tx_edit(call->tx, EC2_ROUTE_TABLE, tables[i]->route_table_id);
        size_t kept = 0;
        for (size_t k = 0; k < table->associations.count; k++)
            if (!str_equal(table->associations.items[k].subnet_id, id))
                table->associations.items[kept++] = table->associations.items[k];
        table->associations.count = kept;
    }
}

int ec2_delete_subnet(struct call *call, const struct ec2_delete_subnet_request *in, void *out, struct err *err)
{
    const struct ec2_subnet *subnet;
    int r = subnet_get(call->tx, in->subnet_id, &subnet, err);

    if (r < 0)
        return r;
    if (tx_find_any(call->tx, EC2_NETWORK_INTERFACE, EC2_NETWORK_INTERFACE_BY_SUBNET_ID, subnet->subnet_id))
        return err_aws(err, &EC2_DEPENDENCY_VIOLATION,
                       "The subnet '" STR_FMT "' has dependencies and cannot be deleted.", STR_ARG(subnet->subnet_id));
    leave(call, subnet->subnet_id);
    subnet_remove(call->tx, subnet->subnet_id);
    return 0;
}

static void set_dns_options(struct ec2_subnet *subnet, const struct ec2_modify_subnet_attribute_request *in)
{
    struct ec2_private_dns_name_options_on_launch *options = subnet->private_dns_name_options_on_launch;

    if (in->private_dns_hostname_type_on_launch.p)
        options->hostname_type = in->private_dns_hostname_type_on_launch;
    if (in->enable_resource_name_dns_a_record_on_launch)
        options->enable_resource_name_dns_a_record = in->enable_resource_name_dns_a_record_on_launch->value;
    if (in->enable_resource_name_dns_aaaa_record_on_launch)
        options->enable_resource_name_dns_aaaa_record = in->enable_resource_name_dns_aaaa_record_on_launch->value;
}

static int check_one_attribute(const struct ec2_modify_subnet_attribute_request *in, struct err *err)
{
    int given = !!in->map_public_ip_on_launch + !!in->private_dns_hostname_type_on_launch.p +
                !!in->enable_resource_name_dns_a_record_on_launch +
                !!in->enable_resource_name_dns_aaaa_record_on_launch;

    if (given == 1)
        return 0;
    return err_aws(err, given ? &EC2_INVALID_PARAMETER_COMBINATION : &EC2_MISSING_PARAMETER,
                   given ? "Fields for multiple attribute types specified"
                         : "The request must contain an attribute to modify");
}

/* One attribute a call. */
int ec2_modify_subnet_attribute(struct call *call, const struct ec2_modify_subnet_attribute_request *in, void *out,
                                struct err *err)
{
    struct ec2_subnet *subnet;
    int r = subnet_edit(call->tx, in->subnet_id, &subnet, err);

    if (r < 0)
        return r;
    if (in->assign_ipv6_address_on_creation || in->enable_dns64 || in->map_customer_owned_ip_on_launch ||
        in->customer_owned_ipv4_pool.p || in->enable_lni_at_device_index.set || in->disable_lni_at_device_index)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The attribute does not apply: the subnet '" STR_FMT
                       "' has no IPv6 CIDR block and is in no Outpost.",
                       STR_ARG(in->subnet_id));
    r = check_one_attribute(in, err);
    if (r < 0)
        return r;
    if (in->map_public_ip_on_launch)
        subnet->map_public_ip_on_launch = in->map_public_ip_on_launch->value;
    set_dns_options(subnet, in);
    return 0;
}
