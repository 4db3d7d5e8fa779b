/*
 * AuthorizeSecurityGroupIngress and -Egress, RevokeSecurityGroupIngress and -Egress. Everything is checked before
 * anything is written. Sources: these operations in the API reference; "Amazon VPC quotas".
 */
#include "services/ec2/permission.h"
#include "services/ec2/security_group.h"

/* A permission as old requests spell it: in members of the request itself. */
struct flat_permission {
    struct permission_ports ports;
    struct str cidr, group_name, group_owner;
};

#define FLAT(in)                                                                   \
    ((struct flat_permission){{(in)->ip_protocol, (in)->from_port, (in)->to_port}, \
                              (in)->cidr_ip,                                       \
                              (in)->source_security_group_name,                    \
                              (in)->source_security_group_owner_id})

static bool flat_given(const struct flat_permission *flat)
{
    return flat->ports.protocol.p || flat->ports.from.set || flat->ports.to.set || flat->cidr.p || flat->group_name.p ||
           flat->group_owner.p;
}

/* Flat members as the one permission they mean. A source group without a protocol means everything from it. */
static int unflatten(struct call *call, const struct flat_permission *flat, struct ec2_ip_permission_list *ret,
                     struct err *err)
{
    struct ec2_ip_permission *permission = arena_new(call->arena, struct ec2_ip_permission);

    if (flat->cidr.p && flat->group_name.p)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The parameter 'cidrIp' may not be used in combination with 'sourceSecurityGroupName'");
    permission->ip_protocol = flat->group_name.p && !flat->ports.protocol.p ? S("-1") : flat->ports.protocol;
    permission->from_port = flat->ports.from;
    permission->to_port = flat->ports.to;
    if (flat->cidr.p) {
        permission->ip_ranges.items = arena_new(call->arena, struct ec2_ip_range);
        permission->ip_ranges.items[permission->ip_ranges.count++].cidr_ip = flat->cidr;
    }
    if (flat->group_name.p) {
        permission->user_id_group_pairs.items = arena_new(call->arena, struct ec2_user_id_group_pair);
        permission->user_id_group_pairs.items[permission->user_id_group_pairs.count++] =
            (struct ec2_user_id_group_pair){.group_name = flat->group_name, .user_id = flat->group_owner};
    }
    *ret = (struct ec2_ip_permission_list){permission, 1};
    return 0;
}

/* The rules that a request names, one way or the other. Egress knows no flat members ("Not supported"). */
static int named_rules(struct call *call, const struct ec2_security_group *group, bool egress,
                       const struct ec2_ip_permission_list *permissions, const struct flat_permission *flat,
                       struct ec2_security_group_rule_list *ret, struct err *err)
{
    struct ec2_ip_permission_list one;
    int r;

    if (permissions->count && flat_given(flat))
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The parameter 'ipPermissions' may not be used in combination with 'ipProtocol'");
    if (permissions->count)
        return permission_rules(call, group, egress, permissions, ret, err);
    if (egress || !flat_given(flat))
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter ipPermissions");
    r = unflatten(call, flat, &one, err);
    return r < 0 ? r : permission_rules(call, group, egress, &one, ret, err);
}

struct rule_set {
    const struct ec2_security_group_rule *const *items; /* of both directions */
    size_t count;
};

static struct rule_set rules_of(struct call *call, const struct ec2_security_group *group)
{
    struct rule_set set;

    set.count = security_group_rule_find(call->tx, EC2_SECURITY_GROUP_RULE_BY_GROUP_ID, group->group_id, &set.items);
    return set;
}

/* The group's rule that allows the same as `like`; NULL: none. */
static const struct ec2_security_group_rule *rule_like(const struct rule_set *set,
                                                       const struct ec2_security_group_rule *like)
{
    for (size_t i = 0; i < set->count; i++)
        if (rule_same(set->items[i], like))
            return set->items[i];
    return NULL;
}

static int check_family(const struct rule_set *old, const struct ec2_security_group_rule_list *new, bool egress,
                        bool ipv6, struct err *err)
{
    size_t count = 0;

    for (size_t i = 0; i < old->count; i++)
        count += rule_of_family(old->items[i], egress, ipv6);
    for (size_t i = 0; i < new->count; i++)
        count += rule_of_family(&new->items[i], egress, ipv6);
    return rules_check_count(count, err);
}

static int check_new(struct call *call, const struct rule_set *old, const struct ec2_security_group_rule_list *new,
                     bool egress, struct err *err)
{
    if (check_family(old, new, egress, false, err) < 0 || check_family(old, new, egress, true, err) < 0)
        return -1;
    for (size_t i = 0; i < new->count; i++) {
        if (rule_like(old, &new->items[i]))
            return err_aws(err, &EC2_INVALID_PERMISSION_DUPLICATE, "the specified rule \"" STR_FMT "\" already exists",
                           STR_ARG(rule_text(call, &new->items[i])));
        for (size_t k = 0; k < i; k++)
            if (rule_same(&new->items[i], &new->items[k]))
                return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "The same permission must not appear multiple times");
    }
    return 0;
}

static int authorize(struct call *call, const struct ec2_security_group *group, bool egress,
                     const struct ec2_tag_specification_list *specifications,
                     struct ec2_security_group_rule_list *rules, struct err *err)
{
    struct rule_set old = rules_of(call, group);
    struct ec2_tag_list tags;
    int r = tags_specified(call, specifications, "security-group-rule", NULL, &tags, err);

    if (r == 0)
        r = check_new(call, &old, rules, egress, err);
    for (size_t i = 0; i < rules->count && r == 0; i++) {
        rules->items[i].tags = tags;
        r = resource_view(call, EC2_SECURITY_GROUP_RULE, security_group_add_rule(call, &rules->items[i]),
                          &rules->items[i], err);
    }
    return r;
}

int ec2_authorize_security_group_ingress(struct call *call,
                                         const struct ec2_authorize_security_group_ingress_request *in,
                                         struct ec2_authorize_security_group_ingress_result *out, struct err *err)
{
    const struct ec2_security_group *group;
    struct flat_permission flat = FLAT(in);
    int r = security_group_chosen(call, in->group_id, in->group_name, &group, err);

    if (r == 0)
        r = named_rules(call, group, false, &in->ip_permissions, &flat, &out->security_group_rules, err);
    if (r == 0)
        r = authorize(call, group, false, &in->tag_specifications, &out->security_group_rules, err);
    out->return_ = YES;
    return r;
}

int ec2_authorize_security_group_egress(struct call *call, const struct ec2_authorize_security_group_egress_request *in,
                                        struct ec2_authorize_security_group_egress_result *out, struct err *err)
{
    const struct ec2_security_group *group;
    struct flat_permission flat = FLAT(in);
    int r = security_group_get(call->tx, in->group_id, &group, err);

    if (r == 0)
        r = named_rules(call, group, true, &in->ip_permissions, &flat, &out->security_group_rules, err);
    if (r == 0)
        r = authorize(call, group, true, &in->tag_specifications, &out->security_group_rules, err);
    out->return_ = YES;
    return r;
}

/* What is to go, and what of the request is not there. */
struct revocation {
    bool egress;
    const struct str *ids;
    size_t id_count;
    const struct ec2_ip_permission_list *permissions;
    struct flat_permission flat;
    struct ec2_ip_permission_list unknown;
    struct ec2_revoked_security_group_rule_list revoked;
};

static void take_out(struct revocation *revocation, const struct ec2_security_group_rule *rule)
{
    struct ec2_revoked_security_group_rule_list *revoked = &revocation->revoked;

    for (size_t i = 0; i < revoked->count; i++)
        if (str_equal(revoked->items[i].security_group_rule_id, rule->security_group_rule_id))
            return;
    revoked->items[revoked->count++] = (struct ec2_revoked_security_group_rule){
        .security_group_rule_id = rule->security_group_rule_id,
        .group_id = rule->group_id,
        .is_egress = rule->is_egress,
        .ip_protocol = rule->ip_protocol,
        .from_port = rule->from_port,
        .to_port = rule->to_port,
        .cidr_ipv4 = rule->cidr_ipv4,
        .cidr_ipv6 = rule->cidr_ipv6,
        .prefix_list_id = rule->prefix_list_id,
        .referenced_group_id = rule->referenced_group_info ? rule->referenced_group_info->group_id : (struct str){0},
        .description = rule->description};
}

static int revoke_ids(struct call *call, const struct ec2_security_group *group, struct revocation *revocation,
                      struct err *err)
{
    for (size_t i = 0; i < revocation->id_count; i++) {
        const struct ec2_security_group_rule *rule;
        int r = security_group_rule_get(call->tx, revocation->ids[i], &rule, err);

        if (r < 0)
            return r;
        if (!str_equal(rule->group_id, group->group_id) || rule->is_egress.value != revocation->egress)
            return resource_not_found(&ec2_resources[EC2_SECURITY_GROUP_RULE], &revocation->ids[i], 1, err);
        take_out(revocation, rule);
    }
    return 0;
}

/* A permission that is not there is an error, but in the default VPC, where it is told in UnknownIpPermissions. */
static int revoke_permissions(struct call *call, const struct ec2_security_group *group, const struct rule_set *set,
                              struct revocation *revocation, struct err *err)
{
    const struct ec2_vpc *vpc = vpc_peek(call->tx, group->vpc_id);
    struct ec2_security_group_rule_list rules = {0};
    int r = named_rules(call, group, revocation->egress, revocation->permissions, &revocation->flat, &rules, err);

    for (size_t i = 0; i < rules.count && r == 0; i++) {
        const struct ec2_security_group_rule *rule = rule_like(set, &rules.items[i]);
        if (rule)
            take_out(revocation, rule);
        else if (vpc && vpc->is_default.value)
            permission_add(call, &revocation->unknown, &rules.items[i]);
        else
            r = err_aws(err, &EC2_INVALID_PERMISSION_NOT_FOUND,
                        "The specified rule does not exist in this security group.");
    }
    return r;
}

static int revoke_all(struct call *call, const struct ec2_security_group *group, struct revocation *revocation,
                      struct err *err)
{
    struct rule_set set = rules_of(call, group);
    int r;

    if (revocation->id_count && (revocation->permissions->count || flat_given(&revocation->flat)))
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The parameter 'securityGroupRuleIds' may not be used in combination with 'ipPermissions'");
    revocation->revoked.items = arena_array(call->arena, struct ec2_revoked_security_group_rule, set.count + 1);
    r = revocation->id_count ? revoke_ids(call, group, revocation, err)
                             : revoke_permissions(call, group, &set, revocation, err);
    for (size_t i = 0; i < revocation->revoked.count && r == 0; i++)
        security_group_rule_remove(call->tx, revocation->revoked.items[i].security_group_rule_id);
    return r;
}

int ec2_revoke_security_group_ingress(struct call *call, const struct ec2_revoke_security_group_ingress_request *in,
                                      struct ec2_revoke_security_group_ingress_result *out, struct err *err)
{
    struct revocation revocation = {.ids = in->security_group_rule_ids.items,
                                    .id_count = in->security_group_rule_ids.count,
                                    .permissions = &in->ip_permissions,
                                    .flat = FLAT(in)};
    const struct ec2_security_group *group;
    int r = security_group_chosen(call, in->group_id, in->group_name, &group, err);

    if (r == 0)
        r = revoke_all(call, group, &revocation, err);
    out->return_ = YES;
    out->unknown_ip_permissions = revocation.unknown;
    out->revoked_security_group_rules = revocation.revoked;
    return r;
}

int ec2_revoke_security_group_egress(struct call *call, const struct ec2_revoke_security_group_egress_request *in,
                                     struct ec2_revoke_security_group_egress_result *out, struct err *err)
{
    struct revocation revocation = {.egress = true,
                                    .ids = in->security_group_rule_ids.items,
                                    .id_count = in->security_group_rule_ids.count,
                                    .permissions = &in->ip_permissions,
                                    .flat = FLAT(in)};
    const struct ec2_security_group *group;
    int r = security_group_get(call->tx, in->group_id, &group, err);

    if (r == 0)
        r = revoke_all(call, group, &revocation, err);
    out->return_ = YES;
    out->unknown_ip_permissions = revocation.unknown;
    out->revoked_security_group_rules = revocation.revoked;
    return r;
}
