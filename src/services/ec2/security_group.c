/*
 * CreateSecurityGroup, DeleteSecurityGroup, DescribeSecurityGroups. A group's rules are records of their own
 * (security_group_rules.c); IpPermissions and IpPermissionsEgress are made of them when a group is shown.
 * Sources: these operations in the API reference; "Amazon VPC quotas".
 */
#include "services/ec2/security_group.h"

#include "services/ec2/permission.h"

#include <string.h>

enum { MAX_TEXT = 255, MAX_GROUPS = 2500 };

const struct ec2_vpc *security_group_default_vpc(struct call *call)
{
    const struct ec2_vpc *vpc;

    for (uint64_t position = 0; (vpc = vpc_next(call->tx, &position));)
        if (vpc->is_default.value)
            return vpc;
    return NULL;
}

const struct ec2_security_group *security_group_named(struct call *call, struct str vpc_id, struct str name)
{
    const struct ec2_security_group *const *found;
    size_t count = security_group_find(call->tx, EC2_SECURITY_GROUP_BY_VPC_ID, vpc_id, &found);

    for (size_t i = 0; i < count; i++)
        if (str_equal_nocase(found[i]->group_name, name))
            return found[i];
    return NULL;
}

static int named_in_default_vpc(struct call *call, struct str name, const struct ec2_security_group **ret,
                                struct err *err)
{
    const struct ec2_vpc *vpc = security_group_default_vpc(call);

    if (!vpc)
        return err_aws(err, &EC2_VPC_ID_NOT_SPECIFIED,
                       "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.");
    *ret = security_group_named(call, vpc->vpc_id, name);
    if (!*ret)
        return err_aws(err, &EC2_INVALID_GROUP_NOT_FOUND,
                       "The security group '" STR_FMT "' does not exist in default VPC '" STR_FMT "'",
                       STR_ARG(str_first(name, MAX_TEXT)), STR_ARG(vpc->vpc_id));
    return 0;
}

int security_group_chosen(struct call *call, struct str id, struct str name, const struct ec2_security_group **ret,
                          struct err *err)
{
    if (id.len)
        return security_group_get(call->tx, id, ret, err);
    if (name.len)
        return named_in_default_vpc(call, name, ret, err);
    return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter groupName or groupId");
}

bool security_group_text_ok(struct str text, size_t max)
{
    static const char others[] = ". _-:/()#,@[]+=&;{}!$*";

    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              memchr(others, c, sizeof others - 1)))
            return false;
    }
    return text.len <= max;
}

static bool is_ascii(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.p[i] > 126)
            return false;
    return true;
}

static int check_text(const char *parameter, const char *what, struct str text, struct err *err)
{
    if (!is_ascii(text))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Value (" STR_FMT
                       ") for parameter %s is invalid. Character sets beyond ASCII are not supported.",
                       STR_ARG(str_first(text, MAX_TEXT)), parameter);
    if (!text.len)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter %s", parameter);
    if (!security_group_text_ok(text, MAX_TEXT))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Invalid security group %s. Valid %ss are strings less than 256 characters from the following "
                       "set:  " SECURITY_GROUP_CHARACTERS,
                       what, what);
    return 0;
}

static int check_name(struct str name, struct err *err)
{
    int r = check_text("GroupName", "name", name, err);

    if (r < 0)
        return r;
    if (str_starts(name, S("sg-")))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Value (" STR_FMT ") for parameter GroupName is invalid. Group names may not be in the format "
                       "sg-*.",
                       STR_ARG(name));
    if (str_equal_nocase(name, S("default")))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "Cannot use reserved security group name: " STR_FMT,
                       STR_ARG(name));
    return 0;
}

/* The VPC asked for, or the default one. */
static int choose_vpc(struct call *call, struct str id, const struct ec2_vpc **ret, struct err *err)
{
    if (id.p)
        return vpc_get(call->tx, id, ret, err);
    *ret = security_group_default_vpc(call);
    return *ret ? 0 : err_aws(err, &EC2_VPC_ID_NOT_SPECIFIED, "No default VPC for this user");
}

static int check_room(struct call *call, const struct ec2_vpc *vpc, struct str name, struct err *err)
{
    if (security_group_named(call, vpc->vpc_id, name))
        return err_aws(err, &EC2_INVALID_GROUP_DUPLICATE,
                       "The security group '" STR_FMT "' already exists for VPC '" STR_FMT "'", STR_ARG(name),
                       STR_ARG(vpc->vpc_id));
    if (tx_count(call->tx, EC2_SECURITY_GROUP) >= MAX_GROUPS)
        return err_aws(err, &EC2_SECURITY_GROUP_LIMIT_EXCEEDED,
                       "The maximum number of security groups has been reached.");
    return 0;
}

/* What a new group lets out: everything. */
static void allow_egress(struct call *call, const struct ec2_security_group *group)
{
    security_group_add_rule(call, &(struct ec2_security_group_rule){.group_id = group->group_id,
                                                                    .group_owner_id = group->owner_id,
                                                                    .is_egress = YES,
                                                                    .ip_protocol = S("-1"),
                                                                    .from_port = INT(-1),
                                                                    .to_port = INT(-1),
                                                                    .cidr_ipv4 = S("0.0.0.0/0")});
}

int ec2_create_security_group(struct call *call, const struct ec2_create_security_group_request *in,
                              struct ec2_create_security_group_result *out, struct err *err)
{
    struct str name = str_trim(in->group_name);
    struct ec2_security_group *group;
    const struct ec2_vpc *vpc;
    struct ec2_tag_list tags;
    int r = tags_specified(call, &in->tag_specifications, "security-group", NULL, &tags, err);

    if (r == 0)
        r = check_name(name, err);
    if (r == 0)
        r = check_text("GroupDescription", "description", in->description, err);
    if (r == 0)
        r = choose_vpc(call, in->vpc_id, &vpc, err);
    if (r == 0)
        r = check_room(call, vpc, name, err);
    if (r < 0)
        return r;
    group = security_group_create(call->tx, id_new(call->arena, S("sg-")));
    group->group_name = name;
    group->description = in->description;
    group->owner_id = call->account;
    group->vpc_id = vpc->vpc_id;
    group->tags = tags;
    allow_egress(call, group);
    out->group_id = group->group_id;
    out->security_group_arn = resource_arn(call, EC2_SECURITY_GROUP, group);
    out->tags = tags;
    return 0;
}

/* An interface has it, or another group's rule names it. */
static bool in_use(struct call *call, struct str id)
{
    const struct ec2_security_group_rule *const *rules;
    size_t count = security_group_rule_find(call->tx, EC2_SECURITY_GROUP_RULE_BY_REFERENCED_GROUP_INFO_GROUP_ID, id,
                                            &rules);

    for (size_t i = 0; i < count; i++)
        if (!str_equal(rules[i]->group_id, id))
            return true;
    return tx_find_any(call->tx, EC2_NETWORK_INTERFACE, EC2_NETWORK_INTERFACE_BY_GROUPS_GROUP_ID, id) != NULL;
}

int ec2_delete_security_group(struct call *call, const struct ec2_delete_security_group_request *in,
                              struct ec2_delete_security_group_result *out, struct err *err)
{
    const struct ec2_security_group_rule *const *rules;
    const struct ec2_security_group *group;
    size_t count;
    int r = security_group_chosen(call, in->group_id, in->group_name, &group, err);

    if (r < 0)
        return r;
    if (str_equal(group->group_name, S("default")))
        return err_aws(err, &EC2_CANNOT_DELETE,
                       "the specified group: \"" STR_FMT "\" name: \"default\" cannot be deleted by a user",
                       STR_ARG(group->group_id));
    if (in_use(call, group->group_id))
        return err_aws(err, &EC2_DEPENDENCY_VIOLATION, "resource " STR_FMT " has a dependent object",
                       STR_ARG(group->group_id));
    count = security_group_rule_find(call->tx, EC2_SECURITY_GROUP_RULE_BY_GROUP_ID, group->group_id, &rules);
    for (size_t i = 0; i < count; i++)
        security_group_rule_remove(call->tx, rules[i]->security_group_rule_id);
    security_group_remove(call->tx, group->group_id);
    out->return_ = YES;
    out->group_id = group->group_id;
    return 0;
}

int security_group_derive(struct call *call, const struct ec2_security_group *group, struct ec2_security_group *view,
                          struct err *err)
{
    const struct ec2_security_group_rule *const *rules;
    size_t count = security_group_rule_find(call->tx, EC2_SECURITY_GROUP_RULE_BY_GROUP_ID, group->group_id, &rules);

    view->ip_permissions = view->ip_permissions_egress = (struct ec2_ip_permission_list){0};
    for (size_t i = 0; i < count; i++)
        permission_add(call, rules[i]->is_egress.value ? &view->ip_permissions_egress : &view->ip_permissions,
                       rules[i]);
    return 0;
}

/* DescribeSecurityGroups as its row says; names of groups in the default VPC stand for their ids. */
int ec2_describe_security_groups(struct call *call, const struct ec2_describe_security_groups_request *in,
                                 struct ec2_describe_security_groups_result *out, struct err *err)
{
    struct ec2_describe_security_groups_request by_id = *in;
    size_t count = in->group_ids.count;

    if (!in->group_names.count)
        return resource_describe(call, EC2_SECURITY_GROUP, in, out, err);
    by_id.group_ids.items = arena_array(call->arena, struct str, count + in->group_names.count);
    if (count)
        memcpy(by_id.group_ids.items, in->group_ids.items, count * sizeof *in->group_ids.items);
    for (size_t i = 0; i < in->group_names.count; i++) {
        const struct ec2_security_group *group;
        int r = named_in_default_vpc(call, in->group_names.items[i], &group, err);

        if (r < 0)
            return r;
        by_id.group_ids.items[count++] = group->group_id;
    }
    by_id.group_ids.count = count;
    return resource_describe(call, EC2_SECURITY_GROUP, &by_id, out, err);
}

struct ec2_security_group_rule *security_group_add_rule(struct call *call, const struct ec2_security_group_rule *rule)
{
    struct str id = id_new(call->arena, S("sgr-"));
    struct ec2_security_group_rule *record = security_group_rule_create(call->tx, id);

    *record = *rule;
    record->security_group_rule_id = id;
    return record;
}
