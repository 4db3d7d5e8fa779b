#include "services/ec2/vpc_parts.h"

#include <openssl/sha.h>

/* "vpc-" and 17 digits: of the hash of account, region and what it is for, or random. */
struct str vpc_part_id(struct vpc_parts *parts, const char *prefix, const char *purpose)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    struct str text = arena_printf(parts->arena, STR_FMT "/" STR_FMT "/%s/%s", STR_ARG(parts->account),
                                   STR_ARG(parts->region), prefix, purpose);
    char digits[2 * sizeof hash + 1];

    if (!parts->derived)
        return id_new(parts->arena, str_of(prefix));
    SHA256((const unsigned char *)text.p, text.len, hash);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(digits + 2 * i, 3, "%02x", hash[i]);
    return arena_printf(parts->arena, "%s0%.16s", prefix, digits);
}

#define ONE(parts, list) (list).items = arena_alloc((parts)->arena, sizeof *(list).items), (list).count = 1

static void make_routes(struct vpc_parts *parts)
{
    struct ec2_route_table *table = route_table_create(parts->tx, parts->routes);
    struct ec2_route_table_association *association;

    table->owner_id = parts->account;
    table->vpc_id = parts->vpc;
    table->routes.items = arena_array(parts->arena, struct ec2_route, 2);
    table->routes.items[table->routes.count++] = (struct ec2_route){.destination_cidr_block = parts->cidr,
                                                                    .gateway_id = S("local"),
                                                                    .origin = S("CreateRouteTable"),
                                                                    .state = S("active")};
    if (parts->gateway.p)
        table->routes.items[table->routes.count++] = (struct ec2_route){.destination_cidr_block = S("0.0.0.0/0"),
                                                                        .gateway_id = parts->gateway,
                                                                        .origin = S("CreateRoute"),
                                                                        .state = S("active")};
    ONE(parts, table->associations);
    association = &table->associations.items[0];
    association->main = YES;
    association->route_table_association_id = vpc_part_id(parts, "rtbassoc-", "main");
    association->route_table_id = parts->routes;
    association->association_state = arena_new(parts->arena, struct ec2_route_table_association_state);
    association->association_state->state = S("associated");
}

static struct ec2_network_acl_entry acl_entry(bool egress, int64_t number, struct str action)
{
    return (struct ec2_network_acl_entry){.cidr_block = S("0.0.0.0/0"),
                                          .egress = BOOL(egress),
                                          .protocol = S("-1"),
                                          .rule_action = action,
                                          .rule_number = INT(number)};
}

static struct ec2_network_acl *make_acl(struct vpc_parts *parts, size_t subnets)
{
    struct ec2_network_acl *acl = network_acl_create(parts->tx, parts->acl);

    acl->owner_id = parts->account;
    acl->vpc_id = parts->vpc;
    acl->is_default = YES;
    acl->entries.items = arena_array(parts->arena, struct ec2_network_acl_entry, 4);
    acl->entries.count = 4;
    acl->entries.items[0] = acl_entry(true, 100, S("allow"));
    acl->entries.items[1] = acl_entry(true, 32767, S("deny"));
    acl->entries.items[2] = acl_entry(false, 100, S("allow"));
    acl->entries.items[3] = acl_entry(false, 32767, S("deny"));
    acl->associations.items = arena_array(parts->arena, struct ec2_network_acl_association, subnets);
    return acl;
}

void vpc_make_rule(struct vpc_parts *parts, struct str group_id, bool egress)
{
    struct str id = vpc_part_id(parts, "sgr-", egress ? "egress" : "ingress");
    struct ec2_security_group_rule *rule = security_group_rule_create(parts->tx, id);

    rule->group_id = group_id;
    rule->group_owner_id = parts->account;
    rule->is_egress = BOOL(egress);
    rule->ip_protocol = S("-1");
    rule->from_port = rule->to_port = INT(-1);
    if (egress) {
        rule->cidr_ipv4 = S("0.0.0.0/0");
        return;
    }
    rule->referenced_group_info = arena_new(parts->arena, struct ec2_referenced_security_group);
    rule->referenced_group_info->group_id = group_id;
    rule->referenced_group_info->user_id = parts->account;
}

static void make_group(struct vpc_parts *parts)
{
    struct ec2_security_group *group = security_group_create(parts->tx, parts->group);

    group->owner_id = parts->account;
    group->vpc_id = parts->vpc;
    group->group_name = S("default");
    group->description = S("default VPC security group");
    vpc_make_rule(parts, parts->group, false);
    vpc_make_rule(parts, parts->group, true);
}

struct ec2_network_acl *vpc_make_parts(struct vpc_parts *parts, size_t subnets)
{
    parts->routes = vpc_part_id(parts, "rtb-", "default");
    parts->acl = vpc_part_id(parts, "acl-", "default");
    parts->group = vpc_part_id(parts, "sg-", "default");
    make_routes(parts);
    make_group(parts);
    return make_acl(parts, subnets);
}

void vpc_join_acl(struct vpc_parts *parts, struct ec2_network_acl *acl, struct str subnet_id, const char *purpose)
{
    acl->associations.items[acl->associations.count++] = (struct ec2_network_acl_association){
        .network_acl_association_id = vpc_part_id(parts, "aclassoc-", purpose),
        .network_acl_id = acl->network_acl_id,
        .subnet_id = subnet_id};
}
