/*
 * DescribeInstanceAttribute, ModifyInstanceAttribute, ResetInstanceAttribute: one attribute a call. Each attribute is a
 * row: how it is shown, how it is changed, and whether the instance must be stopped for that.
 */
#include "aws/base64.h"
#include "services/ec2/catalogue/types.h"
#include "services/ec2/instance.h"
#include "services/ec2/network_interface.h"

enum { USER_DATA_LIMIT = 16384 };

struct attribute_change {
    struct call *call;
    const struct ec2_modify_instance_attribute_request *in;
    struct ec2_instance *instance;
    struct str text; /* the new value, where it is one text */
    struct opt_bool flag;
    struct err *err;
};

static struct ec2_attribute_value *text_value(struct call *call, struct str value)
{
    struct ec2_attribute_value *out = arena_new(call->arena, struct ec2_attribute_value);

    out->value = value;
    return out;
}

static struct ec2_attribute_boolean_value *flag_value(struct call *call, struct opt_bool value)
{
    struct ec2_attribute_boolean_value *out = arena_new(call->arena, struct ec2_attribute_boolean_value);

    out->value = BOOL(value.value);
    return out;
}

static void show_type(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->instance_type = text_value(call, view->instance_type);
}

static void show_kernel(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->kernel_id = text_value(call, view->kernel_id);
}

static void show_ramdisk(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->ramdisk_id = text_value(call, view->ramdisk_id);
}

static void show_user_data(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->user_data = text_value(call, view->user_data);
}

static void show_api_termination(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->disable_api_termination = flag_value(call, view->disable_api_termination);
}

static void show_api_stop(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->disable_api_stop = flag_value(call, view->disable_api_stop);
}

static void show_shutdown_behavior(struct call *call, const struct ec2_instance *view,
                                   struct ec2_instance_attribute *out)
{
    out->instance_initiated_shutdown_behavior = text_value(call, view->shutdown_behavior);
}

static void show_root_device(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->root_device_name = text_value(call, view->root_device_name);
}

static void show_mapping(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->block_device_mappings = view->block_device_mappings;
}

static void show_product_codes(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->product_codes = view->product_codes;
    if (!out->product_codes.items) /* an empty list is shown */
        out->product_codes.items = arena_new(call->arena, struct ec2_product_code);
}

static void show_source_dest_check(struct call *call, const struct ec2_instance *view,
                                   struct ec2_instance_attribute *out)
{
    out->source_dest_check = flag_value(call, view->source_dest_check);
}

static void show_groups(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->groups = view->security_groups;
}

static void show_ebs_optimized(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->ebs_optimized = flag_value(call, view->ebs_optimized);
}

static void show_sriov(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->sriov_net_support = text_value(call, view->sriov_net_support);
}

static void show_ena(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->ena_support = flag_value(call, view->ena_support);
}

static void show_enclave(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out)
{
    out->enclave_options = view->enclave_options;
}

static int set_type(struct attribute_change *c)
{
    const struct instance_type *type = instance_type_find(c->text);

    if (!type)
        return err_aws(c->err, &EC2_INVALID_INSTANCE_ATTRIBUTE_VALUE, "Invalid value '" STR_FMT "' for InstanceType.",
                       STR_ARG(str_first(c->text, 64)));
    if (!catalogue_has(type->architectures, c->instance->architecture))
        return err_aws(c->err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The instance type " STR_FMT " does not support the architecture " STR_FMT ".", STR_ARG(c->text),
                       STR_ARG(c->instance->architecture));
    c->instance->instance_type = c->text;
    c->instance->cpu_options = arena_new(c->call->arena, struct ec2_cpu_options);
    c->instance->cpu_options->core_count = INT(type->cores);
    c->instance->cpu_options->threads_per_core = INT(type->threads_per_core);
    if (!type->burstable)
        c->instance->cpu_credits = (struct str){0};
    else if (!c->instance->cpu_credits.p)
        c->instance->cpu_credits = str_starts(c->text, S("t2.")) ? S("standard") : S("unlimited");
    return 0;
}

/* Arrives as bytes (a blob) in UserData, as base64 text in Value. */
static int set_user_data(struct attribute_change *c)
{
    struct str bytes = {0};

    if (c->in->user_data)
        bytes = c->in->user_data->value;
    else if (!base64_decode(c->call->arena, c->text, &bytes))
        return err_aws(c->err, &EC2_INVALID_USER_DATA_MALFORMED, "Invalid BASE64 encoding of user data.");
    if (bytes.len > USER_DATA_LIMIT)
        return err_aws(c->err, &EC2_INVALID_PARAMETER_VALUE, "User data is limited to %d bytes", USER_DATA_LIMIT);
    c->instance->user_data = bytes.len ? base64_encode(c->call->arena, bytes) : (struct str){0};
    return 0;
}

static int set_api_termination(struct attribute_change *c)
{
    c->instance->disable_api_termination = c->flag;
    return 0;
}

static int set_api_stop(struct attribute_change *c)
{
    c->instance->disable_api_stop = c->flag;
    return 0;
}

static int set_shutdown_behavior(struct attribute_change *c)
{
    if (!str_equal(c->text, S("stop")) && !str_equal(c->text, S("terminate")))
        return err_aws(c->err, &EC2_INVALID_PARAMETER_VALUE,
                       "Invalid value '" STR_FMT "' for instanceInitiatedShutdownBehavior.",
                       STR_ARG(str_first(c->text, 64)));
    c->instance->shutdown_behavior = c->text;
    return 0;
}

static struct ec2_network_interface *edit_primary(struct attribute_change *c)
{
    const struct ec2_network_interface *const *found;

    if (!instance_interfaces(c->call->tx, c->call->arena, c->instance->instance_id, &found))
        return NULL;
    return tx_edit(c->call->tx, EC2_NETWORK_INTERFACE, found[0]->network_interface_id);
}

static int no_interface(struct attribute_change *c)
{
    return err_aws(c->err, &EC2_INCORRECT_INSTANCE_STATE, "The instance '" STR_FMT "' has no network interface.",
                   STR_ARG(c->instance->instance_id));
}

static int set_source_dest_check(struct attribute_change *c)
{
    struct ec2_network_interface *eni = edit_primary(c);

    if (!eni)
        return no_interface(c);
    eni->source_dest_check = c->flag;
    return 0;
}

static int set_groups(struct attribute_change *c)
{
    struct ec2_network_interface *eni = edit_primary(c);

    if (!eni)
        return no_interface(c);
    return network_interface_set_groups(c->call, eni, c->in->groups.items, c->in->groups.count, c->err);
}

static int set_ebs_optimized(struct attribute_change *c)
{
    c->instance->ebs_optimized = c->flag;
    return 0;
}

static int set_ena(struct attribute_change *c)
{
    c->instance->ena_support = c->flag;
    return 0;
}

static int set_sriov(struct attribute_change *c)
{
    if (!str_equal(c->text, S("simple")))
        return err_aws(c->err, &EC2_INVALID_PARAMETER_VALUE, "Invalid value '" STR_FMT "' for sriovNetSupport.",
                       STR_ARG(str_first(c->text, 64)));
    c->instance->sriov_net_support = c->text;
    return 0;
}

static int set_kernel(struct attribute_change *c)
{
    return err_aws(c->err, &EC2_INVALID_AMIID_NOT_FOUND, "The image id '[" STR_FMT "]' does not exist",
                   STR_ARG(str_first(c->text, 255)));
}

static int set_enclave(struct attribute_change *c)
{
    return err_aws(c->err, &EC2_UNSUPPORTED, "Nitro Enclaves are not supported for this instance type.");
}

/* DeleteOnTermination of attached volumes: the one member of a mapping that can change. */
static int set_mapping(struct attribute_change *c)
{
    const struct ec2_volume *const *volumes;
    size_t count = volume_find(c->call->tx, EC2_VOLUME_BY_ATTACHMENTS_INSTANCE_ID, c->instance->instance_id, &volumes);

    for (size_t i = 0; i < c->in->block_device_mappings.count; i++) {
        const struct ec2_instance_block_device_mapping_specification *wanted = &c->in->block_device_mappings.items[i];
        struct ec2_volume *volume = NULL;

        for (size_t k = 0; k < count && !volume; k++)
            if (str_equal(volumes[k]->attachments.items[0].device, wanted->device_name))
                volume = tx_edit(c->call->tx, EC2_VOLUME, volumes[k]->volume_id);
        if (!volume)
            return err_aws(c->err, &EC2_INVALID_INSTANCE_ATTRIBUTE_VALUE, "No device is currently mapped at " STR_FMT,
                           STR_ARG(str_first(wanted->device_name, 255)));
        if (wanted->ebs && wanted->ebs->delete_on_termination.set)
            volume->attachments.items[0].delete_on_termination = wanted->ebs->delete_on_termination;
    }
    return 0;
}

/* What Value says of an attribute that Attribute names; the member of its own says the same. */
enum takes { TAKES_TEXT, TAKES_MAYBE_NOTHING, TAKES_FLAG, TAKES_ITS_MEMBER /* what it takes is no Value */ };

static const struct attribute {
    const char *name;
    void (*show)(struct call *call, const struct ec2_instance *view, struct ec2_instance_attribute *out);
    int (*set)(struct attribute_change *change); /* NULL: cannot be changed */
    bool stopped_only;
    enum takes takes;
} attributes[] = {
    {"instanceType", show_type, set_type, true, TAKES_TEXT},
    {"kernel", show_kernel, set_kernel, true, TAKES_TEXT},
    {"ramdisk", show_ramdisk, set_kernel, true, TAKES_TEXT},
    {"userData", show_user_data, set_user_data, true, TAKES_MAYBE_NOTHING},
    {"disableApiTermination", show_api_termination, set_api_termination, false, TAKES_FLAG},
    {"disableApiStop", show_api_stop, set_api_stop, false, TAKES_FLAG},
    {"instanceInitiatedShutdownBehavior", show_shutdown_behavior, set_shutdown_behavior, false, TAKES_TEXT},
    {"rootDeviceName", show_root_device, NULL, false, TAKES_TEXT},
    {"blockDeviceMapping", show_mapping, set_mapping, false, TAKES_ITS_MEMBER},
    {"productCodes", show_product_codes, NULL, false, TAKES_ITS_MEMBER},
    {"sourceDestCheck", show_source_dest_check, set_source_dest_check, false, TAKES_FLAG},
    {"groupSet", show_groups, set_groups, false, TAKES_ITS_MEMBER},
    {"ebsOptimized", show_ebs_optimized, set_ebs_optimized, true, TAKES_FLAG},
    {"sriovNetSupport", show_sriov, set_sriov, true, TAKES_TEXT},
    {"enaSupport", show_ena, set_ena, true, TAKES_FLAG},
    {"enclaveOptions", show_enclave, set_enclave, true, TAKES_ITS_MEMBER},
};

static const struct attribute *find_attribute(struct str name)
{
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        if (str_equal(str_of(attributes[i].name), name))
            return &attributes[i];
    return NULL;
}

/* One that the model has and this table has not. */
static int unknown_attribute(struct str name, struct err *err)
{
    return err_aws(err, &AWS_NOT_IMPLEMENTED, "The attribute '" STR_FMT "' of instances is not built yet.",
                   STR_ARG(str_first(name, 64)));
}

int ec2_describe_instance_attribute(struct call *call, const struct ec2_describe_instance_attribute_request *in,
                                    struct ec2_instance_attribute *out, struct err *err)
{
    const struct attribute *attribute;
    const struct ec2_instance *instance;
    struct ec2_instance view;
    int r = instance_get(call->tx, in->instance_id, &instance, err);

    if (r == 0)
        r = resource_view(call, EC2_INSTANCE, instance, &view, err);
    if (r < 0)
        return r;
    out->instance_id = instance->instance_id;
    attribute = find_attribute(in->attribute);
    if (!attribute)
        return unknown_attribute(in->attribute, err);
    attribute->show(call, &view, out);
    return 0;
}

/* The attribute that the request changes: by name and Value, or by the one member of its own that is set. NULL with a
 * count of 1: an unknown one. */
static const struct attribute *asked(const struct ec2_modify_instance_attribute_request *in,
                                     struct attribute_change *change, bool *ret_by_value, size_t *ret_count)
{
    const struct {
        const char *name;
        const struct ec2_attribute_value *text;
        const struct ec2_attribute_boolean_value *flag;
        bool other;
    } given[] = {
        {"instanceType", in->instance_type, NULL, false},
        {"kernel", in->kernel, NULL, false},
        {"ramdisk", in->ramdisk, NULL, false},
        {"instanceInitiatedShutdownBehavior", in->instance_initiated_shutdown_behavior, NULL, false},
        {"sriovNetSupport", in->sriov_net_support, NULL, false},
        {"disableApiTermination", NULL, in->disable_api_termination, false},
        {"disableApiStop", NULL, in->disable_api_stop, false},
        {"sourceDestCheck", NULL, in->source_dest_check, false},
        {"ebsOptimized", NULL, in->ebs_optimized, false},
        {"enaSupport", NULL, in->ena_support, false},
        {"userData", NULL, NULL, in->user_data != NULL},
        {"groupSet", NULL, NULL, in->groups.count > 0},
        {"blockDeviceMapping", NULL, NULL, in->block_device_mappings.count > 0},
        {"enclaveOptions", NULL, NULL, in->enclave_options != NULL},
    };
    const struct attribute *found = NULL;

    *ret_by_value = false;
    *ret_count = 0;
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (!given[i].text && !given[i].flag && !given[i].other)
            continue;
        found = find_attribute(str_of(given[i].name));
        change->text = given[i].text ? given[i].text->value : (struct str){0};
        change->flag = given[i].flag ? given[i].flag->value : (struct opt_bool){0};
        ++*ret_count;
    }
    if (*ret_count == 0 && in->attribute.p && in->value.p) {
        found = find_attribute(in->attribute);
        change->text = in->value;
        if (str_equal_nocase(in->value, S("true")) || str_equal_nocase(in->value, S("false")))
            change->flag = BOOL(str_equal_nocase(in->value, S("true")));
        *ret_by_value = true;
        *ret_count = 1;
    }
    return found;
}

static int check_value(const struct attribute *attribute, const struct attribute_change *change, bool by_value)
{
    switch (attribute->takes) {
    case TAKES_TEXT:
        if (!change->text.len)
            return err_aws(change->err, &EC2_MISSING_PARAMETER, "The request must contain the parameter value");
        return 0;
    case TAKES_MAYBE_NOTHING:
        return 0;
    case TAKES_FLAG:
        if (!change->flag.set)
            return err_aws(change->err, &EC2_INVALID_PARAMETER_VALUE, "Invalid value for %s: expecting true or false.",
                           attribute->name);
        return 0;
    case TAKES_ITS_MEMBER:
        if (by_value)
            return err_aws(change->err, &EC2_INVALID_PARAMETER_COMBINATION,
                           "The attribute '%s' cannot be given by the parameter value.", attribute->name);
        return 0;
    }
    return 0;
}

int ec2_modify_instance_attribute(struct call *call, const struct ec2_modify_instance_attribute_request *in, void *out,
                                  struct err *err)
{
    struct attribute_change change = {.call = call, .in = in, .err = err};
    bool by_value;
    size_t count;
    const struct attribute *attribute = asked(in, &change, &by_value, &count);
    int r = instance_edit(call->tx, in->instance_id, &change.instance, err);

    if (r < 0)
        return r;
    if (count != 1)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       count ? "Fields for multiple attribute types specified" : "No attributes specified.");
    if (!attribute)
        return unknown_attribute(in->attribute, err);
    if (!attribute->set)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "The attribute '%s' cannot be modified.", attribute->name);
    r = check_value(attribute, &change, by_value);
    if (r < 0)
        return r;
    if (attribute->stopped_only && instance_state_of(change.instance) != INSTANCE_STOPPED)
        return err_aws(err, &EC2_INCORRECT_INSTANCE_STATE, "The instance '" STR_FMT "' is not in the 'stopped' state.",
                       STR_ARG(in->instance_id));
    return attribute->set(&change);
}

/* Only sourceDestCheck, kernel and ramdisk can be reset; the latter two have no value here. */
int ec2_reset_instance_attribute(struct call *call, const struct ec2_reset_instance_attribute_request *in, void *out,
                                 struct err *err)
{
    struct attribute_change change = {.call = call, .err = err, .flag = YES};
    int r = instance_edit(call->tx, in->instance_id, &change.instance, err);

    if (r < 0)
        return r;
    if (str_equal(in->attribute, S("sourceDestCheck")))
        return set_source_dest_check(&change);
    if (str_equal(in->attribute, S("kernel")) || str_equal(in->attribute, S("ramdisk")))
        return 0;
    return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "The attribute '" STR_FMT "' cannot be reset.",
                   STR_ARG(in->attribute));
}
