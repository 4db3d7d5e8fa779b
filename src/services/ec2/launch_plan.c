/* RunInstances: image, type, count, user data, tags. */
#include "aws/base64.h"
#include "base/time.h"
#include "services/ec2/launch.h"
#include "services/ec2/quotas.h"

enum { USER_DATA_LIMIT = 16384 };

static int plan_count(struct launch *launch, struct err *err)
{
    int64_t min = launch->in->min_count.value, max = launch->in->max_count.value;
    int64_t most = quota_value(QUOTA_INSTANCES_PER_CALL);

    if (min < 1 || max < 1)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Value (%lld) for parameter %s is invalid. Must be a positive integer.",
                       (long long)(min < 1 ? min : max), min < 1 ? "minCount" : "maxCount");
    if (min > max)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "maxCount (%lld) must be greater than or equal to minCount (%lld)", (long long)max,
                       (long long)min);
    if (min > most)
        return err_aws(
            err, &EC2_INSTANCE_LIMIT_EXCEEDED,
            "You have requested more instances (%lld) than your current instance limit of %lld allows for the "
            "specified instance type.",
            (long long)min, (long long)most);
    launch->count = max < most ? max : most;
    return 0;
}

static bool ami_well_formed(struct str id)
{
    struct str digits = str_skip(id, 4);

    if (!str_starts(id, S("ami-")) || (digits.len != 8 && digits.len != 17))
        return false;
    for (size_t i = 0; i < digits.len; i++)
        if (!strchr("0123456789abcdef", digits.p[i]))
            return false;
    return true;
}

static int plan_image(struct call *call, struct launch *launch, struct err *err)
{
    struct str id = launch->in->image_id;
    const struct region *region = region_find(call->region);

    if (!id.p)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter ImageId");
    if (str_starts(id, S("resolve:ssm:"))) {
        char text[IMAGE_ID_SIZE];
        launch->image = image_of_parameter(str_skip(id, 12));
        if (!launch->image)
            return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                           "Value (" STR_FMT ") for parameter imageId is invalid. Parameter not found.",
                           STR_ARG(str_first(id, 255)));
        launch->image_id = arena_str(call->arena, image_id(launch->image, region, text));
    } else {
        launch->image = image_find(region, id);
        launch->image_id = id;
    }
    if (!launch->image && !ami_well_formed(id))
        return err_aws(err, &EC2_INVALID_AMIID_MALFORMED, "Invalid id: \"" STR_FMT "\"%s", STR_ARG(str_first(id, 255)),
                       str_starts(id, S("ami-")) ? "" : " (expecting \"ami-...\")");
    if (!launch->image && !call->engine->default_image.p)
        return err_aws(err, &EC2_INVALID_AMIID_NOT_FOUND, "The image id '[" STR_FMT "]' does not exist",
                       STR_ARG(str_first(id, 255)));
    launch->architecture = launch->image ? catalogue_text(launch->image->architecture) : S("");
    launch->root_device = launch->image ? catalogue_text(launch->image->root_device) : S("/dev/xvda");
    return 0;
}

/* Without a type: m1.small, as AWS documents. */
static int plan_type(struct launch *launch, struct err *err)
{
    launch->type_name = launch->in->instance_type.p ? launch->in->instance_type : S("m1.small");
    launch->type = instance_type_find(launch->type_name);
    if (!launch->type)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "Invalid value '" STR_FMT "' for InstanceType.",
                       STR_ARG(str_first(launch->type_name, 64)));
    return 0;
}

/* An unknown AMI takes the architecture of its type. */
static int plan_architecture(struct launch *launch, struct err *err)
{
    if (launch->architecture.len == 0)
        launch->architecture = catalogue_item(launch->type->architectures, launch->type->architectures.count - 1u);
    if (!catalogue_has(launch->type->architectures, launch->architecture))
        return err_aws(
            err, &EC2_INVALID_PARAMETER_VALUE,
            "The architecture '" STR_FMT "' of the specified instance type does not match the architecture '" STR_FMT
            "' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try "
            "again. You can use "
            "'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.",
            STR_ARG(catalogue_item(launch->type->architectures, 0)), STR_ARG(launch->architecture));
    return 0;
}

static int plan_user_data(struct call *call, struct launch *launch, struct err *err)
{
    struct str bytes;

    if (launch->in->user_data.len == 0)
        return 0;
    if (!base64_decode(call->arena, launch->in->user_data, &bytes))
        return err_aws(err, &EC2_INVALID_USER_DATA_MALFORMED, "Invalid BASE64 encoding of user data.");
    if (bytes.len > USER_DATA_LIMIT)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "User data is limited to %d bytes", USER_DATA_LIMIT);
    launch->user_data = launch->in->user_data;
    return 0;
}

static int plan_key(struct call *call, struct launch *launch, struct err *err)
{
    const struct ec2_key_pair_info *const *found;

    if (!launch->in->key_name.p || key_pair_find(call->tx, EC2_KEY_PAIR_BY_KEY_NAME, launch->in->key_name, &found))
        return 0;
    return err_aws(err, &EC2_INVALID_KEY_PAIR_NOT_FOUND, "The key pair '" STR_FMT "' does not exist",
                   STR_ARG(str_first(launch->in->key_name, 255)));
}

static int plan_tags(struct call *call, struct launch *launch, struct err *err)
{
    static const char *const taken[] = {"instance",    "volume", "network-interface", "spot-instances-request",
                                        "elastic-gpu", NULL};
    const struct ec2_tag_specification_list *specifications = &launch->in->tag_specifications;
    int r = tags_specified(call, specifications, "instance", taken, &launch->instance_tags, err);

    if (r == 0)
        r = tags_specified(call, specifications, "volume", taken, &launch->volume_tags, err);
    if (r == 0)
        r = tags_specified(call, specifications, "network-interface", taken, &launch->interface_tags, err);
    return r;
}

int launch_plan(struct call *call, const struct ec2_run_instances_request *in, struct launch *launch, struct err *err)
{
    int r;

    *launch = (struct launch){
        .in = in, .now = time_now_ms() / 1000 * 1000, .reservation_id = id_new(call->arena, S("r-"))};
    r = plan_count(launch, err);
    if (r == 0)
        r = plan_type(launch, err);
    if (r == 0)
        r = plan_image(call, launch, err);
    if (r == 0)
        r = plan_architecture(launch, err);
    if (r == 0)
        r = plan_key(call, launch, err);
    if (r == 0)
        r = plan_user_data(call, launch, err);
    if (r == 0)
        r = plan_tags(call, launch, err);
    if (r == 0)
        r = launch_check_options(call, launch, err);
    if (r == 0)
        r = launch_plan_volumes(call, launch, err);
    if (r == 0)
        r = launch_plan_interfaces(call, launch, err);
    return r;
}
