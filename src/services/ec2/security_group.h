/* Security groups: how requests name them, and what their texts may hold. */
#pragma once

#include "services/ec2/local.h"

/* What names and descriptions may hold beside letters and digits, in the words of AWS's errors. */
#define SECURITY_GROUP_CHARACTERS "a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"

bool security_group_text_ok(struct str text, size_t max);

/* The group of that id or else, in the default VPC, of that name. Raises MissingParameter when there is neither. */
int security_group_chosen(struct call *call, struct str id, struct str name, const struct ec2_security_group **ret,
                          struct err *err);

/* NULL: the VPC has none of that name (names are the same whatever their case). */
const struct ec2_security_group *security_group_named(struct call *call, struct str vpc_id, struct str name);

/* The VPC that stands for none; NULL: it was deleted. */
const struct ec2_vpc *security_group_default_vpc(struct call *call);

/* A new rule's record, of what `rule` says and an id of its own. */
struct ec2_security_group_rule *security_group_add_rule(struct call *call, const struct ec2_security_group_rule *rule);
