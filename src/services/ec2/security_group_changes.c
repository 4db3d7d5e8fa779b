/*
 * ModifySecurityGroupRules, UpdateSecurityGroupRuleDescriptionsIngress and -Egress. Everything is checked before
 * anything is written. Source: these operations in the API reference.
 */
#include "services/ec2/permission.h"
#include "services/ec2/security_group.h"

static int rule_not_found(struct str id, struct err *err)
{
    return resource_not_found(&ec2_resources[EC2_SECURITY_GROUP_RULE], &id, 1, err);
}

/* The group's rule of that id. */
static int rule_of_group(struct call *call, const struct ec2_security_group *group, struct str id,
                         const struct ec2_security_group_rule **ret, struct err *err)
{
    int r = security_group_rule_get(call->tx, id, ret, err);

    if (r == 0 && !str_equal((*ret)->group_id, group->group_id))
        return rule_not_found(id, err);
    return r;
}

/* The one peer that the request names. */
static int plan_peer(struct call *call, const struct ec2_security_group *group,
                     const struct ec2_security_group_rule_request *in, struct ec2_security_group_rule *rule,
                     struct err *err)
{
    struct ec2_user_id_group_pair pair = {.group_id = in->referenced_group_id};

    if (!!in->cidr_ipv4.p + !!in->cidr_ipv6.p + !!in->prefix_list_id.p + !!in->referenced_group_id.p != 1)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "Exactly one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId must be specified.");
    if (in->cidr_ipv4.p)
        return permission_cidr(call, in->cidr_ipv4, &rule->cidr_ipv4, err);
    if (in->cidr_ipv6.p)
        return permission_cidr6(call, in->cidr_ipv6, &rule->cidr_ipv6, err);
    if (in->prefix_list_id.p)
        return permission_prefix_list(in->prefix_list_id, err);
    return permission_peer(call, group, &pair, &rule->referenced_group_info, err);
}

/* The rule as it will be: what the request says, and of the old one only what is not the permission's. */
static int plan_rule(struct call *call, const struct ec2_security_group *group,
                     const struct ec2_security_group_rule_update *update, struct ec2_security_group_rule *rule,
                     struct err *err)
{
    const struct ec2_security_group_rule_request *in = update->security_group_rule;
    const struct ec2_security_group_rule *old;
    struct permission_ports ports;
    int r = rule_of_group(call, group, update->security_group_rule_id, &old, err);

    if (r < 0)
        return r;
    if (!in)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter SecurityGroupRule");
    *rule = (struct ec2_security_group_rule){.security_group_rule_id = old->security_group_rule_id,
                                             .group_id = old->group_id,
                                             .group_owner_id = old->group_owner_id,
                                             .is_egress = old->is_egress,
                                             .description = in->description,
                                             .tags = old->tags};
    ports = (struct permission_ports){in->ip_protocol, in->from_port, in->to_port};
    r = permission_ports(call, &ports, rule, err);
    if (r == 0)
        r = plan_peer(call, group, in, rule, err);
    return r < 0 ? r : permission_description(in->description, err);
}

static const struct ec2_security_group_rule *planned(const struct ec2_security_group_rule_list *rules, struct str id)
{
    for (size_t i = 0; i < rules->count; i++)
        if (str_equal(rules->items[i].security_group_rule_id, id))
            return &rules->items[i];
    return NULL;
}

static int duplicate(struct call *call, const struct ec2_security_group_rule *rule, struct err *err)
{
    return err_aws(err, &EC2_INVALID_PERMISSION_DUPLICATE, "the specified rule \"" STR_FMT "\" already exists",
                   STR_ARG(rule_text(call, rule)));
}

/* No two rules of the group, as it will be, allow the same. */
static int check_unique(struct call *call, const struct ec2_security_group *group,
                        const struct ec2_security_group_rule_list *plan, struct err *err)
{
    const struct ec2_security_group_rule *const *rules;
    size_t count = security_group_rule_find(call->tx, EC2_SECURITY_GROUP_RULE_BY_GROUP_ID, group->group_id, &rules);

    for (size_t i = 0; i < plan->count; i++) {
        for (size_t k = 0; k < i; k++)
            if (rule_same(&plan->items[i], &plan->items[k]))
                return duplicate(call, &plan->items[i], err);
        for (size_t k = 0; k < count; k++)
            if (rule_same(&plan->items[i], rules[k]) && !planned(plan, rules[k]->security_group_rule_id))
                return duplicate(call, &plan->items[i], err);
    }
    return 0;
}

static int check_family(struct call *call, const struct ec2_security_group *group,
                        const struct ec2_security_group_rule_list *plan, bool egress, bool ipv6, struct err *err)
{
    const struct ec2_security_group_rule *const *rules;
    size_t before = security_group_rule_find(call->tx, EC2_SECURITY_GROUP_RULE_BY_GROUP_ID, group->group_id, &rules);
    size_t count = 0;

    for (size_t i = 0; i < before; i++) {
        const struct ec2_security_group_rule *rule = planned(plan, rules[i]->security_group_rule_id);
        count += rule_of_family(rule ? rule : rules[i], egress, ipv6);
    }
    return rules_check_count(count, err);
}

/* A rule may have changed its family of addresses, never its direction. */
static int check_limits(struct call *call, const struct ec2_security_group *group,
                        const struct ec2_security_group_rule_list *plan, struct err *err)
{
    int r = 0;

    for (unsigned which = 0; which < 4 && r == 0; which++)
        r = check_family(call, group, plan, which & 1, which & 2, err);
    return r;
}

int ec2_modify_security_group_rules(struct call *call, const struct ec2_modify_security_group_rules_request *in,
                                    struct ec2_modify_security_group_rules_result *out, struct err *err)
{
    struct ec2_security_group_rule_list plan = {
        arena_array(call->arena, struct ec2_security_group_rule, in->security_group_rules.count + 1), 0};
    const struct ec2_security_group *group;
    struct ec2_security_group_rule *rule;
    int r = security_group_get(call->tx, in->group_id, &group, err);

    for (size_t i = 0; i < in->security_group_rules.count && r == 0; i++) {
        const struct ec2_security_group_rule_update *update = &in->security_group_rules.items[i];
        if (planned(&plan, update->security_group_rule_id))
            return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                           "The security group rule ID '" STR_FMT "' must not appear multiple times",
                           STR_ARG(update->security_group_rule_id));
        r = plan_rule(call, group, update, &plan.items[plan.count], err);
        plan.count++;
    }
    if (r == 0)
        r = check_unique(call, group, &plan, err);
    if (r == 0)
        r = check_limits(call, group, &plan, err);
    for (size_t i = 0; i < plan.count && r == 0; i++) {
        r = security_group_rule_edit(call->tx, plan.items[i].security_group_rule_id, &rule, err);
        if (r == 0)
            *rule = plan.items[i];
    }
    out->return_ = YES;
    return r;
}

/* A rule, and what it will be described as; absent: nothing. */
struct described {
    struct str id, description;
};

static int by_permissions(struct call *call, const struct ec2_security_group *group, bool egress,
                          const struct ec2_ip_permission_list *permissions, struct described **ret, size_t *ret_count,
                          struct err *err)
{
    const struct ec2_security_group_rule *const *rules;
    struct ec2_security_group_rule_list wanted;
    size_t count = security_group_rule_find(call->tx, EC2_SECURITY_GROUP_RULE_BY_GROUP_ID, group->group_id, &rules);
    int r = permission_rules(call, group, egress, permissions, &wanted, err);

    if (r < 0)
        return r;
    *ret = arena_array(call->arena, struct described, wanted.count);
    for (*ret_count = 0; *ret_count < wanted.count; ++*ret_count) {
        const struct ec2_security_group_rule *like = &wanted.items[*ret_count];
        size_t k = 0;

        while (k < count && !rule_same(rules[k], like))
            k++;
        if (k == count)
            return err_aws(err, &EC2_INVALID_PERMISSION_NOT_FOUND,
                           "The specified rule does not exist in this security group.");
        (*ret)[*ret_count] = (struct described){rules[k]->security_group_rule_id, like->description};
    }
    return 0;
}

static int by_ids(struct call *call, const struct ec2_security_group *group, bool egress,
                  const struct ec2_security_group_rule_description_list *in, struct described **ret, size_t *ret_count,
                  struct err *err)
{
    *ret = arena_array(call->arena, struct described, in->count);
    for (*ret_count = 0; *ret_count < in->count; ++*ret_count) {
        const struct ec2_security_group_rule_description *item = &in->items[*ret_count];
        const struct ec2_security_group_rule *rule;
        int r = rule_of_group(call, group, item->security_group_rule_id, &rule, err);

        if (r == 0 && rule->is_egress.value != egress)
            r = rule_not_found(item->security_group_rule_id, err);
        if (r == 0)
            r = permission_description(item->description, err);
        if (r < 0)
            return r;
        (*ret)[*ret_count] = (struct described){rule->security_group_rule_id, item->description};
    }
    return 0;
}

static int describe_rules(struct call *call, struct str id, struct str name, bool egress,
                          const struct ec2_ip_permission_list *permissions,
                          const struct ec2_security_group_rule_description_list *descriptions, struct err *err)
{
    const struct ec2_security_group *group;
    struct ec2_security_group_rule *rule;
    struct described *described;
    size_t count;
    int r = security_group_chosen(call, id, name, &group, err);

    if (r < 0)
        return r;
    if (permissions->count && descriptions->count)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The parameter 'ipPermissions' may not be used in combination with "
                       "'securityGroupRuleDescriptions'");
    if (!permissions->count && !descriptions->count)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter ipPermissions");
    r = permissions->count ? by_permissions(call, group, egress, permissions, &described, &count, err)
                           : by_ids(call, group, egress, descriptions, &described, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = security_group_rule_edit(call->tx, described[i].id, &rule, err);
        if (r == 0)
            rule->description = described[i].description;
    }
    return r;
}

int ec2_update_security_group_rule_descriptions_ingress(
    struct call *call, const struct ec2_update_security_group_rule_descriptions_ingress_request *in,
    struct ec2_update_security_group_rule_descriptions_ingress_result *out, struct err *err)
{
    out->return_ = YES;
    return describe_rules(call, in->group_id, in->group_name, false, &in->ip_permissions,
                          &in->security_group_rule_descriptions, err);
}

int ec2_update_security_group_rule_descriptions_egress(
    struct call *call, const struct ec2_update_security_group_rule_descriptions_egress_request *in,
    struct ec2_update_security_group_rule_descriptions_egress_result *out, struct err *err)
{
    out->return_ = YES;
    return describe_rules(call, in->group_id, in->group_name, true, &in->ip_permissions,
                          &in->security_group_rule_descriptions, err);
}
