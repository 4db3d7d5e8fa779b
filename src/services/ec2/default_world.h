/*
 * The default world of an account in a region, as AWS makes it: the VPC 172.31.0.0/16, a /20 subnet in each zone, an
 * internet gateway with its route, the main route table, network ACL, security group and DHCP options.
 * Source: VPC user guide, "Default VPCs". Ids are derived from account and region, so that the same world, computed
 * again after a restart, has the same ids.
 */
#pragma once

#include "store/store.h"

int ec2_seed_world(void *cookie, struct tx *tx, struct err *err); /* for store_set_seed */
