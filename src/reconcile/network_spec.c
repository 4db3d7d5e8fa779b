#include "reconcile/network_spec.h"

#include "base/mem.h"
#include "services/ec2/address.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { TCP = 6, UDP = 17, ICMP = 1, ICMPV6 = 58 };

static bool cidr_of(struct str text, struct fabric_cidr *ret)
{
    return cidr_parse(text, &ret->network, &ret->prefix);
}

/* --- a VPC: its blocks, subnets and routes ------------------------------------------------------------------------ */

static struct str main_table(const struct ec2_route_table *const *tables, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < tables[i]->associations.count; k++)
            if (tables[i]->associations.items[k].main.value)
                return tables[i]->route_table_id;
    return (struct str){0};
}

static struct str table_of(const struct ec2_route_table *const *tables, size_t count, struct str subnet_id)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < tables[i]->associations.count; k++)
            if (str_equal(tables[i]->associations.items[k].subnet_id, subnet_id))
                return tables[i]->route_table_id;
    return main_table(tables, count);
}

/* A route whose target has been taken away is a black hole, as AWS's is. */
static enum fabric_target target_of(struct tx *tx, const struct ec2_route *route, struct str vpc_id)
{
    const struct ec2_internet_gateway *gateway;

    if (str_equal(route->gateway_id, S("local")))
        return FABRIC_LOCAL;
    gateway = route->gateway_id.p ? internet_gateway_peek(tx, route->gateway_id) : NULL;
    return gateway && gateway->attachments.count && str_equal(gateway->attachments.items[0].vpc_id, vpc_id)
               ? FABRIC_INTERNET
               : FABRIC_BLACKHOLE;
}

static void fill_table(struct tx *tx, struct arena *arena, const struct ec2_route_table *table,
                       struct fabric_route_table *out)
{
    struct fabric_route *routes = arena_array(arena, struct fabric_route, table->routes.count);

    out->id = arena_str(arena, table->route_table_id);
    out->routes = routes;
    for (size_t i = 0; i < table->routes.count; i++) {
        const struct ec2_route *route = &table->routes.items[i];
        if (!cidr_of(route->destination_cidr_block, &routes[out->count].to))
            continue;
        routes[out->count++].target = target_of(tx, route, table->vpc_id);
    }
}

static void fill_cidrs(struct arena *arena, const struct ec2_vpc *vpc, struct fabric_vpc *out)
{
    struct fabric_cidr *cidrs = arena_array(arena, struct fabric_cidr, vpc->cidr_block_association_set.count);

    for (size_t i = 0; i < vpc->cidr_block_association_set.count; i++)
        out->cidr_count += cidr_of(vpc->cidr_block_association_set.items[i].cidr_block, &cidrs[out->cidr_count]);
    out->cidrs = cidrs;
}

bool network_vpc(struct tx *tx, struct arena *arena, struct str vpc_id, uint64_t version, struct fabric_vpc *ret)
{
    const struct ec2_vpc *vpc = vpc_peek(tx, vpc_id);
    const struct ec2_route_table *const *tables;
    const struct ec2_subnet *const *subnets;
    size_t table_count = route_table_find(tx, EC2_ROUTE_TABLE_BY_VPC_ID, vpc_id, &tables);
    size_t subnet_count = subnet_find(tx, EC2_SUBNET_BY_VPC_ID, vpc_id, &subnets);
    struct fabric_route_table *out_tables = arena_array(arena, struct fabric_route_table, table_count);
    struct fabric_subnet *out_subnets = arena_array(arena, struct fabric_subnet, subnet_count);

    if (!vpc)
        return false;
    *ret = (struct fabric_vpc){
        .id = arena_str(arena, vpc_id), .version = version, .subnets = out_subnets, .route_tables = out_tables};
    ret->internet_gateway = tx_find_any(tx, EC2_INTERNET_GATEWAY, EC2_INTERNET_GATEWAY_BY_ATTACHMENTS_VPC_ID, vpc_id) !=
                            NULL;
    fill_cidrs(arena, vpc, ret);
    for (size_t i = 0; i < table_count; i++)
        fill_table(tx, arena, tables[i], &out_tables[ret->route_table_count++]);
    for (size_t i = 0; i < subnet_count; i++) {
        struct fabric_subnet *out = &out_subnets[ret->subnet_count];
        if (!cidr_of(subnets[i]->cidr_block, &out->cidr))
            continue;
        out->id = arena_str(arena, subnets[i]->subnet_id);
        out->route_table = arena_str(arena, table_of(tables, table_count, subnets[i]->subnet_id));
        ret->subnet_count++;
    }
    return true;
}

/* --- a group: its rules ----------------------------------------------------------------------------------------------
 */

/* The number of a rule's protocol, FABRIC_ANY for "-1" (all). False: it is none, and nothing may pass by it. */
static bool protocol_of(struct str name, int *ret)
{
    static const struct {
        const char *name;
        int number;
    } named[] = {{"tcp", TCP}, {"udp", UDP}, {"icmp", ICMP}, {"icmpv6", ICMPV6}, {"-1", FABRIC_ANY}};
    int64_t number;

    for (size_t i = 0; i < ARRAY_LEN(named); i++)
        if (str_equal(name, str_of(named[i].name))) {
            *ret = named[i].number;
            return true;
        }
    if (!str_to_int(name, &number) || number < 0 || number > 255)
        return false;
    *ret = (int)number;
    return true;
}

static bool ipv6_of(struct str text, struct fabric_rule *out)
{
    struct str address = str_cut(&text, '/');
    char z[INET6_ADDRSTRLEN];
    int64_t prefix;

    if (!str_to_z(address, z, sizeof z) || inet_pton(AF_INET6, z, out->ipv6.network) != 1 ||
        !str_to_int(text, &prefix) || prefix < 0 || prefix > 128)
        return false;
    out->ipv6.prefix = (unsigned)prefix;
    return true;
}

/* False: nothing that packets could match (a prefix list, an unknown protocol). */
static bool fill_rule(struct arena *arena, const struct ec2_security_group_rule *rule, struct fabric_rule *out)
{
    bool ranged;

    *out = (struct fabric_rule){.egress = rule->is_egress.value};
    if (!protocol_of(rule->ip_protocol, &out->protocol))
        return false;
    ranged = out->protocol == TCP || out->protocol == UDP || out->protocol == ICMP || out->protocol == ICMPV6;
    out->from = ranged && rule->from_port.set ? (int)rule->from_port.value : FABRIC_ANY;
    out->to = ranged && rule->to_port.set ? (int)rule->to_port.value : FABRIC_ANY;
    if (rule->cidr_ipv4.p) {
        out->peer = FABRIC_PEER_IPV4;
        return cidr_of(rule->cidr_ipv4, &out->ipv4);
    }
    if (rule->cidr_ipv6.p) {
        out->peer = FABRIC_PEER_IPV6;
        return ipv6_of(rule->cidr_ipv6, out);
    }
    if (!rule->referenced_group_info)
        return false;
    out->peer = FABRIC_PEER_GROUP;
    out->group = arena_str(arena, rule->referenced_group_info->group_id);
    return true;
}

bool network_group(struct tx *tx, struct arena *arena, struct str group_id, uint64_t version, struct fabric_group *ret)
{
    const struct ec2_security_group_rule *const *found;
    size_t count = security_group_rule_find(tx, EC2_SECURITY_GROUP_RULE_BY_GROUP_ID, group_id, &found);
    struct fabric_rule *rules = arena_array(arena, struct fabric_rule, count);

    if (!security_group_peek(tx, group_id))
        return false;
    *ret = (struct fabric_group){.id = arena_str(arena, group_id), .version = version, .rules = rules};
    for (size_t i = 0; i < count; i++)
        ret->count += fill_rule(arena, found[i], &rules[ret->count]);
    return true;
}

/* --- an interface
 * ------------------------------------------------------------------------------------------------------- */

static bool parse_mac(struct str text, uint8_t mac[6])
{
    unsigned b[6];
    char z[18];

    if (!str_to_z(text, z, sizeof z) ||
        sscanf(z, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
        return false;
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
    return true;
}

static bool fill_addresses(struct arena *arena, const struct ec2_network_interface *eni, struct workload_interface *out)
{
    size_t count = eni->private_ip_addresses.count;
    struct fabric_address *addresses = arena_array(arena, struct fabric_address, count);

    for (size_t i = 0; i < count; i++) {
        const struct ec2_network_interface_private_ip_address *from = &eni->private_ip_addresses.items[i];
        if (!address_parse(from->private_ip_address, &addresses[i].private))
            return false;
        if (from->association && !address_parse(from->association->public_ip, &addresses[i].public))
            return false;
    }
    out->addresses = addresses;
    out->address_count = count;
    return count > 0;
}

static void fill_groups(struct tx *tx, struct arena *arena, const struct ec2_network_interface *eni, uint64_t version,
                        struct workload_interface *out)
{
    struct fabric_group *groups = arena_array(arena, struct fabric_group, eni->groups.count);

    for (size_t i = 0; i < eni->groups.count; i++)
        out->group_count += network_group(tx, arena, eni->groups.items[i].group_id, version, &groups[out->group_count]);
    out->groups = groups;
}

int network_interface_spec(struct tx *tx, struct arena *arena, const struct ec2_network_interface *eni,
                           uint64_t version, struct workload_interface *out, struct err *err)
{
    const struct ec2_subnet *subnet = subnet_peek(tx, eni->subnet_id);
    const struct ec2_vpc *vpc = vpc_peek(tx, eni->vpc_id);
    struct fabric_vpc *description = arena_new(arena, struct fabric_vpc);
    uint32_t network;

    *out = (struct workload_interface){.id = arena_str(arena, eni->network_interface_id), .version = version};
    if (!subnet || !vpc || !cidr_parse(subnet->cidr_block, &network, &out->prefix) ||
        !parse_mac(eni->mac_address, out->mac) || !fill_addresses(arena, eni, out) ||
        !network_vpc(tx, arena, eni->vpc_id, version, description))
        return err_plain(err, "interface " STR_FMT " has no place in the network", STR_ARG(eni->network_interface_id));
    out->vpc_id = arena_str(arena, eni->vpc_id);
    out->vpc_cidr = arena_str(arena, vpc->cidr_block);
    out->vpc = description;
    out->subnet_id = arena_str(arena, eni->subnet_id);
    out->address = out->addresses[0].private;
    out->gateway = network + 1;
    out->device_index = (unsigned)eni->attachment->device_index.value;
    out->source_dest_check = eni->source_dest_check.value;
    fill_groups(tx, arena, eni, version, out);
    return 0;
}
