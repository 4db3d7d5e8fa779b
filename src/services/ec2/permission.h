/*
 * Permissions of security groups. A request names them folded (IpPermission: a protocol, ports and many peers), the
 * store holds them one by one (SecurityGroupRule: one peer each); here is the way there and back. Sources:
 * IpPermission, IpRange and UserIdGroupPair in the API reference; "Security group rules" in the VPC guide.
 */
#pragma once

#include "services/ec2/local.h"

/* What a request's members of one permission are, however the request spells them. */
struct permission_ports {
    struct str protocol;
    struct opt_int from, to;
};

/*
 * Protocol and ports, checked and as AWS stores them: "6" and "TCP" become "tcp", protocols without ports get -1 and
 * -1. Raises InvalidParameterValue and InvalidPermission.Malformed.
 */
int permission_ports(struct call *call, const struct permission_ports *in, struct ec2_security_group_rule *rule,
                     struct err *err);

/* A range in AWS's canonical form: "100.68.0.18/18" becomes "100.68.0.0/18". Raises InvalidParameterValue. */
int permission_cidr(struct call *call, struct str text, struct str *ret, struct err *err);
int permission_cidr6(struct call *call, struct str text, struct str *ret, struct err *err);

/* The group of a rule's other end, which must stand in the same VPC. */
int permission_peer(struct call *call, const struct ec2_security_group *group,
                    const struct ec2_user_id_group_pair *pair, struct ec2_referenced_security_group **ret,
                    struct err *err);

int permission_prefix_list(struct str id, struct err *err); /* none exists: always an error */
int permission_description(struct str text, struct err *err);

/* Every rule that the permissions mean, for `group`, without ids. Raises whatever is wrong with them. */
int permission_rules(struct call *call, const struct ec2_security_group *group, bool egress,
                     const struct ec2_ip_permission_list *in, struct ec2_security_group_rule_list *ret,
                     struct err *err);

/* Do they allow the same: direction, protocol, ports, peer? Descriptions do not count. */
bool rule_same(const struct ec2_security_group_rule *a, const struct ec2_security_group_rule *b);

/* Does the rule count among those of a direction and a family of addresses? One that names a group is for both. */
bool rule_of_family(const struct ec2_security_group_rule *rule, bool egress, bool ipv6);
/* Raises RulesPerSecurityGroupLimitExceeded when one direction and family of a group would have so many rules. */
int rules_check_count(size_t count, struct err *err);

/* Adds the rule to a list that began empty: to the permission of its protocol and ports, or a new one. */
void permission_add(struct call *call, struct ec2_ip_permission_list *list, const struct ec2_security_group_rule *rule);

/* "peer: 0.0.0.0/0, TCP, from port: 22, to port: 22, ALLOW", as AWS's errors name a rule. */
struct str rule_text(struct call *call, const struct ec2_security_group_rule *rule);
