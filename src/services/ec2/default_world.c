#include "services/ec2/default_world.h"

#include "services/ec2/catalogue/regions.h"
#include "services/ec2/local.h"
#include "services/ec2/vpc_parts.h"

#define ONE(seed, list) (list).items = arena_alloc((seed)->arena, sizeof *(list).items), (list).count = 1

static void dhcp_entry(struct vpc_parts *seed, struct ec2_dhcp_configuration *entry, struct str key, struct str value)
{
    entry->key = key;
    ONE(seed, entry->values);
    entry->values.items[0].value = value;
}

static void make_dhcp_options(struct vpc_parts *seed, struct str id)
{
    struct ec2_dhcp_options *options = dhcp_options_create(seed->tx, id);
    bool first = str_equal(seed->region, S("us-east-1"));

    options->owner_id = seed->account;
    options->dhcp_configurations.items = arena_array(seed->arena, struct ec2_dhcp_configuration, 2);
    options->dhcp_configurations.count = 2;
    dhcp_entry(seed, &options->dhcp_configurations.items[0], S("domain-name"),
               first ? S("ec2.internal")
                     : arena_printf(seed->arena, STR_FMT ".compute.internal", STR_ARG(seed->region)));
    dhcp_entry(seed, &options->dhcp_configurations.items[1], S("domain-name-servers"), S("AmazonProvidedDNS"));
}

static void make_vpc(struct vpc_parts *seed, struct str dhcp)
{
    struct ec2_vpc *vpc = vpc_create(seed->tx, seed->vpc);
    struct ec2_vpc_cidr_block_association *association;

    vpc->owner_id = seed->account;
    vpc->state = S("available");
    vpc->cidr_block = S("172.31.0.0/16");
    vpc->dhcp_options_id = dhcp;
    vpc->instance_tenancy = S("default");
    vpc->is_default = YES;
    ONE(seed, vpc->cidr_block_association_set);
    association = &vpc->cidr_block_association_set.items[0];
    association->association_id = vpc_part_id(seed, "vpc-cidr-assoc-", "default");
    association->cidr_block = vpc->cidr_block;
    association->cidr_block_state = arena_new(seed->arena, struct ec2_vpc_cidr_block_state);
    association->cidr_block_state->state = S("associated");
    vpc->block_public_access_states = arena_new(seed->arena, struct ec2_block_public_access_states);
    vpc->block_public_access_states->internet_gateway_block_mode = S("off");
}

static void make_gateway(struct vpc_parts *seed)
{
    struct ec2_internet_gateway *gateway = internet_gateway_create(seed->tx, seed->gateway);

    gateway->owner_id = seed->account;
    ONE(seed, gateway->attachments);
    gateway->attachments.items[0].state = S("available");
    gateway->attachments.items[0].vpc_id = seed->vpc;
}

/* A /20 a zone: 172.31.0.0/20, 172.31.16.0/20 … */
static void make_subnet(struct vpc_parts *seed, const struct zone *zone, unsigned number, struct ec2_network_acl *acl)
{
    struct str name = catalogue_text(zone->name), id = vpc_part_id(seed, "subnet-", name.p);
    struct ec2_subnet *subnet = subnet_create(seed->tx, id);

    subnet->owner_id = seed->account;
    subnet->vpc_id = seed->vpc;
    subnet->state = S("available");
    subnet->availability_zone = name;
    subnet->availability_zone_id = catalogue_text(zone->id);
    subnet->cidr_block = arena_printf(seed->arena, "172.31.%u.0/20", number * 16);
    subnet->default_for_az = YES;
    subnet->map_public_ip_on_launch = YES;
    subnet->private_dns_name_options_on_launch = arena_new(seed->arena, struct ec2_private_dns_name_options_on_launch);
    *subnet->private_dns_name_options_on_launch = (struct ec2_private_dns_name_options_on_launch){
        .hostname_type = S("ip-name"),
        .enable_resource_name_dns_a_record = NO,
        .enable_resource_name_dns_aaaa_record = NO};
    subnet->block_public_access_states = arena_new(seed->arena, struct ec2_block_public_access_states);
    subnet->block_public_access_states->internet_gateway_block_mode = S("off");
    vpc_join_acl(seed, acl, id, name.p);
}

int ec2_seed_world(void *cookie, struct tx *tx, struct err *err)
{
    struct vpc_parts seed = {.tx = tx,
                             .arena = tx_arena(tx),
                             .account = world_account(tx_world(tx)),
                             .region = world_region(tx_world(tx)),
                             .derived = true,
                             .cidr = S("172.31.0.0/16")};
    struct str dhcp;
    const struct region *region = region_find(seed.region);
    struct ec2_network_acl *acl;

    if (!region)
        return err_plain(err, "no region " STR_FMT, STR_ARG(seed.region));
    seed.vpc = vpc_part_id(&seed, "vpc-", "default");
    seed.gateway = vpc_part_id(&seed, "igw-", "default");
    dhcp = vpc_part_id(&seed, "dopt-", "default");
    make_dhcp_options(&seed, dhcp);
    make_vpc(&seed, dhcp);
    make_gateway(&seed);
    acl = vpc_make_parts(&seed, region->zone_count);
    for (unsigned i = 0; i < region->zone_count; i++)
        make_subnet(&seed, region_zone(region, i), i, acl);
    return 0;
}
