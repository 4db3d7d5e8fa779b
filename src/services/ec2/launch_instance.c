/* RunInstances: the records of one instance. */
#include "services/ec2/address.h"
#include "services/ec2/instance.h"
#include "services/ec2/launch.h"

/* Locally administered, as AWS's are: 02 or 06 and so on first, the rest random. */
static struct str new_mac(struct call *call)
{
    unsigned char b[6];

    id_bytes(b, sizeof b);
    b[0] = (unsigned char)((b[0] & 0xfc) | 0x02);
    return call_printf(call, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
}

static int add_address(struct call *call, struct ec2_network_interface *eni, const struct launch_interface *plan,
                       struct str wanted, struct err *err)
{
    struct ec2_network_interface_private_ip_address *address =
        &eni->private_ip_addresses.items[eni->private_ip_addresses.count];
    uint32_t number;
    int r = subnet_take_address(call, plan->subnet, wanted, &number, err);

    if (r < 0)
        return r;
    address->private_ip_address = address_text(call->arena, number);
    address->private_dns_name = address_host_name(call, address->private_ip_address);
    address->primary = BOOL(eni->private_ip_addresses.count == 0);
    eni->private_ip_addresses.count++;
    return 0;
}

static int make_addresses(struct call *call, struct ec2_network_interface *eni, const struct launch_interface *plan,
                          struct err *err)
{
    int r;

    eni->private_ip_addresses.items = arena_array(call->arena, struct ec2_network_interface_private_ip_address,
                                                  1 + plan->secondary_count);
    r = add_address(call, eni, plan, plan->private_ip, err);
    for (size_t i = 0; i < plan->secondary_count && r == 0; i++)
        r = add_address(call, eni, plan, plan->secondary_ips ? plan->secondary_ips[i] : (struct str){0}, err);
    if (r < 0)
        return r;
    eni->private_ip_address = eni->private_ip_addresses.items[0].private_ip_address;
    return 0;
}

static int make_interface(struct call *call, const struct launch *launch, const struct launch_interface *plan,
                          const struct ec2_instance *instance, struct err *err)
{
    struct ec2_network_interface *eni = network_interface_create(call->tx, id_new(call->arena, S("eni-")));
    int r = make_addresses(call, eni, plan, err);

    if (r < 0)
        return r;

    eni->owner_id = call->account;
    eni->requester_managed = NO;
    eni->subnet_id = plan->subnet->subnet_id;
    eni->vpc_id = plan->subnet->vpc_id;
    eni->availability_zone = plan->subnet->availability_zone;
    eni->availability_zone_id = plan->subnet->availability_zone_id;
    eni->description = plan->description;
    eni->interface_type = plan->interface_type;
    eni->groups = plan->groups;
    eni->mac_address = new_mac(call);
    eni->source_dest_check = YES;
    eni->public_wanted = BOOL(plan->public_wanted && launch->interface_count == 1);
    eni->status = S("in-use");
    eni->tag_set = launch->interface_tags;
    eni->operator= arena_new(call->arena, struct ec2_operator_response);
    eni->operator->managed = NO;
    eni->attachment = arena_new(call->arena, struct ec2_network_interface_attachment);
    eni->attachment->attachment_id = id_new(call->arena, S("eni-attach-"));
    eni->attachment->attach_time = TIME(launch->now);
    eni->attachment->delete_on_termination = BOOL(plan->delete_on_termination);
    eni->attachment->device_index = INT(plan->device_index);
    eni->attachment->network_card_index = INT(plan->card_index);
    eni->attachment->instance_id = instance->instance_id;
    eni->attachment->instance_owner_id = call->account;
    eni->attachment->status = S("attached");
    instance_name_interface(call, instance, eni);
    return 0;
}

static void make_volume(struct call *call, const struct launch *launch, const struct launch_volume *plan,
                        struct str instance_id)
{
    struct ec2_volume *volume = volume_create(call->tx, id_new(call->arena, S("vol-")));
    const struct ec2_subnet *subnet = launch->interfaces[0].subnet;
    struct ec2_volume_attachment *attachment;

    volume->availability_zone = subnet->availability_zone;
    volume->availability_zone_id = subnet->availability_zone_id;
    volume->create_time = TIME(launch->now);
    volume->size = INT(plan->size_gib);
    volume->snapshot_id = plan->snapshot_id;
    volume->volume_type = plan->type;
    volume->encrypted = BOOL(plan->encrypted);
    volume->kms_key_id = plan->kms_key_id;
    volume->multi_attach_enabled = NO;
    if (plan->iops)
        volume->iops = INT(plan->iops);
    if (plan->throughput)
        volume->throughput = INT(plan->throughput);
    volume->state = S("in-use");
    volume->tags = launch->volume_tags;
    volume->operator= arena_new(call->arena, struct ec2_operator_response);
    volume->operator->managed = NO;
    volume->attachments.items = attachment = arena_new(call->arena, struct ec2_volume_attachment);
    volume->attachments.count = 1;
    attachment->attach_time = TIME(launch->now);
    attachment->delete_on_termination = BOOL(plan->delete_on_termination);
    attachment->device = plan->device;
    attachment->instance_id = instance_id;
    attachment->state = S("attached");
    attachment->volume_id = volume->volume_id;
}

static void fill_image(const struct launch *launch, struct ec2_instance *instance)
{
    const struct image *image = launch->image;

    instance->image_id = launch->image_id;
    instance->architecture = launch->architecture;
    instance->root_device_name = launch->root_device;
    instance->root_device_type = image ? catalogue_text(image->root_device_type) : S("ebs");
    instance->virtualization_type = image ? catalogue_text(image->virtualization) : S("hvm");
    instance->hypervisor = S("xen"); /* AWS says so of nitro's too */
    instance->platform = image ? catalogue_text(image->platform) : (struct str){0};
    instance->platform_details = image ? catalogue_text(image->platform_details) : S("Linux/UNIX");
    instance->usage_operation = image ? catalogue_text(image->usage_operation) : S("RunInstances");
    instance->usage_operation_update_time = TIME(launch->now);
}

int launch_instance(struct call *call, const struct launch *launch, int64_t n, struct ec2_instance **ret,
                    struct err *err)
{
    struct str id = id_new(call->arena, S("i-"));
    struct ec2_instance *instance = instance_create(call->tx, id);
    int r = 0;

    fill_image(launch, instance);
    launch_fill_options(call, launch, instance);
    instance->reservation_id = launch->reservation_id;
    instance->owner_id = call->account;
    instance->ami_launch_index = INT(n);
    instance->client_token = launch->in->client_token;
    instance->instance_type = launch->type_name;
    instance->key_name = launch->in->key_name;
    instance->launch_time = TIME(launch->now);
    instance->user_data = launch->user_data;
    instance->tags = launch->instance_tags;
    instance->generation = INT(1);
    instance_set_state(call->arena, instance, INSTANCE_PENDING);
    instance_set_reason(call->arena, instance, S("pending"), S("pending"));
    for (size_t i = 0; i < launch->interface_count && r == 0; i++)
        r = make_interface(call, launch, &launch->interfaces[i], instance, err);
    for (size_t i = 0; i < launch->volume_count && r == 0; i++)
        make_volume(call, launch, &launch->volumes[i], id);
    *ret = instance;
    return r;
}
