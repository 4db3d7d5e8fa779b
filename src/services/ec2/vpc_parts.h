/*
 * What every VPC comes with: its main route table, network ACL and default security group; the same for the default VPC
 * and for those that CreateVpc makes. Source: VPC user guide, "VPC basics".
 */
#pragma once

#include "services/ec2/local.h"

struct vpc_parts {
    struct tx *tx;
    struct arena *arena;
    struct str account, region;
    bool derived; /* ids follow from account and region: the same world computed again has the same ids */
    struct str vpc, cidr;
    struct str gateway;            /* for a default route in the main table; absent: none */
    struct str routes, acl, group; /* filled by vpc_make_parts */
};

struct str vpc_part_id(struct vpc_parts *parts, const char *prefix, const char *purpose);
/* The ACL has room for `subnets` associations; a subnet joins it with vpc_join_acl. */
struct ec2_network_acl *vpc_make_parts(struct vpc_parts *parts, size_t subnets);
void vpc_join_acl(struct vpc_parts *parts, struct ec2_network_acl *acl, struct str subnet_id, const char *purpose);
/* The rule that lets everything out, of a new group. */
void vpc_make_rule(struct vpc_parts *parts, struct str group_id, bool egress);
