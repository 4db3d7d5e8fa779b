/* Amazon Resource Names. Source: "Amazon Resource Names (ARNs)" in the IAM user guide. */
#pragma once

#include "base/arena.h"

/* The partition that a region is of: aws, aws-cn (China), aws-us-gov (GovCloud) and others, by how its name begins. */
struct str arn_partition(struct str region);

/*
 * "arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE". `home` says the partition; `region` is what the name holds: empty
 * for what is of no region, as IAM's.
 */
struct str arn_make(struct arena *arena, struct str home, const char *service, struct str region, struct str account,
                    struct str resource);
