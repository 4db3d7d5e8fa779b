/*
 * Quotas: one table. Those that shape a resource always hold; those of a whole account are AWS's figures to tell
 * (DescribeAccountAttributes), and are not held against anybody unless a setting names them. None does yet.
 * Source: "Amazon VPC quotas", "Amazon EC2 service quotas".
 */
#pragma once

#include "base/str.h"

enum quota {
    QUOTA_RULES_PER_GROUP, /* in each direction */
    QUOTA_GROUPS_PER_INTERFACE,
    QUOTA_VOLUMES_PER_INSTANCE,
    QUOTA_INSTANCES_PER_CALL,
    QUOTA_INSTANCES, /* an account's, from here on */
    QUOTA_ELASTIC_IPS,
    QUOTA_COUNT,
};

int64_t quota_value(enum quota quota);
/* By the account attribute that tells it ("max-instances"); 0: there is none. */
int64_t quota_attribute(struct str name);
