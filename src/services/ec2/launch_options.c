/*
 * RunInstances: options of CPU, credits, metadata, placement and the rest: what the type refuses, what refers to
 * kinds that are not built, and the defaults that AWS fills in.
 * Sources: RunInstances in the API reference; EC2 user guide: "CPU options", "Instance metadata options",
 * "Burstable performance instances", "Dedicated Instances".
 */
#include "services/ec2/launch.h"

/* The credit option of burstable types that a request leaves open: t2 standard, later families unlimited. */
static struct str default_credits(const struct launch *launch)
{
    return str_starts(launch->type_name, S("t2.")) ? S("standard") : S("unlimited");
}

static int check_cpu(const struct launch *launch, struct err *err)
{
    const struct ec2_cpu_options_request *cpu = launch->in->cpu_options;

    if (!cpu)
        return 0;
    if (cpu->core_count.set != cpu->threads_per_core.set)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "CpuOptions: both the CoreCount and the ThreadsPerCore must be specified.");
    if (!cpu->core_count.set)
        return 0;
    if (!catalogue_has_number(launch->type->valid_cores, (uint32_t)cpu->core_count.value) ||
        !catalogue_has_number(launch->type->valid_threads_per_core, (uint32_t)cpu->threads_per_core.value))
        return err_aws(
            err, &EC2_INVALID_PARAMETER_VALUE,
            "The CpuOptions for the specified instance type are not valid: CoreCount %lld, ThreadsPerCore %lld.",
            (long long)cpu->core_count.value, (long long)cpu->threads_per_core.value);
    return 0;
}

static int check_credits(const struct launch *launch, struct err *err)
{
    const struct ec2_credit_specification_request *credits = launch->in->credit_specification;

    if (!credits)
        return 0;
    if (!str_equal(credits->cpu_credits, S("standard")) && !str_equal(credits->cpu_credits, S("unlimited")))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Invalid value for CpuCredits: '" STR_FMT "'. Valid values: standard, unlimited.",
                       STR_ARG(str_first(credits->cpu_credits, 64)));
    if (!launch->type->burstable)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The parameter creditSpecification is not supported for the instance type " STR_FMT ".",
                       STR_ARG(launch->type_name));
    return 0;
}

static int check_placement(const struct launch *launch, struct err *err)
{
    const struct ec2_placement *placement = launch->in->placement;

    if (!placement)
        return 0;
    if (placement->group_name.len)
        return err_aws(err, &EC2_INVALID_PLACEMENT_GROUP_UNKNOWN, "The Placement Group '" STR_FMT "' is unknown.",
                       STR_ARG(str_first(placement->group_name, 255)));
    if (placement->group_id.len)
        return err_aws(err, &EC2_INVALID_PLACEMENT_GROUP_UNKNOWN, "The Placement Group '" STR_FMT "' is unknown.",
                       STR_ARG(str_first(placement->group_id, 255)));
    if (placement->host_id.len)
        return err_aws(err, &EC2_INVALID_HOST_ID_NOT_FOUND, "The host ID '" STR_FMT "' does not exist",
                       STR_ARG(str_first(placement->host_id, 255)));
    if (placement->host_resource_group_arn.len)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "The host resource group '" STR_FMT "' does not exist",
                       STR_ARG(str_first(placement->host_resource_group_arn, 255)));
    if (str_equal(placement->tenancy, S("host")))
        return err_aws(err, &EC2_INSUFFICIENT_INSTANCE_CAPACITY,
                       "Insufficient capacity: there is no Dedicated Host with space for " STR_FMT ".",
                       STR_ARG(launch->type_name));
    if (placement->partition_number.set)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The parameter partitionNumber needs a placement group with strategy partition.");
    return 0;
}

/* What refers to a kind of resource that is not built yet answers that kind's NotFound. */
static int check_references(const struct launch *launch, struct err *err)
{
    const struct ec2_run_instances_request *in = launch->in;
    const struct ec2_capacity_reservation_target *target =
        in->capacity_reservation_specification ? in->capacity_reservation_specification->capacity_reservation_target
                                               : NULL;

    if (in->launch_template && in->launch_template->launch_template_id.p)
        return err_aws(err, &EC2_INVALID_LAUNCH_TEMPLATE_ID_NOT_FOUND,
                       "The specified launch template, with template ID " STR_FMT ", does not exist.",
                       STR_ARG(str_first(in->launch_template->launch_template_id, 255)));
    if (in->launch_template)
        return err_aws(err, &EC2_INVALID_LAUNCH_TEMPLATE_NAME_NOT_FOUND_EXCEPTION,
                       "The specified launch template, with template name " STR_FMT ", does not exist.",
                       STR_ARG(str_first(in->launch_template->launch_template_name, 255)));
    if (in->iam_instance_profile)
        return err_aws(
            err, &EC2_INVALID_PARAMETER_VALUE,
            "Value (" STR_FMT ") for parameter iamInstanceProfile.%s is invalid. Invalid IAM Instance Profile %s",
            STR_ARG(str_first(in->iam_instance_profile->name.p ? in->iam_instance_profile->name
                                                               : in->iam_instance_profile->arn,
                              255)),
            in->iam_instance_profile->name.p ? "name" : "arn", in->iam_instance_profile->name.p ? "name" : "ARN");
    if (target && target->capacity_reservation_id.len)
        return err_aws(err, &EC2_INVALID_CAPACITY_RESERVATION_ID_NOT_FOUND,
                       "The capacity reservation '" STR_FMT "' does not exist",
                       STR_ARG(str_first(target->capacity_reservation_id, 255)));
    if (target && target->capacity_reservation_resource_group_arn.len)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "The capacity reservation resource group '" STR_FMT "' does not exist",
                       STR_ARG(str_first(target->capacity_reservation_resource_group_arn, 255)));
    if (in->license_specifications.count)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "The license configuration '" STR_FMT "' does not exist",
                       STR_ARG(str_first(in->license_specifications.items[0].license_configuration_arn, 255)));
    if (in->kernel_id.len || in->ramdisk_id.len)
        return err_aws(err, &EC2_INVALID_AMIID_NOT_FOUND, "The image id '[" STR_FMT "]' does not exist",
                       STR_ARG(str_first(in->kernel_id.len ? in->kernel_id : in->ramdisk_id, 255)));
    if (in->elastic_gpu_specification.count || in->elastic_inference_accelerators.count)
        return err_aws(err, &EC2_UNSUPPORTED_OPERATION,
                       "Elastic Graphics and Elastic Inference are no longer available.");
    if (in->secondary_interfaces.count)
        return err_aws(err, &EC2_UNSUPPORTED_OPERATION,
                       "Secondary interfaces are not supported for the instance type " STR_FMT ".",
                       STR_ARG(launch->type_name));
    return 0;
}

static int check_features(const struct launch *launch, struct err *err)
{
    const struct ec2_run_instances_request *in = launch->in;

    if (in->instance_market_options)
        return err_aws(err, &AWS_NOT_IMPLEMENTED,
                       "Spot instances and capacity blocks (instanceMarketOptions) are not built yet.");
    if (in->hibernation_options && in->hibernation_options->configured.value)
        return err_aws(err, &EC2_UNSUPPORTED_HIBERNATION_CONFIGURATION,
                       "Hibernation is not supported for the instance type " STR_FMT ".", STR_ARG(launch->type_name));
    if (in->enclave_options && in->enclave_options->enabled.value)
        return err_aws(err, &EC2_UNSUPPORTED, "Nitro Enclaves are not supported for the instance type " STR_FMT ".",
                       STR_ARG(launch->type_name));
    if (in->ebs_optimized.value && str_equal(catalogue_text(launch->type->ebs.optimized), S("unsupported")))
        return err_aws(err, &EC2_UNSUPPORTED,
                       "The requested configuration is currently not supported. EBS-optimized instances are not "
                       "supported for your requested instance type (" STR_FMT ").",
                       STR_ARG(launch->type_name));
    if (in->cpu_options && (in->cpu_options->amd_sev_snp.len || in->cpu_options->nested_virtualization.len))
        return err_aws(err, &EC2_UNSUPPORTED,
                       "AMD SEV-SNP and nested virtualization are not supported for the instance type " STR_FMT ".",
                       STR_ARG(launch->type_name));
    if (in->network_performance_options && in->network_performance_options->bandwidth_weighting.len &&
        !catalogue_has(launch->type->network.bandwidth_weightings,
                       in->network_performance_options->bandwidth_weighting))
        return err_aws(err, &EC2_UNSUPPORTED,
                       "The bandwidth weighting '" STR_FMT "' is not supported for the instance type " STR_FMT ".",
                       STR_ARG(in->network_performance_options->bandwidth_weighting), STR_ARG(launch->type_name));
    return 0;
}

int launch_check_options(struct call *call, struct launch *launch, struct err *err)
{
    int r = check_references(launch, err);

    if (r == 0)
        r = check_placement(launch, err);
    if (r == 0)
        r = check_features(launch, err);
    if (r == 0)
        r = check_cpu(launch, err);
    if (r == 0)
        r = check_credits(launch, err);
    return r;
}

#define NEW(call, type) arena_new((call)->arena, type)

/* `given`, or what AWS fills in. */
static struct str or_default(struct str given, struct str otherwise)
{
    return given.p ? given : otherwise;
}

static struct ec2_cpu_options *fill_cpu(struct call *call, const struct launch *launch)
{
    const struct ec2_cpu_options_request *in = launch->in->cpu_options;
    struct ec2_cpu_options *cpu = NEW(call, struct ec2_cpu_options);

    cpu->core_count = in && in->core_count.set ? in->core_count : INT(launch->type->cores);
    cpu->threads_per_core = in && in->threads_per_core.set ? in->threads_per_core : INT(launch->type->threads_per_core);
    return cpu;
}

/* IMDSv2 only, with a hop more, where the image says so; else both versions. */
static struct ec2_instance_metadata_options_response *fill_metadata(struct call *call, const struct launch *launch)
{
    static const struct ec2_instance_metadata_options_request none;
    const struct ec2_instance_metadata_options_request *in = launch->in->metadata_options ? launch->in->metadata_options
                                                                                          : &none;
    struct ec2_instance_metadata_options_response *out = NEW(call, struct ec2_instance_metadata_options_response);
    bool v2 = launch->image && launch->image->imds_support;

    out->state = S("pending");
    out->http_tokens = or_default(in->http_tokens, v2 ? S("required") : S("optional"));
    out->http_put_response_hop_limit = in->http_put_response_hop_limit.set ? in->http_put_response_hop_limit
                                                                           : INT(v2 ? 2 : 1);
    out->http_endpoint = or_default(in->http_endpoint, S("enabled"));
    out->http_protocol_ipv6 = or_default(in->http_protocol_ipv6, S("disabled"));
    out->http_protocol_ipv4 = S("enabled");
    out->instance_metadata_tags = or_default(in->instance_metadata_tags, S("disabled"));
    return out;
}

static struct ec2_private_dns_name_options_response *fill_dns_options(struct call *call, const struct launch *launch)
{
    static const struct ec2_private_dns_name_options_request none;
    const struct ec2_private_dns_name_options_request *in = launch->in->private_dns_name_options
                                                                ? launch->in->private_dns_name_options
                                                                : &none;
    const struct ec2_private_dns_name_options_on_launch *subnet =
        launch->interfaces[0].subnet->private_dns_name_options_on_launch;
    struct ec2_private_dns_name_options_response *out = NEW(call, struct ec2_private_dns_name_options_response);

    out->hostname_type = or_default(in->hostname_type, subnet ? subnet->hostname_type : S("ip-name"));
    out->enable_resource_name_dns_a_record = BOOL(in->enable_resource_name_dns_a_record.set
                                                      ? in->enable_resource_name_dns_a_record.value
                                                      : subnet && subnet->enable_resource_name_dns_a_record.value);
    out->enable_resource_name_dns_aaaa_record = BOOL(
        in->enable_resource_name_dns_aaaa_record.set ? in->enable_resource_name_dns_aaaa_record.value
                                                     : subnet && subnet->enable_resource_name_dns_aaaa_record.value);
    return out;
}

static struct ec2_placement *fill_placement(struct call *call, const struct launch *launch)
{
    const struct ec2_placement *in = launch->in->placement;
    struct ec2_placement *out = NEW(call, struct ec2_placement);

    out->availability_zone = launch->interfaces[0].subnet->availability_zone;
    out->availability_zone_id = launch->interfaces[0].subnet->availability_zone_id;
    out->group_name = S("");
    out->tenancy = in && in->tenancy.p ? in->tenancy : S("default");
    out->affinity = in && in->affinity.len ? in->affinity : (struct str){0};
    return out;
}

void launch_fill_options(struct call *call, const struct launch *launch, struct ec2_instance *i)
{
    const struct ec2_run_instances_request *in = launch->in;
    struct str boot_mode = launch->image ? catalogue_text(launch->image->boot_mode) : (struct str){0};
    bool uefi = str_starts(boot_mode, S("uefi")) && catalogue_has(launch->type->boot_modes, S("uefi"));

    i->cpu_options = fill_cpu(call, launch);
    i->metadata_options = fill_metadata(call, launch);
    i->private_dns_name_options = fill_dns_options(call, launch);
    i->placement = fill_placement(call, launch);
    i->monitoring = NEW(call, struct ec2_monitoring);
    i->monitoring->state = in->monitoring && in->monitoring->enabled.value ? S("enabled") : S("disabled");
    i->hibernation_options = NEW(call, struct ec2_hibernation_options);
    i->hibernation_options->configured = NO;
    i->enclave_options = NEW(call, struct ec2_enclave_options);
    i->enclave_options->enabled = NO;
    i->capacity_reservation_specification = NEW(call, struct ec2_capacity_reservation_specification_response);
    i->capacity_reservation_specification->capacity_reservation_preference = or_default(
        in->capacity_reservation_specification ? in->capacity_reservation_specification->capacity_reservation_preference
                                               : (struct str){0},
        S("open"));
    i->maintenance_options = NEW(call, struct ec2_instance_maintenance_options);
    i->maintenance_options->auto_recovery = or_default(
        in->maintenance_options ? in->maintenance_options->auto_recovery : (struct str){0}, S("default"));
    i->maintenance_options->reboot_migration = S("default");
    i->network_performance_options = NEW(call, struct ec2_instance_network_performance_options);
    i->network_performance_options->bandwidth_weighting = or_default(
        in->network_performance_options ? in->network_performance_options->bandwidth_weighting : (struct str){0},
        S("default"));
    i->operator= NEW(call, struct ec2_operator_response);
    i->operator->managed = NO;
    i->ebs_optimized = in->ebs_optimized.set ? in->ebs_optimized : NO;
    i->ena_support = BOOL(!str_equal(catalogue_text(launch->type->network.ena), S("unsupported")));
    i->boot_mode = boot_mode;
    i->current_instance_boot_mode = uefi ? S("uefi") : S("legacy-bios");
    i->cpu_credits = !launch->type->burstable   ? (struct str){0}
                     : in->credit_specification ? in->credit_specification->cpu_credits
                                                : default_credits(launch);
    i->disable_api_termination = BOOL(in->disable_api_termination.value);
    i->disable_api_stop = BOOL(in->disable_api_stop.value);
    i->shutdown_behavior = or_default(in->instance_initiated_shutdown_behavior, S("stop"));
}
