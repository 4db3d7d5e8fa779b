/*
 * RunInstances: where an instance stands: subnet, zone, security groups, interfaces.
 * Sources: RunInstances and InstanceNetworkInterfaceSpecification in the API reference; "Default VPCs" in the VPC
 * guide.
 */
#include "services/ec2/address.h"
#include "services/ec2/launch.h"
#include "services/ec2/quotas.h"
#include "services/ec2/security_group.h"

static int unsupported_in_zone(struct call *call, const struct launch *launch, struct str zone_name, struct err *err)
{
    const struct region *region = region_find(call->region);
    struct str others = S("");

    for (size_t i = 0; i < region->zone_count; i++) {
        const struct zone *zone = region_zone(region, i);
        if (instance_type_in_zone(launch->type, zone))
            others = call_printf(call, STR_FMT "%s" STR_FMT, STR_ARG(others), others.len ? ", " : "",
                                 STR_ARG(catalogue_text(zone->name)));
    }
    return err_aws(err, &EC2_UNSUPPORTED,
                   "Your requested instance type (" STR_FMT
                   ") is not supported in your requested Availability Zone (" STR_FMT
                   "). Please retry your request by not specifying an Availability Zone or choosing " STR_FMT ".",
                   STR_ARG(launch->type_name), STR_ARG(zone_name), STR_ARG(others));
}

static bool offered(struct call *call, const struct launch *launch, struct str zone_name)
{
    const struct zone *zone = zone_find(region_find(call->region), zone_name);

    return zone && instance_type_in_zone(launch->type, zone);
}

/* Room for that many interfaces, as far as a look at their number tells: taking the addresses decides. */
static bool has_room(struct call *call, const struct ec2_subnet *subnet, int64_t count)
{
    uint32_t network;
    unsigned prefix;
    size_t taken = tx_find_count(call->tx, EC2_NETWORK_INTERFACE, EC2_NETWORK_INTERFACE_BY_SUBNET_ID,
                                 subnet->subnet_id);

    return cidr_parse(subnet->cidr_block, &network, &prefix) &&
           ((int64_t)1 << (32 - prefix)) - 5 - (int64_t)taken >= count;
}

/* The default subnet of the zone asked for, or the first whose zone offers the type and that has room. */
static int choose_default_subnet(struct call *call, const struct launch *launch, const struct ec2_subnet **ret,
                                 struct err *err)
{
    const struct ec2_placement *placement = launch->in->placement;
    struct str zone = placement ? placement->availability_zone : (struct str){0},
               zone_id = placement ? placement->availability_zone_id : (struct str){0};
    const struct ec2_subnet *subnet, *full = NULL;
    const struct region *region = region_find(call->region);

    if (zone_id.len && !zone.len) {
        const struct zone *found = zone_find_id(region, zone_id);
        zone = found ? catalogue_text(found->name) : zone_id;
    }
    if (zone.len && !zone_find(region, zone))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "Invalid availability zone: [" STR_FMT "]",
                       STR_ARG(str_first(zone, 64)));
    if (zone.len && !offered(call, launch, zone))
        return unsupported_in_zone(call, launch, zone, err);
    for (uint64_t position = 0; (subnet = subnet_next(call->tx, &position));) {
        if (!subnet->default_for_az.value || (zone.len && !str_equal(subnet->availability_zone, zone)) ||
            !offered(call, launch, subnet->availability_zone))
            continue;
        *ret = subnet;
        if (has_room(call, subnet, launch->count))
            return 0;
        full = subnet;
    }
    if (full)
        return 0; /* taking an address says that there is none */
    if (!security_group_default_vpc(call))
        return err_aws(err, &EC2_VPC_ID_NOT_SPECIFIED,
                       "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.");
    if (zone.len)
        return err_aws(err, &EC2_MISSING_INPUT, "No default subnet for availability zone: '" STR_FMT "'.",
                       STR_ARG(zone));
    return err_aws(err, &EC2_UNSUPPORTED, "The instance type " STR_FMT " is not supported in this region.",
                   STR_ARG(launch->type_name));
}

static int choose_subnet(struct call *call, const struct launch *launch, struct str id, const struct ec2_subnet **ret,
                         struct err *err)
{
    const struct ec2_placement *placement = launch->in->placement;
    int r;

    if (!id.p)
        return choose_default_subnet(call, launch, ret, err);
    r = subnet_get(call->tx, id, ret, err);
    if (r < 0)
        return r;
    if (placement && placement->availability_zone.len &&
        !str_equal(placement->availability_zone, (*ret)->availability_zone))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "The subnet '" STR_FMT "' is not in the availability zone '" STR_FMT "'.", STR_ARG(id),
                       STR_ARG(placement->availability_zone));
    if (!offered(call, launch, (*ret)->availability_zone))
        return unsupported_in_zone(call, launch, (*ret)->availability_zone, err);
    return 0;
}

static void add_group(struct ec2_group_identifier_list *groups, const struct ec2_security_group *group)
{
    for (size_t i = 0; i < groups->count; i++)
        if (str_equal(groups->items[i].group_id, group->group_id))
            return;
    groups->items[groups->count++] = (struct ec2_group_identifier){.group_id = group->group_id,
                                                                   .group_name = group->group_name};
}

/* Groups by id or, in the default VPC, by name; the VPC's default group when none is named. */
static int choose_groups(struct call *call, const struct ec2_subnet *subnet, const struct str *ids, size_t id_count,
                         const struct str *names, size_t name_count, struct ec2_group_identifier_list *ret,
                         struct err *err)
{
    const struct ec2_security_group *group;

    ret->items = arena_array(call->arena, struct ec2_group_identifier, id_count + name_count + 1);
    for (size_t i = 0; i < id_count; i++) {
        int r = security_group_get(call->tx, ids[i], &group, err);
        if (r < 0)
            return r;
        if (!str_equal(group->vpc_id, subnet->vpc_id))
            return err_aws(err, &AWS_INVALID_PARAMETER,
                           "Security group " STR_FMT " and subnet " STR_FMT " belong to different networks.",
                           STR_ARG(group->group_id), STR_ARG(subnet->subnet_id));
        add_group(ret, group);
    }
    for (size_t i = 0; i < name_count; i++) {
        group = security_group_named(call, subnet->vpc_id, names[i]);
        if (!group)
            return err_aws(err, &EC2_INVALID_GROUP_NOT_FOUND,
                           "The security group '" STR_FMT "' does not exist in VPC '" STR_FMT "'",
                           STR_ARG(str_first(names[i], 255)), STR_ARG(subnet->vpc_id));
        add_group(ret, group);
    }
    group = security_group_named(call, subnet->vpc_id, S("default"));
    if (!ret->count && group)
        add_group(ret, group);
    if ((int64_t)ret->count > quota_value(QUOTA_GROUPS_PER_INTERFACE))
        return err_aws(err, &EC2_SECURITY_GROUPS_PER_INTERFACE_LIMIT_EXCEEDED,
                       "The maximum number of security groups per interface has been reached.");
    return 0;
}

/* The request without NetworkInterfaces: one interface, described by the request's own members. */
static int plan_primary(struct call *call, struct launch *launch, struct err *err)
{
    const struct ec2_run_instances_request *in = launch->in;
    struct launch_interface *interface = &launch->interfaces[0];
    int r = choose_subnet(call, launch, in->subnet_id, &interface->subnet, err);

    if (r < 0)
        return r;
    if (in->subnet_id.p && in->security_groups.count && !in->security_group_ids.count)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The parameter groupName cannot be used with the parameter subnet");
    interface->private_ip = in->private_ip_address;
    interface->public_wanted = interface->subnet->map_public_ip_on_launch.value;
    interface->description = S("");
    interface->interface_type = S("interface");
    interface->delete_on_termination = true;
    launch->interface_count = 1;
    return choose_groups(call, interface->subnet, in->security_group_ids.items, in->security_group_ids.count,
                         in->security_groups.items, in->security_groups.count, &interface->groups, err);
}

static int not_beside_interfaces(const struct ec2_run_instances_request *in, struct err *err)
{
    if (in->subnet_id.p || in->security_group_ids.count || in->security_groups.count || in->private_ip_address.p)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "Network interfaces and an instance-level %s may not be specified on the same request",
                       in->subnet_id.p            ? "subnet ID"
                       : in->private_ip_address.p ? "private address"
                                                  : "security groups");
    return 0;
}

/* PrivateIpAddresses: the primary one and the others. */
static int plan_addresses(struct call *call, const struct ec2_instance_network_interface_specification *in,
                          struct launch_interface *interface, struct err *err)
{
    struct str *secondary = arena_array(call->arena, struct str, in->private_ip_addresses.count);

    interface->private_ip = in->private_ip_address;
    for (size_t i = 0; i < in->private_ip_addresses.count; i++) {
        const struct ec2_private_ip_address_specification *address = &in->private_ip_addresses.items[i];
        if (!address->primary.value) {
            secondary[interface->secondary_count++] = address->private_ip_address;
        } else {
            if (interface->private_ip.p && !str_equal(interface->private_ip, address->private_ip_address))
                return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                               "Only one primary private IP address can be specified.");
            interface->private_ip = address->private_ip_address;
        }
    }
    if (interface->secondary_count && in->secondary_private_ip_address_count.set)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The parameters secondaryPrivateIpAddressCount and privateIpAddresses cannot be used together.");
    interface->secondary_ips = interface->secondary_count ? secondary : NULL;
    if (in->secondary_private_ip_address_count.set)
        interface->secondary_count = (size_t)in->secondary_private_ip_address_count.value;
    return 0;
}

static int plan_interface(struct call *call, struct launch *launch,
                          const struct ec2_instance_network_interface_specification *in,
                          struct launch_interface *interface, struct err *err)
{
    int r;

    if (in->network_interface_id.len) {
        const struct ec2_network_interface *existing;
        r = network_interface_get(call->tx, in->network_interface_id, &existing, err);
        if (r < 0)
            return r;
        return err_aws(err, &EC2_INVALID_NETWORK_INTERFACE_IN_USE, "Interface: [" STR_FMT "] in use.",
                       STR_ARG(in->network_interface_id));
    }
    if (!in->device_index.set)
        return err_aws(err, &EC2_MISSING_PARAMETER, "Each network interface requires a device index.");
    if (in->ipv6_address_count.value || in->ipv6_addresses.count || in->ipv4_prefix_count.value ||
        in->ipv4_prefixes.count || in->ipv6_prefix_count.value || in->ipv6_prefixes.count)
        return err_aws(err, &AWS_NOT_IMPLEMENTED,
                       "IPv6 addresses and delegated prefixes of network interfaces are not built yet.");
    r = choose_subnet(call, launch, in->subnet_id, &interface->subnet, err);
    if (r < 0)
        return r;
    interface->device_index = in->device_index.value;
    interface->card_index = in->network_card_index.value;
    interface->description = in->description.p ? in->description : S("");
    interface->interface_type = in->interface_type.p ? in->interface_type : S("interface");
    interface->delete_on_termination = !in->delete_on_termination.set || in->delete_on_termination.value;
    interface->public_wanted = in->associate_public_ip_address.set ? in->associate_public_ip_address.value
                                                                   : interface->subnet->map_public_ip_on_launch.value;
    if (in->associate_public_ip_address.value && (in->device_index.value || launch->in->network_interfaces.count > 1))
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The associatePublicIPAddress parameter cannot be specified when launching with multiple "
                       "network interfaces.");
    r = plan_addresses(call, in, interface, err);
    if (r < 0)
        return r;
    return choose_groups(call, interface->subnet, in->groups.items, in->groups.count, NULL, 0, &interface->groups, err);
}

/* Limits that come from the type, and sense among the interfaces: one of device 0, one subnet's zone, one VPC. */
static int check_interfaces(const struct launch *launch, struct err *err)
{
    const struct launch_interface *items = launch->interfaces;

    if (launch->interface_count > launch->type->network.max_interfaces)
        return err_aws(err, &EC2_ATTACHMENT_LIMIT_EXCEEDED, "Interface count %zu exceeds the limit for " STR_FMT,
                       launch->interface_count, STR_ARG(launch->type_name));
    for (size_t i = 0; i < launch->interface_count; i++) {
        if (items[i].card_index >= launch->type->network.card_count)
            return err_aws(err, &EC2_ATTACHMENT_LIMIT_EXCEEDED, "NetworkCard index %lld exceeds the limit for " STR_FMT,
                           (long long)items[i].card_index, STR_ARG(launch->type_name));
        if (1 + items[i].secondary_count > launch->type->network.ipv4_per_interface)
            return err_aws(err, &EC2_PRIVATE_IP_ADDRESS_LIMIT_EXCEEDED,
                           "Number of private addresses will exceed limit.");
        if (!str_equal(items[i].subnet->availability_zone, items[0].subnet->availability_zone))
            return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                           "All network interfaces must be in the same Availability Zone.");
        for (size_t k = 0; k < i; k++)
            if (items[i].device_index == items[k].device_index && items[i].card_index == items[k].card_index)
                return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                               "Each network interface requires a unique device index.");
    }
    for (size_t i = 0; i < launch->interface_count; i++)
        if (launch->interfaces[i].private_ip.p && launch->count > 1)
            return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                           "A private IP address can be specified for one instance only.");
    return 0;
}

/* The primary interface stands first; the others in the order of the request. */
static int find_primary(struct launch *launch, struct err *err)
{
    for (size_t i = 0; i < launch->interface_count; i++)
        if (launch->interfaces[i].device_index == 0 && launch->interfaces[i].card_index == 0) {
            struct launch_interface first = launch->interfaces[0];
            launch->interfaces[0] = launch->interfaces[i];
            launch->interfaces[i] = first;
            return 0;
        }
    return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "A network interface of device index 0 must be specified.");
}

int launch_plan_interfaces(struct call *call, struct launch *launch, struct err *err)
{
    const struct ec2_run_instances_request *in = launch->in;
    size_t count = in->network_interfaces.count;
    int r;

    if (in->ipv6_address_count.value || in->ipv6_addresses.count || in->enable_primary_ipv6.value)
        return err_aws(err, &AWS_NOT_IMPLEMENTED, "IPv6 addresses of instances are not built yet.");
    launch->interfaces = arena_array(call->arena, struct launch_interface, count + 1);
    if (count == 0) {
        r = plan_primary(call, launch, err);
        return r < 0 ? r : check_interfaces(launch, err);
    }
    r = not_beside_interfaces(in, err);
    for (; launch->interface_count < count && r == 0; launch->interface_count++)
        r = plan_interface(call, launch, &in->network_interfaces.items[launch->interface_count],
                           &launch->interfaces[launch->interface_count], err);
    if (r == 0)
        r = find_primary(launch, err);
    return r < 0 ? r : check_interfaces(launch, err);
}
