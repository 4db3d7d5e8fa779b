/*
 * RunInstances: the volumes of an instance: the image's mapping, changed by the request's, device by device.
 * Sources: "Block device mappings" in the EC2 user guide; CreateVolume in the API reference for types and their limits.
 */
#include "services/ec2/launch.h"
#include "services/ec2/quotas.h"

/* A volume type's limits. iops 0: it takes none. */
static const struct volume_type {
    const char *name;
    int64_t min_gib, max_gib, min_iops, max_iops, default_iops, max_iops_per_gib, max_throughput;
} volume_types[] = {
    {"gp3", 1, 65536, 3000, 80000, 3000, 500, 2000},
    {"gp2", 1, 16384, 0, 0, 0, 0, 0},
    {"io1", 4, 16384, 100, 64000, 0, 50, 0},
    {"io2", 4, 65536, 100, 256000, 0, 1000, 0},
    {"st1", 125, 16384, 0, 0, 0, 0, 0},
    {"sc1", 125, 16384, 0, 0, 0, 0, 0},
    {"standard", 1, 1024, 0, 0, 0, 0, 0},
};

enum { GP3_THROUGHPUT = 125 };

static const struct volume_type *find_type(struct str name)
{
    for (size_t i = 0; i < sizeof volume_types / sizeof *volume_types; i++)
        if (str_equal(name, str_of(volume_types[i].name)))
            return &volume_types[i];
    return NULL;
}

/* gp2 has 3 IOPS a GiB, at least 100, at most 16,000, and shows them. */
static int64_t gp2_iops(int64_t gib)
{
    return gib * 3 < 100 ? 100 : gib * 3 > 16000 ? 16000 : gib * 3;
}

static int check_performance(const struct volume_type *type, const struct ec2_ebs_block_device *ebs,
                             struct launch_volume *volume, struct err *err)
{
    if (ebs->iops.set && !type->max_iops)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION, "The parameter iops is not supported for %s volumes.",
                       type->name);
    if (ebs->throughput.set && !type->max_throughput)
        return err_aws(err, &EC2_INVALID_PARAMETER_COMBINATION,
                       "The parameter throughput is not supported for %s volumes.", type->name);
    volume->iops = ebs->iops.set ? ebs->iops.value : type->default_iops;
    if (type->max_iops && !volume->iops)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter iops");
    if (type->max_iops && (volume->iops < type->min_iops || volume->iops > type->max_iops))
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "Volume iops of %lld is %s; %s is %lld for %s volumes.",
                       (long long)volume->iops, volume->iops < type->min_iops ? "too low" : "too high",
                       volume->iops < type->min_iops ? "minimum" : "maximum",
                       (long long)(volume->iops < type->min_iops ? type->min_iops : type->max_iops), type->name);
    if (type->max_iops_per_gib && volume->iops > type->default_iops &&
        volume->iops > volume->size_gib * type->max_iops_per_gib)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Iops to volume size ratio of %.1f is too high; maximum is %lld.",
                       (double)volume->iops / (double)volume->size_gib, (long long)type->max_iops_per_gib);
    if (type->max_throughput) {
        volume->throughput = ebs->throughput.set ? ebs->throughput.value : GP3_THROUGHPUT;
        if (volume->throughput < GP3_THROUGHPUT || volume->throughput > type->max_throughput)
            return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                           "Throughput (MiBps) %lld is out of range; it must be between %d and %lld.",
                           (long long)volume->throughput, GP3_THROUGHPUT, (long long)type->max_throughput);
    }
    if (str_equal(volume->type, S("gp2")))
        volume->iops = gp2_iops(volume->size_gib);
    return 0;
}

static int check_size(const struct volume_type *type, const struct launch_volume *volume, int64_t least,
                      struct err *err)
{
    if (volume->size_gib < least)
        return err_aws(err, &EC2_INVALID_BLOCK_DEVICE_MAPPING,
                       "Volume of size %lldGB is smaller than snapshot '" STR_FMT "', expect size>= %lldGB",
                       (long long)volume->size_gib, STR_ARG(volume->snapshot_id), (long long)least);
    if (volume->size_gib < type->min_gib || volume->size_gib > type->max_gib)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                       "Volume of %lldGiB is too %s for volume type %s; %s is %lldGiB.", (long long)volume->size_gib,
                       volume->size_gib < type->min_gib ? "small" : "large", type->name,
                       volume->size_gib < type->min_gib ? "minimum" : "maximum",
                       (long long)(volume->size_gib < type->min_gib ? type->min_gib : type->max_gib));
    return 0;
}

/* What the request says of a volume, over what the image says (`volume` holds that; size 0: nothing). */
static int apply(const struct ec2_ebs_block_device *ebs, struct launch_volume *volume, struct err *err)
{
    int64_t least = volume->size_gib;
    const struct volume_type *type;
    int r;

    if (ebs->snapshot_id.len && !str_equal(ebs->snapshot_id, volume->snapshot_id))
        return err_aws(err, &EC2_INVALID_SNAPSHOT_NOT_FOUND, "The snapshot '" STR_FMT "' does not exist.",
                       STR_ARG(str_first(ebs->snapshot_id, 255)));
    if (ebs->volume_type.p)
        volume->type = ebs->volume_type;
    if (ebs->volume_size.set)
        volume->size_gib = ebs->volume_size.value;
    if (!volume->size_gib)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter size or snapshotId");
    type = find_type(volume->type);
    if (!type)
        return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "Invalid value '" STR_FMT "' for VolumeType.",
                       STR_ARG(volume->type));
    r = check_size(type, volume, least, err);
    if (r < 0)
        return r;
    if (ebs->kms_key_id.len && !ebs->encrypted.value)
        return err_aws(err, &EC2_INVALID_PARAMETER_DEPENDENCY,
                       "The parameter KmsKeyId requires the parameter Encrypted to be set.");
    volume->encrypted = ebs->encrypted.value;
    volume->kms_key_id = ebs->kms_key_id.len ? ebs->kms_key_id : (struct str){0};
    if (ebs->delete_on_termination.set)
        volume->delete_on_termination = ebs->delete_on_termination.value;
    return check_performance(type, ebs, volume, err);
}

static struct launch_volume *find_device(struct launch *launch, struct str device)
{
    for (size_t i = 0; i < launch->volume_count; i++)
        if (str_equal(launch->volumes[i].device, device))
            return &launch->volumes[i];
    return NULL;
}

static int map_device(struct launch *launch, const struct ec2_block_device_mapping *mapping, struct err *err)
{
    struct launch_volume *volume = find_device(launch, mapping->device_name);

    if (!mapping->device_name.len)
        return err_aws(err, &EC2_MISSING_PARAMETER, "The request must contain the parameter deviceName");
    if (mapping->virtual_name.len && mapping->ebs)
        return err_aws(err, &EC2_INVALID_BLOCK_DEVICE_MAPPING,
                       "Both virtualName and ebs are specified for " STR_FMT ".", STR_ARG(mapping->device_name));
    if (mapping->no_device.p) {
        if (str_equal(mapping->device_name, launch->root_device))
            return err_aws(err, &EC2_INVALID_BLOCK_DEVICE_MAPPING,
                           "The device '" STR_FMT "' is the root device and cannot be suppressed.",
                           STR_ARG(mapping->device_name));
        if (volume)
            *volume = launch->volumes[--launch->volume_count];
        return 0;
    }
    if (!mapping->ebs) /* an instance store: types that have one show it of themselves */
        return 0;
    if (!volume) {
        volume = &launch->volumes[launch->volume_count++];
        *volume = (struct launch_volume){
            .device = mapping->device_name, .type = S("gp2"), .snapshot_id = S(""), .delete_on_termination = true};
    }
    return apply(mapping->ebs, volume, err);
}

static void map_root(struct call *call, struct launch *launch)
{
    struct launch_volume *root = &launch->volumes[launch->volume_count++];
    char text[IMAGE_ID_SIZE];

    *root = (struct launch_volume){
        .device = launch->root_device, .type = S("gp2"), .size_gib = 8, .delete_on_termination = true};
    if (launch->image) {
        root->snapshot_id = arena_str(call->arena, image_snapshot_id(launch->image, region_find(call->region), text));
        root->type = catalogue_text(launch->image->volume_type);
        root->size_gib = launch->image->volume_gib;
    } else {
        root->snapshot_id = arena_str(call->arena, S("snap-00000000000000000"));
    }
}

int launch_plan_volumes(struct call *call, struct launch *launch, struct err *err)
{
    static const struct ec2_ebs_block_device unchanged;
    const struct ec2_block_device_mapping_request_list *mappings = &launch->in->block_device_mappings;
    int r = 0;

    if ((int64_t)mappings->count > quota_value(QUOTA_VOLUMES_PER_INSTANCE))
        return err_aws(err, &EC2_ATTACHMENT_LIMIT_EXCEEDED,
                       "Volume attachments exceed the limit of the instance type.");
    launch->volumes = arena_array(call->arena, struct launch_volume, mappings->count + 1);
    if (launch->image && !str_equal(catalogue_text(launch->image->root_device_type), S("ebs")))
        return 0;
    map_root(call, launch);
    r = apply(&unchanged, &launch->volumes[0], err);
    for (size_t i = 0; i < mappings->count && r == 0; i++) {
        for (size_t k = 0; k < i; k++)
            if (str_equal(mappings->items[i].device_name, mappings->items[k].device_name))
                return err_aws(err, &EC2_INVALID_BLOCK_DEVICE_MAPPING,
                               "The device '" STR_FMT "' is used in more than one block-device mapping",
                               STR_ARG(mappings->items[i].device_name));
        r = map_device(launch, &mappings->items[i], err);
    }
    return r;
}
