/* What a machine should be, from the records. */
#pragma once

#include "services/ec2/local.h"
#include "workload/workload.h"

/* `version`: the store's last commit, for the network (fabric.h). Everything in `arena`, copied. Raises an err of ours
 * when the records do not add up to a machine. */
int spec_of_instance(struct tx *tx, struct arena *arena, const struct ec2_instance *instance, struct str image,
                     uint64_t version, struct workload_spec *ret, struct err *err);
