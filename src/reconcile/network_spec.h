/* What the network should be, from the records: plain descriptions for the fabric, all copied into the arena. */
#pragma once

#include "fabric/fabric.h"
#include "services/ec2/local.h"
#include "workload/workload.h"

/* Each false: the record is gone. `version` rises with the store's commits. */
bool network_vpc(struct tx *tx, struct arena *arena, struct str vpc_id, uint64_t version, struct fabric_vpc *ret);
bool network_group(struct tx *tx, struct arena *arena, struct str group_id, uint64_t version, struct fabric_group *ret);
/* With its groups and its VPC, whole. Raises an err of ours when the records do not add up. */
int network_interface_spec(struct tx *tx, struct arena *arena, const struct ec2_network_interface *eni,
                           uint64_t version, struct workload_interface *ret, struct err *err);
