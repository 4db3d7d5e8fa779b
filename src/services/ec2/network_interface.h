/* Network interfaces: what several operations change of one. */
#pragma once

#include "services/ec2/local.h"

/*
 * Puts the interface into these security groups and out of all others. Raises InvalidGroup.NotFound, InvalidParameter
 * (a group of another VPC), SecurityGroupsPerInterfaceLimitExceeded.
 */
int network_interface_set_groups(struct call *call, struct ec2_network_interface *eni, const struct str *ids,
                                 size_t count, struct err *err);

/* Its instance has ended, and it stays: it keeps its Elastic IPs. */
void network_interface_leave(struct tx *tx, struct str id);

/* Elastic IPs on the interface are on nothing any more. */
void network_interface_free_addresses(struct tx *tx, const struct ec2_network_interface *eni);
