/* DescribeImages over the catalogue of public images. Source: DescribeImages in the API reference. */
#include "base/time.h"
#include "services/ec2/catalogue/images.h"
#include "services/ec2/local.h"

static void map_ebs(struct call *call, const struct image *image, const struct region *region,
                    struct ec2_block_device_mapping *mapping)
{
    char text[IMAGE_ID_SIZE];

    mapping->device_name = catalogue_text(image->root_device);
    mapping->ebs = arena_new(call->arena, struct ec2_ebs_block_device);
    mapping->ebs->delete_on_termination = YES;
    mapping->ebs->encrypted = NO;
    mapping->ebs->snapshot_id = arena_str(call->arena, image_snapshot_id(image, region, text));
    mapping->ebs->volume_size = INT(image->volume_gib);
    mapping->ebs->volume_type = catalogue_text(image->volume_type);
    if (str_equal(mapping->ebs->volume_type, S("gp3"))) {
        mapping->ebs->iops = INT(3000);
        mapping->ebs->throughput = INT(125);
    }
}

static void map_devices(struct call *call, const struct image *image, const struct region *region,
                        struct ec2_image *view)
{
    bool ebs = str_equal(catalogue_text(image->root_device_type), S("ebs"));
    struct ec2_block_device_mapping *items = arena_array(call->arena, struct ec2_block_device_mapping,
                                                         (size_t)ebs + image->ephemeral);
    size_t count = 0;

    if (ebs)
        map_ebs(call, image, region, &items[count++]);
    for (unsigned i = 0; i < image->ephemeral; i++, count++) {
        items[count].device_name = call_printf(call, "/dev/sd%c", 'b' + (int)i);
        items[count].virtual_name = call_printf(call, "ephemeral%u", i);
    }
    view->block_device_mappings.items = items;
    view->block_device_mappings.count = count;
}

static struct str time_text(struct call *call, uint32_t seconds)
{
    char text[TIME_ISO_SIZE];

    return seconds ? arena_str(call->arena, time_iso((int64_t)seconds * 1000, text)) : (struct str){0};
}

static void fill(struct call *call, const struct image *image, struct ec2_image *view)
{
    const struct region *region = region_find(call->region);
    char text[IMAGE_ID_SIZE];
    bool hvm = str_equal(catalogue_text(image->virtualization), S("hvm"));

    view->image_id = arena_str(call->arena, image_id(image, region, text));
    view->image_location = image_location(image, call->arena);
    view->image_type = S("machine");
    view->name = catalogue_text(image->name);
    view->description = catalogue_text(image->description);
    view->owner_id = catalogue_text(image->owner_id);
    view->image_owner_alias = catalogue_text(image->owner_alias);
    view->architecture = catalogue_text(image->architecture);
    view->virtualization_type = catalogue_text(image->virtualization);
    view->hypervisor = S("xen");
    view->platform = catalogue_text(image->platform);
    view->platform_details = catalogue_text(image->platform_details);
    view->usage_operation = catalogue_text(image->usage_operation);
    view->boot_mode = catalogue_text(image->boot_mode);
    view->imds_support = catalogue_text(image->imds_support);
    view->root_device_name = catalogue_text(image->root_device);
    view->root_device_type = catalogue_text(image->root_device_type);
    view->state = S("available");
    view->public = YES;
    view->ena_support = BOOL(hvm);
    view->sriov_net_support = hvm ? S("simple") : (struct str){0};
    view->creation_date = time_text(call, image->created);
    view->deprecation_time = time_text(call, image->deprecated);
    view->deregistration_protection = S("disabled");
    map_devices(call, image, region, view);
}

/* Owners: self (nobody owns a catalogue image), amazon, aws-marketplace or an account's id. */
static bool owner_wanted(const struct ec2_describe_images_request *in, const struct image *image)
{
    for (size_t i = 0; i < in->owners.count; i++)
        if (str_equal(in->owners.items[i], catalogue_text(image->owner_id)) ||
            (image->owner_alias && str_equal(in->owners.items[i], catalogue_text(image->owner_alias))))
            return true;
    return in->owners.count == 0;
}

/* Catalogue images are public: launch permission for all, which "self" or an account's id do not name. */
static bool executable_wanted(const struct ec2_describe_images_request *in)
{
    for (size_t i = 0; i < in->executable_users.count; i++)
        if (str_equal(in->executable_users.items[i], S("all")))
            return true;
    return in->executable_users.count == 0;
}

bool image_source(struct call *call, uint64_t *position, struct ec2_image *view)
{
    const struct ec2_describe_images_request *in = call->in;

    while (*position < image_count()) {
        const struct image *image = image_at((size_t)(*position)++);
        if (!owner_wanted(in, image) || !executable_wanted(in))
            continue;
        fill(call, image, view);
        return true;
    }
    return false;
}

/* By id, without looking through all. */
bool image_source_by_id(struct call *call, struct str id, struct ec2_image *view)
{
    const struct image *image = image_find(region_find(call->region), id);

    if (!image)
        return false;
    fill(call, image, view);
    return true;
}

static bool hides(const struct ec2_describe_images_request *in, const struct image *image)
{
    return !owner_wanted(in, image) || !executable_wanted(in);
}

/* Ids and owners together: an image of another owner is passed over, one that does not exist is an error. */
int ec2_describe_images(struct call *call, const struct ec2_describe_images_request *in,
                        struct ec2_describe_images_result *out, struct err *err)
{
    const struct region *region = region_find(call->region);
    int r = resource_select(call, EC2_IMAGE, in, (struct any_list *)&out->images, &out->next_token, err);
    size_t kept = 0;

    if (r < 0 || !in->image_ids.count)
        return r;
    for (size_t i = 0; i < out->images.count; i++)
        if (!hides(in, image_find(region, out->images.items[i].image_id)))
            out->images.items[kept++] = out->images.items[i];
    out->images.count = kept;
    return 0;
}
