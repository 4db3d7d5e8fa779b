/* Options of an instance with operations of their own: metadata, CPU credits, maintenance, host names. */
#include "services/ec2/catalogue/types.h"
#include "services/ec2/instance.h"

static void override(struct str *member, struct str given)
{
    if (given.p)
        *member = given;
}

/* The answer says pending, as AWS's does; the change itself is there at once. */
int ec2_modify_instance_metadata_options(struct call *call,
                                         const struct ec2_modify_instance_metadata_options_request *in,
                                         struct ec2_modify_instance_metadata_options_result *out, struct err *err)
{
    struct ec2_instance *instance;
    struct ec2_instance_metadata_options_response *options;
    int r = instance_edit(call->tx, in->instance_id, &instance, err);

    if (r < 0)
        return r;
    if (!in->http_tokens.p && !in->http_put_response_hop_limit.set && !in->http_endpoint.p &&
        !in->http_protocol_ipv6.p && !in->instance_metadata_tags.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain at least one metadata option.");
    if (instance_state_of(instance) == INSTANCE_TERMINATED || instance_state_of(instance) == INSTANCE_SHUTTING_DOWN)
        return err_aws(err, &EC2_INCORRECT_INSTANCE_STATE, "The instance '" STR_FMT "' is terminated.",
                       STR_ARG(in->instance_id));
    options = instance->metadata_options;
    override(&options->http_tokens, in->http_tokens);
    override(&options->http_endpoint, in->http_endpoint);
    override(&options->http_protocol_ipv6, in->http_protocol_ipv6);
    override(&options->instance_metadata_tags, in->instance_metadata_tags);
    if (in->http_put_response_hop_limit.set)
        options->http_put_response_hop_limit = in->http_put_response_hop_limit;
    out->instance_id = instance->instance_id;
    out->instance_metadata_options = arena_new(call->arena, struct ec2_instance_metadata_options_response);
    *out->instance_metadata_options = *options;
    out->instance_metadata_options->state = S("pending");
    return 0;
}

/* For DescribeInstanceCreditSpecifications: burstable instances; without ids, those that are not at their default. */
bool credit_specification_source(struct call *call, uint64_t *position, struct ec2_instance_credit_specification *view)
{
    const struct ec2_describe_instance_credit_specifications_request *in = call->in;
    const struct ec2_instance *instance;

    while ((instance = instance_next(call->tx, position))) {
        if (!instance->cpu_credits.p || instance_state_of(instance) == INSTANCE_TERMINATED)
            continue;
        if (!in->instance_ids.count && !str_equal(instance->cpu_credits, S("unlimited")))
            continue;
        view->instance_id = instance->instance_id;
        view->cpu_credits = instance->cpu_credits;
        return true;
    }
    return false;
}

static const char *refuse_credits(const struct ec2_instance *instance, struct str credits, const char **ret_code)
{
    if (!instance) {
        *ret_code = "InvalidInstanceID.NotFound";
        return "The instance does not exist.";
    }
    *ret_code = "InstanceCreditSpecification.NotSupported";
    if (!instance->cpu_credits.p)
        return "The instance type does not support the credit specification.";
    if (str_equal(credits, S("standard")) || str_equal(credits, S("unlimited")))
        return NULL;
    *ret_code = "InvalidParameterValue";
    return "The value of CpuCredits must be standard or unlimited.";
}

/* Each item succeeds or fails by itself. */
int ec2_modify_instance_credit_specification(struct call *call,
                                             const struct ec2_modify_instance_credit_specification_request *in,
                                             struct ec2_modify_instance_credit_specification_result *out,
                                             struct err *err)
{
    size_t count = in->instance_credit_specifications.count;

    out->successful_instance_credit_specifications.items = arena_array(
        call->arena, struct ec2_successful_instance_credit_specification_item, count);
    out->unsuccessful_instance_credit_specifications.items = arena_array(
        call->arena, struct ec2_unsuccessful_instance_credit_specification_item, count);
    for (size_t i = 0; i < count; i++) {
        const struct ec2_instance_credit_specification_request *wanted = &in->instance_credit_specifications.items[i];
        struct ec2_instance *instance = wanted->instance_id.len ? tx_edit(call->tx, EC2_INSTANCE, wanted->instance_id)
                                                                : NULL;
        const char *code, *why = refuse_credits(instance, wanted->cpu_credits, &code);

        if (why) {
            struct ec2_unsuccessful_instance_credit_specification_item *item =
                &out->unsuccessful_instance_credit_specifications
                     .items[out->unsuccessful_instance_credit_specifications.count++];
            item->instance_id = wanted->instance_id;
            item->error = arena_new(call->arena, struct ec2_unsuccessful_instance_credit_specification_item_error);
            item->error->code = str_of(code);
            item->error->message = str_of(why);
        } else {
            instance->cpu_credits = wanted->cpu_credits;
            out->successful_instance_credit_specifications.items[out->successful_instance_credit_specifications.count++]
                .instance_id = instance->instance_id;
        }
    }
    return 0;
}

int ec2_modify_instance_maintenance_options(struct call *call,
                                            const struct ec2_modify_instance_maintenance_options_request *in,
                                            struct ec2_modify_instance_maintenance_options_result *out, struct err *err)
{
    struct ec2_instance *instance;
    int r = instance_edit(call->tx, in->instance_id, &instance, err);

    if (r < 0)
        return r;
    override(&instance->maintenance_options->auto_recovery, in->auto_recovery);
    override(&instance->maintenance_options->reboot_migration, in->reboot_migration);
    out->instance_id = instance->instance_id;
    out->auto_recovery = instance->maintenance_options->auto_recovery;
    out->reboot_migration = instance->maintenance_options->reboot_migration;
    return 0;
}

static struct str internal_name(struct call *call, struct str host)
{
    if (str_equal(call->region, S("us-east-1")))
        return call_printf(call, STR_FMT ".ec2.internal", STR_ARG(host));
    return call_printf(call, STR_FMT "." STR_FMT ".compute.internal", STR_ARG(host), STR_ARG(call->region));
}

struct str address_host_name(struct call *call, struct str address)
{
    char dashed[16];

    for (size_t i = 0; i < address.len; i++)
        dashed[i] = address.p[i] == '.' ? '-' : address.p[i];
    return internal_name(call, call_printf(call, "ip-%.*s", (int)address.len, dashed));
}

void instance_name_interface(struct call *call, const struct ec2_instance *instance, struct ec2_network_interface *eni)
{
    bool by_id = str_equal(instance->private_dns_name_options->hostname_type, S("resource-name")) &&
                 eni->attachment->device_index.value == 0;
    struct str name = by_id ? internal_name(call, instance->instance_id)
                            : address_host_name(call, eni->private_ip_address);

    eni->private_dns_name = name;
    eni->private_ip_addresses.items[0].private_dns_name = name;
}

/* The name is another at once; the machine takes it as its own when it next starts. */
int ec2_modify_private_dns_name_options(struct call *call, const struct ec2_modify_private_dns_name_options_request *in,
                                        struct ec2_modify_private_dns_name_options_result *out, struct err *err)
{
    const struct ec2_network_interface *const *found;
    struct ec2_private_dns_name_options_response *options;
    struct ec2_instance *instance;
    int r = instance_edit(call->tx, in->instance_id, &instance, err);

    if (r < 0)
        return r;
    if (!in->private_dns_hostname_type.p && !in->enable_resource_name_dns_a_record.set &&
        !in->enable_resource_name_dns_aaaa_record.set)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain at least one private DNS name option.");
    if (!instance_interfaces(call->tx, call->arena, instance->instance_id, &found))
        return err_aws(err, &EC2_INCORRECT_INSTANCE_STATE, "The instance '" STR_FMT "' is terminated.",
                       STR_ARG(instance->instance_id));
    options = instance->private_dns_name_options;
    override(&options->hostname_type, in->private_dns_hostname_type);
    if (in->enable_resource_name_dns_a_record.set)
        options->enable_resource_name_dns_a_record = in->enable_resource_name_dns_a_record;
    if (in->enable_resource_name_dns_aaaa_record.set)
        options->enable_resource_name_dns_aaaa_record = in->enable_resource_name_dns_aaaa_record;
    instance_name_interface(call, instance, tx_edit(call->tx, EC2_NETWORK_INTERFACE, found[0]->network_interface_id));
    out->return_ = YES;
    return 0;
}
