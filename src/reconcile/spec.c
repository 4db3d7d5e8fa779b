#include "reconcile/spec.h"

#include "aws/base64.h"
#include "reconcile/network_spec.h"
#include "services/ec2/catalogue/types.h"
#include "services/ec2/instance.h"

#include <zlib.h>

enum { UNPACKED_LIMIT = 1024 * 1024 };

#define INSTANCE_STORE_ROOT_GIB 10ull /* EC2 user guide, "Root volumes for your Amazon EC2 instances" */

/* gzip, as cloud-init takes it: unpacked here, where there is a limit. What is not gzip stays as it is. */
static int unpack(struct arena *arena, struct str *data, struct err *err)
{
    z_stream stream = {.next_in = (unsigned char *)data->p, .avail_in = (unsigned)data->len};
    unsigned char *out;
    int r;

    if (!str_starts(*data, S("\x1f\x8b")))
        return 0;
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
        return err_plain(err, "unpack user data");
    out = arena_alloc(arena, UNPACKED_LIMIT);
    stream.next_out = out;
    stream.avail_out = UNPACKED_LIMIT;
    r = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    if (r != Z_STREAM_END)
        return err_plain(err, "user data is not well-formed gzip, or unpacks to more than %d bytes", UNPACKED_LIMIT);
    *data = (struct str){(const char *)out, UNPACKED_LIMIT - stream.avail_out};
    return 0;
}

static int user_data(struct arena *arena, const struct ec2_instance *instance, struct str *ret, struct err *err)
{
    *ret = S("");
    if (!instance->user_data.len)
        return 0;
    if (!base64_decode(arena, instance->user_data, ret))
        return err_plain(err, "user data is not base64");
    return unpack(arena, ret, err);
}

static int interfaces_of(struct tx *tx, struct arena *arena, struct str id, uint64_t version,
                         struct workload_spec *spec, struct err *err)
{
    const struct ec2_network_interface *const *found;
    size_t count = instance_interfaces(tx, arena, id, &found);
    struct workload_interface *out = arena_array(arena, struct workload_interface, count);
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++)
        r = network_interface_spec(tx, arena, found[i], version, &out[i], err);
    spec->interfaces = out;
    spec->interface_count = count;
    if (count) { /* ip-172-31-0-10.ec2.internal */
        struct str name = arena_str(arena, found[0]->private_dns_name);
        spec->host_name = str_cut(&name, '.');
    }
    return r;
}

/* The root volume's. An instance whose root is no volume (an instance store's) has what AWS allows such a one. */
static uint64_t disk_bytes(struct tx *tx, const struct ec2_instance *instance)
{
    const struct ec2_volume *const *volumes;
    size_t count = volume_find(tx, EC2_VOLUME_BY_ATTACHMENTS_INSTANCE_ID, instance->instance_id, &volumes);

    for (size_t i = 0; i < count; i++)
        if (str_equal(volumes[i]->attachments.items[0].device, instance->root_device_name))
            return (uint64_t)volumes[i]->size.value << 30;
    return INSTANCE_STORE_ROOT_GIB << 30;
}

int spec_of_instance(struct tx *tx, struct arena *arena, const struct ec2_instance *instance, struct str image,
                     uint64_t version, struct workload_spec *spec, struct err *err)
{
    const struct instance_type *type = instance_type_find(instance->instance_type);
    int r;

    *spec = (struct workload_spec){
        .id = arena_str(arena, instance->instance_id), .image = arena_str(arena, image), .host_name = S("localhost")};
    if (!type)
        return err_plain(err, "no instance type " STR_FMT, STR_ARG(instance->instance_type));
    spec->vcpus = (unsigned)(instance->cpu_options->core_count.value * instance->cpu_options->threads_per_core.value);
    spec->memory_bytes = (uint64_t)type->memory_mib << 20;
    spec->disk_bytes = disk_bytes(tx, instance);
    spec->console_note = arena_printf(
        arena, "haar: " STR_FMT " (" STR_FMT ") boots the built-in image '" STR_FMT "' in place of " STR_FMT,
        STR_ARG(instance->instance_id), STR_ARG(instance->instance_type), STR_ARG(image), STR_ARG(instance->image_id));
    r = user_data(arena, instance, &spec->user_data, err);
    return r < 0 ? r : interfaces_of(tx, arena, instance->instance_id, version, spec, err);
}
