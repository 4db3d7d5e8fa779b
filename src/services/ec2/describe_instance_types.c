/* DescribeInstanceTypes and DescribeInstanceTypeOfferings: the catalogue of types as AWS shows it. */
#include "services/ec2/catalogue/types.h"
#include "services/ec2/local.h"

#define NEW(call, type) arena_new((call)->arena, type)
#define TEXTS(call, out, list) fill_texts((call), (struct any_list *)&(out), (list))
#define NUMBERS(call, out, list) fill_numbers((call), (struct any_list *)&(out), (list))

/* A list of texts; absent when the catalogue has none. */
static void fill_texts(struct call *call, struct any_list *out, struct catalogue_list list)
{
    struct str *items = arena_array(call->arena, struct str, list.count);

    for (size_t i = 0; i < list.count; i++)
        items[i] = catalogue_item(list, i);
    if (list.count)
        *out = (struct any_list){items, list.count};
}

static void fill_numbers(struct call *call, struct any_list *out, struct catalogue_list list)
{
    struct opt_int *items = arena_array(call->arena, struct opt_int, list.count);

    for (size_t i = 0; i < list.count; i++)
        items[i] = INT(catalogue_number(list, i));
    if (list.count)
        *out = (struct any_list){items, list.count};
}

static struct opt_int or_absent(int64_t value)
{
    return value > 0 ? INT(value) : (struct opt_int){0};
}

static struct str supported(bool yes)
{
    return yes ? S("supported") : S("unsupported");
}

static void fill_processor(struct call *call, const struct instance_type *type, struct ec2_instance_type_info *view)
{
    view->processor_info = NEW(call, struct ec2_processor_info);
    TEXTS(call, view->processor_info->supported_architectures, type->architectures);
    TEXTS(call, view->processor_info->supported_features, type->cpu_features);
    if (type->clock_mhz)
        view->processor_info->sustained_clock_speed_in_ghz = DOUBLE(type->clock_mhz / 1000.0);
    view->processor_info->manufacturer = catalogue_text(type->manufacturer);
    view->v_cpu_info = NEW(call, struct ec2_v_cpu_info);
    view->v_cpu_info->default_v_cpus = INT(type->vcpus);
    view->v_cpu_info->default_cores = INT(type->cores);
    view->v_cpu_info->default_threads_per_core = INT(type->threads_per_core);
    NUMBERS(call, view->v_cpu_info->valid_cores, type->valid_cores);
    NUMBERS(call, view->v_cpu_info->valid_threads_per_core, type->valid_threads_per_core);
    view->memory_info = NEW(call, struct ec2_memory_info);
    view->memory_info->size_in_mi_b = INT(type->memory_mib);
}

static void fill_storage(struct call *call, const struct instance_type *type, struct ec2_instance_type_info *view)
{
    struct ec2_instance_storage_info *out;

    view->instance_storage_supported = BOOL(type->instance_storage);
    if (!type->instance_storage)
        return;
    out = view->instance_storage_info = NEW(call, struct ec2_instance_storage_info);
    out->total_size_in_gb = INT(type->storage.total_gb);
    out->disks.items = NEW(call, struct ec2_disk_info);
    out->disks.count = 1;
    out->disks.items[0] = (struct ec2_disk_info){.size_in_gb = INT(type->storage.disk_gb),
                                                 .count = INT(type->storage.disks),
                                                 .type = catalogue_text(type->storage.type)};
    out->nvme_support = catalogue_text(type->storage.nvme);
    out->encryption_support = catalogue_text(type->storage.encryption);
}

static struct opt_double throughput(uint32_t scaled)
{
    return DOUBLE((double)scaled / INSTANCE_THROUGHPUT_SCALE);
}

static struct ec2_ebs_optimized_info *ebs_optimized(struct call *call, const struct instance_ebs *ebs)
{
    struct ec2_ebs_optimized_info *out;

    if (!ebs->max_mbps && !ebs->baseline_mbps)
        return NULL;
    out = NEW(call, struct ec2_ebs_optimized_info);
    out->baseline_bandwidth_in_mbps = INT(ebs->baseline_mbps);
    out->baseline_iops = INT(ebs->baseline_iops);
    out->baseline_throughput_in_m_bps = throughput(ebs->baseline_throughput);
    out->maximum_bandwidth_in_mbps = INT(ebs->max_mbps);
    out->maximum_iops = INT(ebs->max_iops);
    out->maximum_throughput_in_m_bps = throughput(ebs->max_throughput);
    return out;
}

static void fill_ebs_cards(struct call *call, const struct instance_type *type, struct ec2_ebs_info *out)
{
    if (!type->ebs.card_count)
        return;
    out->maximum_ebs_cards = INT(type->ebs.card_count);
    out->ebs_cards.items = arena_array(call->arena, struct ec2_ebs_card_info, type->ebs.card_count);
    out->ebs_cards.count = type->ebs.card_count;
    for (size_t i = 0; i < type->ebs.card_count; i++) {
        const struct instance_ebs_card *card = instance_ebs_card(type, i);
        out->ebs_cards.items[i] = (struct ec2_ebs_card_info){
            .ebs_card_index = INT(card->index),
            .baseline_bandwidth_in_mbps = INT(card->ebs.baseline_mbps),
            .baseline_iops = INT(card->ebs.baseline_iops),
            .baseline_throughput_in_m_bps = throughput(card->ebs.baseline_throughput),
            .maximum_bandwidth_in_mbps = INT(card->ebs.max_mbps),
            .maximum_iops = INT(card->ebs.max_iops),
            .maximum_throughput_in_m_bps = throughput(card->ebs.max_throughput)};
    }
}

static void fill_ebs(struct call *call, const struct instance_type *type, struct ec2_instance_type_info *view)
{
    struct ec2_ebs_info *out = view->ebs_info = NEW(call, struct ec2_ebs_info);

    out->ebs_optimized_support = catalogue_text(type->ebs.optimized);
    out->encryption_support = INSTANCE_EBS_ENCRYPTION;
    out->nvme_support = catalogue_text(type->ebs.nvme);
    out->maximum_ebs_attachments = or_absent(type->ebs.max_attachments);
    out->attachment_limit_type = catalogue_text(type->ebs.limit);
    out->ebs_optimized_info = ebs_optimized(call, &type->ebs.info);
    fill_ebs_cards(call, type, out);
}

static void fill_card(const struct instance_network_card *card, struct ec2_network_card_info *out)
{
    out->network_card_index = INT(card->index);
    out->network_performance = catalogue_text(card->performance);
    out->maximum_network_interfaces = INT(card->max_interfaces);
    if (card->additional_interfaces >= 0)
        out->additional_flexible_network_interfaces = INT(card->additional_interfaces);
    if (card->baseline_mbps)
        out->baseline_bandwidth_in_gbps = DOUBLE(card->baseline_mbps / 1000.0);
    if (card->peak_mbps)
        out->peak_bandwidth_in_gbps = DOUBLE(card->peak_mbps / 1000.0);
    out->default_ena_queue_count_per_interface = or_absent(card->default_ena_queues);
    out->maximum_ena_queue_count = or_absent(card->max_ena_queues);
    out->maximum_ena_queue_count_per_interface = or_absent(card->max_ena_queues_per_interface);
}

static void fill_network(struct call *call, const struct instance_type *type, struct ec2_instance_type_info *view)
{
    struct ec2_network_info *out = view->network_info = NEW(call, struct ec2_network_info);

    out->network_performance = catalogue_text(type->network.performance);
    out->maximum_network_interfaces = INT(type->network.max_interfaces);
    out->maximum_network_cards = INT(type->network.card_count);
    out->default_network_card_index = INT(INSTANCE_DEFAULT_NETWORK_CARD);
    out->network_cards.items = arena_array(call->arena, struct ec2_network_card_info, type->network.card_count);
    out->network_cards.count = type->network.card_count;
    for (size_t i = 0; i < type->network.card_count; i++)
        fill_card(instance_network_card(type, i), &out->network_cards.items[i]);
    out->ipv4_addresses_per_interface = INT(type->network.ipv4_per_interface);
    out->ipv6_addresses_per_interface = INT(type->network.ipv6_per_interface);
    out->ipv6_supported = BOOL(type->ipv6);
    out->ena_support = catalogue_text(type->network.ena);
    out->efa_supported = BOOL(type->efa);
    if (type->network.max_efa_interfaces) {
        out->efa_info = NEW(call, struct ec2_efa_info);
        out->efa_info->maximum_efa_interfaces = INT(type->network.max_efa_interfaces);
    }
    out->encryption_in_transit_supported = BOOL(type->encryption_in_transit);
    out->ena_srd_supported = BOOL(type->ena_srd);
    TEXTS(call, out->bandwidth_weightings, type->network.bandwidth_weightings);
    out->flexible_ena_queues_support = supported(type->flexible_ena_queues);
    if (type->network.tcp_established_timeout) {
        out->connection_tracking_configuration = NEW(call, struct ec2_default_connection_tracking_configuration);
        out->connection_tracking_configuration->default_tcp_established_timeout = INT(
            type->network.tcp_established_timeout);
        out->connection_tracking_configuration->default_udp_timeout = INT(INSTANCE_UDP_TIMEOUT);
        out->connection_tracking_configuration->default_udp_stream_timeout = INT(INSTANCE_UDP_STREAM_TIMEOUT);
    }
    out->secondary_network_supported = BOOL(type->secondary_network);
    if (type->network.ipv4_per_secondary >= 0)
        out->ipv4_addresses_per_secondary_interface = INT(type->network.ipv4_per_secondary);
}

static void add_gpu(struct call *call, const struct instance_device *device, struct ec2_instance_type_info *view)
{
    struct ec2_gpu_device_info *gpu = NEW(call, struct ec2_gpu_device_info);

    gpu->name = catalogue_text(device->name);
    gpu->manufacturer = catalogue_text(device->manufacturer);
    gpu->count = INT(device->count);
    gpu->logical_gpu_count = or_absent(device->logical_count);
    if (device->partition_permille)
        gpu->gpu_partition_size = DOUBLE(device->partition_permille / 1000.0);
    TEXTS(call, gpu->workloads, device->workloads);
    gpu->memory_info = NEW(call, struct ec2_gpu_device_memory_info);
    gpu->memory_info->size_in_mi_b = INT(device->memory_mib);
    view->gpu_info = NEW(call, struct ec2_gpu_info);
    view->gpu_info->gpus.items = gpu;
    view->gpu_info->gpus.count = 1;
    view->gpu_info->total_gpu_memory_in_mi_b = INT(device->total_memory_mib);
}

static void add_inference(struct call *call, const struct instance_device *device, struct ec2_instance_type_info *view)
{
    struct ec2_inference_device_info *item = NEW(call, struct ec2_inference_device_info);

    item->name = catalogue_text(device->name);
    item->manufacturer = catalogue_text(device->manufacturer);
    item->count = INT(device->count);
    if (device->memory_mib) {
        item->memory_info = NEW(call, struct ec2_inference_device_memory_info);
        item->memory_info->size_in_mi_b = INT(device->memory_mib);
    }
    view->inference_accelerator_info = NEW(call, struct ec2_inference_accelerator_info);
    view->inference_accelerator_info->accelerators.items = item;
    view->inference_accelerator_info->accelerators.count = 1;
    view->inference_accelerator_info->total_inference_memory_in_mi_b = or_absent(device->total_memory_mib);
}

static void add_fpga(struct call *call, const struct instance_device *device, struct ec2_instance_type_info *view)
{
    struct ec2_fpga_device_info *item = NEW(call, struct ec2_fpga_device_info);

    item->name = catalogue_text(device->name);
    item->manufacturer = catalogue_text(device->manufacturer);
    item->count = INT(device->count);
    item->memory_info = NEW(call, struct ec2_fpga_device_memory_info);
    item->memory_info->size_in_mi_b = INT(device->memory_mib);
    view->fpga_info = NEW(call, struct ec2_fpga_info);
    view->fpga_info->fpgas.items = item;
    view->fpga_info->fpgas.count = 1;
    view->fpga_info->total_fpga_memory_in_mi_b = INT(device->total_memory_mib);
}

static void add_neuron(struct call *call, const struct instance_device *device, struct ec2_instance_type_info *view)
{
    struct ec2_neuron_device_info *item = NEW(call, struct ec2_neuron_device_info);

    item->name = catalogue_text(device->name);
    item->count = INT(device->count);
    item->core_info = NEW(call, struct ec2_neuron_device_core_info);
    item->core_info->count = INT(device->cores);
    item->core_info->version = INT(device->core_version);
    item->memory_info = NEW(call, struct ec2_neuron_device_memory_info);
    item->memory_info->size_in_mi_b = INT(device->memory_mib);
    view->neuron_info = NEW(call, struct ec2_neuron_info);
    view->neuron_info->neuron_devices.items = item;
    view->neuron_info->neuron_devices.count = 1;
    view->neuron_info->total_neuron_device_memory_in_mi_b = INT(device->total_memory_mib);
}

static void add_media(struct call *call, const struct instance_device *device, struct ec2_instance_type_info *view)
{
    struct ec2_media_device_info *item = NEW(call, struct ec2_media_device_info);

    item->name = catalogue_text(device->name);
    item->manufacturer = catalogue_text(device->manufacturer);
    item->count = INT(device->count);
    item->memory_info = NEW(call, struct ec2_media_device_memory_info);
    item->memory_info->size_in_mi_b = INT(device->memory_mib);
    view->media_accelerator_info = NEW(call, struct ec2_media_accelerator_info);
    view->media_accelerator_info->accelerators.items = item;
    view->media_accelerator_info->accelerators.count = 1;
    view->media_accelerator_info->total_media_memory_in_mi_b = INT(device->total_memory_mib);
}

/* A type has at most one kind of device of each sort. */
static void fill_devices(struct call *call, const struct instance_type *type, struct ec2_instance_type_info *view)
{
    static void (*const add[])(struct call *, const struct instance_device *, struct ec2_instance_type_info *) = {
        [INSTANCE_GPU] = add_gpu,       [INSTANCE_INFERENCE] = add_inference, [INSTANCE_FPGA] = add_fpga,
        [INSTANCE_NEURON] = add_neuron, [INSTANCE_MEDIA] = add_media,
    };

    for (size_t i = 0; i < type->device_count; i++)
        add[instance_device(type, i)->kind](call, instance_device(type, i), view);
}

static void fill(struct call *call, const struct instance_type *type, struct ec2_instance_type_info *view)
{
    view->instance_type = catalogue_text(type->name);
    view->current_generation = BOOL(type->current_generation);
    view->free_tier_eligible = BOOL(type->free_tier);
    TEXTS(call, view->supported_usage_classes, type->usage_classes);
    TEXTS(call, view->supported_root_device_types, type->root_device_types);
    TEXTS(call, view->supported_virtualization_types, type->virtualization_types);
    TEXTS(call, view->supported_boot_modes, type->boot_modes);
    view->bare_metal = BOOL(type->bare_metal);
    view->hypervisor = catalogue_text(type->hypervisor);
    fill_processor(call, type, view);
    fill_storage(call, type, view);
    fill_ebs(call, type, view);
    fill_network(call, type, view);
    fill_devices(call, type, view);
    view->placement_group_info = NEW(call, struct ec2_placement_group_info);
    TEXTS(call, view->placement_group_info->supported_strategies, type->placement_strategies);
    view->hibernation_supported = BOOL(type->hibernation);
    view->burstable_performance_supported = BOOL(type->burstable);
    view->dedicated_hosts_supported = BOOL(type->dedicated_hosts);
    view->auto_recovery_supported = BOOL(type->auto_recovery);
    view->nitro_enclaves_support = supported(type->nitro_enclaves);
    view->nitro_tpm_support = supported(type->nitro_tpm);
    if (type->nitro_tpm) {
        view->nitro_tpm_info = NEW(call, struct ec2_nitro_tpm_info);
        TEXTS(call, view->nitro_tpm_info->supported_versions, type->tpm_versions);
    }
    view->phc_support = supported(type->phc);
    view->reboot_migration_support = supported(type->reboot_migration);
}

bool instance_type_source(struct call *call, uint64_t *position, struct ec2_instance_type_info *view)
{
    const struct region *region = region_find(call->region);
    const struct ec2_describe_instance_types_request *in = call->in;

    while (*position < instance_type_count()) {
        const struct instance_type *type = instance_type_at((size_t)(*position)++);
        bool here = instance_type_in_region(type, region);
        if (!here && !in->include_unsupported_in_region.value)
            continue;
        fill(call, type, view);
        if (in->include_unsupported_in_region.set)
            view->supported_in_region = BOOL(here);
        return true;
    }
    return false;
}

bool instance_type_source_by_id(struct call *call, struct str id, struct ec2_instance_type_info *view)
{
    const struct instance_type *type = instance_type_find(id);

    if (!type || !instance_type_in_region(type, region_find(call->region)))
        return false;
    fill(call, type, view);
    return true;
}

/* Places of one kind in the caller's region: the region itself, or its zones by name or id. */
static size_t place_count(const struct region *region, bool zones)
{
    return zones ? region->zone_count : 1;
}

/* Position: place by place, type by type. */
bool offering_source(struct call *call, uint64_t *position, struct ec2_instance_type_offering *view)
{
    const struct ec2_describe_instance_type_offerings_request *in = call->in;
    const struct region *region = region_find(call->region);
    struct str kind = in->location_type.p ? in->location_type : S("region");
    bool zones = str_starts(kind, S("availability-zone")), by_id = str_equal(kind, S("availability-zone-id"));
    uint64_t end = zones || str_equal(kind, S("region")) ? place_count(region, zones) * instance_type_count() : 0;

    while (*position < end) {
        const struct zone *zone = zones ? region_zone(region, (size_t)(*position / instance_type_count())) : NULL;
        const struct instance_type *type = instance_type_at((size_t)(*position % instance_type_count()));

        ++*position;
        if (zones ? !instance_type_in_zone(type, zone) : !instance_type_in_region(type, region))
            continue;
        view->instance_type = catalogue_text(type->name);
        view->location_type = kind;
        view->location = !zones  ? catalogue_text(region->name)
                         : by_id ? catalogue_text(zone->id)
                                 : catalogue_text(zone->name);
        return true;
    }
    return false;
}
