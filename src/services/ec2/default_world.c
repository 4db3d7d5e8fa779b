#include "services/ec2/default_world.h"

#include "services/ec2/catalogue/regions.h"
#include "services/ec2/local.h"

#include <openssl/sha.h>

struct seed {
    struct tx *tx;
    struct arena *arena;
    struct str account, region;
    struct str vpc, dhcp, gateway, routes, acl, group;
};

/* "vpc-" and 17 digits of the hash of account, region and what it is for. */
static struct str derived_id(struct seed *seed, const char *prefix, const char *purpose)
{
    unsigned char hash[SHA256_DIGEST_LENGTH];
    struct str text = arena_printf(seed->arena, STR_FMT "/" STR_FMT "/%s/%s", STR_ARG(seed->account),
                                   STR_ARG(seed->region), prefix, purpose);
    char digits[2 * sizeof hash + 1];

    SHA256((const unsigned char *)text.p, text.len, hash);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(digits + 2 * i, 3, "%02x", hash[i]);
    return arena_printf(seed->arena, "%s0%.16s", prefix, digits);
}

static struct str arn(struct seed *seed, const char *kind, struct str id)
{
    return arena_printf(seed->arena, "arn:aws:ec2:" STR_FMT ":" STR_FMT ":%s/" STR_FMT, STR_ARG(seed->region),
                        STR_ARG(seed->account), kind, STR_ARG(id));
}

#define ONE(seed, list) (list).items = arena_alloc((seed)->arena, sizeof *(list).items), (list).count = 1

static void dhcp_entry(struct seed *seed, struct ec2_dhcp_configuration *entry, struct str key, struct str value)
{
    entry->key = key;
    ONE(seed, entry->values);
    entry->values.items[0].value = value;
}

static void make_dhcp_options(struct seed *seed)
{
    struct ec2_dhcp_options *options = dhcp_options_create(seed->tx, seed->dhcp);
    bool first = str_equal(seed->region, S("us-east-1"));

    options->owner_id = seed->account;
    options->dhcp_configurations.items = arena_array(seed->arena, struct ec2_dhcp_configuration, 2);
    options->dhcp_configurations.count = 2;
    dhcp_entry(seed, &options->dhcp_configurations.items[0], S("domain-name"),
               first ? S("ec2.internal")
                     : arena_printf(seed->arena, STR_FMT ".compute.internal", STR_ARG(seed->region)));
    dhcp_entry(seed, &options->dhcp_configurations.items[1], S("domain-name-servers"), S("AmazonProvidedDNS"));
}

static void make_vpc(struct seed *seed)
{
    struct ec2_vpc *vpc = vpc_create(seed->tx, seed->vpc);
    struct ec2_vpc_cidr_block_association *association;

    vpc->owner_id = seed->account;
    vpc->state = S("available");
    vpc->cidr_block = S("172.31.0.0/16");
    vpc->dhcp_options_id = seed->dhcp;
    vpc->instance_tenancy = S("default");
    vpc->is_default = YES;
    ONE(seed, vpc->cidr_block_association_set);
    association = &vpc->cidr_block_association_set.items[0];
    association->association_id = derived_id(seed, "vpc-cidr-assoc-", "default");
    association->cidr_block = vpc->cidr_block;
    association->cidr_block_state = arena_new(seed->arena, struct ec2_vpc_cidr_block_state);
    association->cidr_block_state->state = S("associated");
    vpc->block_public_access_states = arena_new(seed->arena, struct ec2_block_public_access_states);
    vpc->block_public_access_states->internet_gateway_block_mode = S("off");
}

static void make_gateway(struct seed *seed)
{
    struct ec2_internet_gateway *gateway = internet_gateway_create(seed->tx, seed->gateway);

    gateway->owner_id = seed->account;
    ONE(seed, gateway->attachments);
    gateway->attachments.items[0].state = S("available");
    gateway->attachments.items[0].vpc_id = seed->vpc;
}

static void make_routes(struct seed *seed)
{
    struct ec2_route_table *table = route_table_create(seed->tx, seed->routes);
    struct ec2_route_table_association *association;

    table->owner_id = seed->account;
    table->vpc_id = seed->vpc;
    table->routes.items = arena_array(seed->arena, struct ec2_route, 2);
    table->routes.count = 2;
    table->routes.items[0] = (struct ec2_route){.destination_cidr_block = S("172.31.0.0/16"),
                                                .gateway_id = S("local"),
                                                .origin = S("CreateRouteTable"),
                                                .state = S("active")};
    table->routes.items[1] = (struct ec2_route){.destination_cidr_block = S("0.0.0.0/0"),
                                                .gateway_id = seed->gateway,
                                                .origin = S("CreateRoute"),
                                                .state = S("active")};
    ONE(seed, table->associations);
    association = &table->associations.items[0];
    association->main = YES;
    association->route_table_association_id = derived_id(seed, "rtbassoc-", "main");
    association->route_table_id = seed->routes;
    association->association_state = arena_new(seed->arena, struct ec2_route_table_association_state);
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

static struct ec2_network_acl *make_acl(struct seed *seed, size_t subnets)
{
    struct ec2_network_acl *acl = network_acl_create(seed->tx, seed->acl);

    acl->owner_id = seed->account;
    acl->vpc_id = seed->vpc;
    acl->is_default = YES;
    acl->entries.items = arena_array(seed->arena, struct ec2_network_acl_entry, 4);
    acl->entries.count = 4;
    acl->entries.items[0] = acl_entry(true, 100, S("allow"));
    acl->entries.items[1] = acl_entry(true, 32767, S("deny"));
    acl->entries.items[2] = acl_entry(false, 100, S("allow"));
    acl->entries.items[3] = acl_entry(false, 32767, S("deny"));
    acl->associations.items = arena_array(seed->arena, struct ec2_network_acl_association, subnets);
    return acl;
}

static void make_rule(struct seed *seed, bool egress)
{
    struct str id = derived_id(seed, "sgr-", egress ? "egress" : "ingress");
    struct ec2_security_group_rule *rule = security_group_rule_create(seed->tx, id);

    rule->group_id = seed->group;
    rule->group_owner_id = seed->account;
    rule->is_egress = BOOL(egress);
    rule->ip_protocol = S("-1");
    rule->from_port = rule->to_port = INT(-1);
    rule->security_group_rule_arn = arn(seed, "security-group-rule", id);
    if (egress) {
        rule->cidr_ipv4 = S("0.0.0.0/0");
        return;
    }
    rule->referenced_group_info = arena_new(seed->arena, struct ec2_referenced_security_group);
    rule->referenced_group_info->group_id = seed->group;
    rule->referenced_group_info->user_id = seed->account;
}

static void make_group(struct seed *seed)
{
    struct ec2_security_group *group = security_group_create(seed->tx, seed->group);

    group->owner_id = seed->account;
    group->vpc_id = seed->vpc;
    group->group_name = S("default");
    group->description = S("default VPC security group");
    group->security_group_arn = arn(seed, "security-group", seed->group);
    make_rule(seed, false);
    make_rule(seed, true);
}

/* A /20 a zone: 172.31.0.0/20, 172.31.16.0/20 … */
static void make_subnet(struct seed *seed, const struct zone *zone, unsigned number, struct ec2_network_acl *acl)
{
    struct str name = catalogue_text(zone->name), id = derived_id(seed, "subnet-", name.p);
    struct ec2_subnet *subnet = subnet_create(seed->tx, id);
    struct ec2_network_acl_association *association = &acl->associations.items[acl->associations.count++];

    subnet->owner_id = seed->account;
    subnet->vpc_id = seed->vpc;
    subnet->state = S("available");
    subnet->availability_zone = name;
    subnet->availability_zone_id = catalogue_text(zone->id);
    subnet->cidr_block = arena_printf(seed->arena, "172.31.%u.0/20", number * 16);
    subnet->default_for_az = YES;
    subnet->map_public_ip_on_launch = YES;
    subnet->subnet_arn = arn(seed, "subnet", id);
    subnet->private_dns_name_options_on_launch = arena_new(seed->arena, struct ec2_private_dns_name_options_on_launch);
    *subnet->private_dns_name_options_on_launch = (struct ec2_private_dns_name_options_on_launch){
        .hostname_type = S("ip-name"),
        .enable_resource_name_dns_a_record = NO,
        .enable_resource_name_dns_aaaa_record = NO};
    subnet->block_public_access_states = arena_new(seed->arena, struct ec2_block_public_access_states);
    subnet->block_public_access_states->internet_gateway_block_mode = S("off");
    association->network_acl_association_id = derived_id(seed, "aclassoc-", name.p);
    association->network_acl_id = seed->acl;
    association->subnet_id = id;
}

int ec2_seed_world(void *cookie, struct tx *tx, struct err *err)
{
    struct seed seed = {
        .tx = tx, .arena = tx_arena(tx), .account = world_account(tx_world(tx)), .region = world_region(tx_world(tx))};
    const struct region *region = region_find(seed.region);
    struct ec2_network_acl *acl;

    if (!region)
        return err_plain(err, "no region " STR_FMT, STR_ARG(seed.region));
    seed.vpc = derived_id(&seed, "vpc-", "default");
    seed.dhcp = derived_id(&seed, "dopt-", "default");
    seed.gateway = derived_id(&seed, "igw-", "default");
    seed.routes = derived_id(&seed, "rtb-", "default");
    seed.acl = derived_id(&seed, "acl-", "default");
    seed.group = derived_id(&seed, "sg-", "default");
    make_dhcp_options(&seed);
    make_vpc(&seed);
    make_gateway(&seed);
    make_routes(&seed);
    make_group(&seed);
    acl = make_acl(&seed, region->zone_count);
    for (unsigned i = 0; i < region->zone_count; i++)
        make_subnet(&seed, region_zone(region, i), i, acl);
    return 0;
}
