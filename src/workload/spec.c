/* From what should run to what its monitor is told. */
#include "workload/machine.h"
#include "image/image.h"

#include <arpa/inet.h>
#include <string.h>

enum { PROCESSES = 8192 };

enum { IDS_SLOTS = 4095 };

static bool valid_name(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return s.len > 0 && s.len < 32;
}

int machine_check_spec(const struct workload_spec *spec, struct err *err)
{
    if (!valid_name(spec->id))
        return err_plain(err, "'" STR_FMT "' cannot name a machine", STR_ARG(spec->id));
    if (spec->interface_count > MACHINE_INTERFACES)
        return err_plain(err, "a machine has at most %d interfaces", MACHINE_INTERFACES);
    for (size_t i = 0; i < spec->interface_count; i++) {
        if (machine_check_interface(&spec->interfaces[i], err) < 0)
            return err_wrap(err, "interface %zu of " STR_FMT, i, STR_ARG(spec->id));
    }
    return 0;
}

static bool parse_cidr(struct str text, struct fabric_cidr *ret)
{
    struct str address = str_cut(&text, '/');
    struct in_addr in;
    int64_t prefix;
    char z[32];

    if (!str_to_z(address, z, sizeof z) || inet_pton(AF_INET, z, &in) != 1 || !text.p || !str_to_int(text, &prefix) ||
        prefix < 0 || prefix > 32)
        return false;
    *ret = (struct fabric_cidr){ntohl(in.s_addr), (unsigned)prefix};
    return true;
}

int machine_check_interface(const struct workload_interface *interface, struct err *err)
{
    struct fabric_cidr cidr;
    bool names = valid_name(interface->id) && valid_name(interface->vpc_id) &&
                 (interface->subnet_id.len == 0 || valid_name(interface->subnet_id));

    for (size_t i = 0; i < interface->group_count && i < FABRIC_GROUPS; i++)
        names = names && valid_name(interface->groups[i].id);
    if (!parse_cidr(interface->vpc_cidr, &cidr))
        return err_plain(err, "'" STR_FMT "' is no CIDR", STR_ARG(str_first(interface->vpc_cidr, 100)));
    if (!names || interface->prefix > 32 || interface->address_count > FABRIC_ADDRESSES ||
        interface->group_count > FABRIC_GROUPS)
        return err_plain(err, "it is malformed");
    return 0;
}

void machine_fill_interface(const struct workload_interface *from, struct machine_interface *to)
{
    const struct fabric_address alone = {from->address, 0};

    *to = (struct machine_interface){.source_dest_check = from->source_dest_check,
                                     .gateway = from->gateway,
                                     .prefix = from->prefix,
                                     .device_index = from->device_index,
                                     .address_count = from->address_count ? (unsigned)from->address_count : 1,
                                     .group_count = (unsigned)from->group_count};
    str_to_z(from->id, to->id, sizeof to->id);
    str_to_z(from->vpc_id, to->vpc_id, sizeof to->vpc_id);
    str_to_z(from->subnet_id, to->subnet_id, sizeof to->subnet_id);
    parse_cidr(from->vpc_cidr, &to->vpc_cidr);
    memcpy(to->mac, from->mac, sizeof to->mac);
    memcpy(to->addresses, from->address_count ? from->addresses : &alone, to->address_count * sizeof alone);
    for (size_t i = 0; i < from->group_count; i++)
        str_to_z(from->groups[i].id, to->groups[i], sizeof to->groups[i]);
}

int machine_describe(struct native *native, const struct workload_interface *interface, struct err *err)
{
    const struct fabric_vpc named = {.id = interface->vpc_id};

    return fabric_describe(native->fabric, interface->vpc ? interface->vpc : &named, interface->groups,
                           interface->group_count, err);
}

static void fill_interfaces(struct machine_record *record, const struct workload_spec *spec)
{
    record->interface_count = (unsigned)spec->interface_count;
    for (size_t i = 0; i < spec->interface_count; i++)
        machine_fill_interface(&spec->interfaces[i], &record->interfaces[i]);
}

int machine_fill_image(const struct native *native, struct monitor_config *config, struct str name,
                       const atomic_bool *cancel, struct err *err)
{
    char folder[MONITOR_PATH];
    struct image image;
    int r;

    snprintf(folder, sizeof folder, "%s/images", native->state_dir);
    r = image_prepare(folder, name.len ? name : image_default(), program_init(), native->host_local, cancel, &image,
                      err);
    for (int i = 0; r == 0 && i < IMAGE_LAYERS; i++) {
        memcpy(config->layers[i], image.layers[i], MONITOR_PATH);
        memcpy(config->usr_layers[i], image.usr_layers[i], MONITOR_PATH);
    }
    config->usr_is_viewed = r == 0 && image.usr_is_viewed;
    return r;
}

static bool ids_taken(const struct native *native, uint32_t base)
{
    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));) {
        const struct machine *machine = at->value;

        if (machine->state != MACHINE_STOPPED && machine->record.config.id_base == base)
            return true;
    }
    return false;
}

/* A range that no running machine of ours has; should all be taken, two machines share one, which breaks nothing. */
static uint32_t take_ids(struct native *native)
{
    uint32_t base = 0;

    pthread_mutex_lock(&native->lock);
    for (int i = 0; i < IDS_SLOTS; i++) {
        base = MACHINE_IDS_FIRST + MONITOR_IDS * (native->next_ids++ % IDS_SLOTS);
        if (!ids_taken(native, base))
            break;
    }
    pthread_mutex_unlock(&native->lock);
    return base;
}

int machine_fill_record(struct native *native, struct machine *machine, const struct workload_spec *spec,
                        struct err *err)
{
    struct machine_record *record = &machine->record;
    struct monitor_config *config = &record->config;
    struct str id = str_of(machine->id);

    *record = (struct machine_record){0};
    memcpy(record->magic, MACHINE_MAGIC, sizeof record->magic);
    config->version = MONITOR_VERSION;
    config->volatile_disk = !native->durable;
    config->id_base = native->unmapped ? 0 : take_ids(native);
    machine_run_path(native, id, config->run);
    machine_disk_path(native, id, config->disk);
    machine_console_path(native, id, config->console);
    snprintf(config->mounts, MONITOR_PATH, "%s/mnt", native->state_dir);
    snprintf(config->host_name, sizeof config->host_name, STR_FMT, STR_ARG(str_first(spec->host_name, 64)));
    snprintf(config->note, sizeof config->note, STR_FMT "%s",
             STR_ARG(str_first(spec->console_note, sizeof config->note - 2)), spec->console_note.len ? "\n" : "");
    record->limits = (struct cgroup_limits){spec->memory_bytes, spec->vcpus ? spec->vcpus : 1, PROCESSES};
    fill_interfaces(record, spec);
    return machine_fill_image(native, config, spec->image, NULL, err);
}
