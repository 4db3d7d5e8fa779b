/*
 * The instance types: every fact that DescribeInstanceTypes answers, and where each is offered. Records live for ever.
 *
 * Fields marked text: catalogue_text(); absent where AWS sends no such member. Lists are of texts unless they say
 * numbers. A number that AWS may leave out is 0 then, or what its comment says.
 */
#pragma once

#include "services/ec2/catalogue/regions.h"

/* The same for every type. */
#define INSTANCE_EBS_ENCRYPTION S("supported")
enum { INSTANCE_UDP_TIMEOUT = 30, INSTANCE_UDP_STREAM_TIMEOUT = 180, INSTANCE_DEFAULT_NETWORK_CARD = 0 }; /* seconds */

/* MB/s in ten-thousandths: AWS's figures have up to four decimals. */
enum { INSTANCE_THROUGHPUT_SCALE = 10000 };

struct instance_ebs {
    uint32_t baseline_mbps, baseline_iops, max_mbps, max_iops; /* all 0: no EbsOptimizedInfo */
    uint32_t baseline_throughput, max_throughput;              /* see INSTANCE_THROUGHPUT_SCALE */
};

struct instance_ebs_card {
    struct instance_ebs ebs;
    uint8_t index;
};

struct instance_network_card {
    uint32_t performance; /* text: Up to 5 Gigabit */
    uint32_t baseline_mbps, peak_mbps;
    uint16_t default_ena_queues, max_ena_queues, max_ena_queues_per_interface; /* the last two 0: not said */
    int8_t additional_interfaces;                                              /* flexible ones; -1: not said */
    uint8_t index, max_interfaces;
};

enum instance_device_kind {
    INSTANCE_GPU,
    INSTANCE_INFERENCE,
    INSTANCE_FPGA,
    INSTANCE_NEURON,
    INSTANCE_MEDIA,
};

struct instance_device {
    enum instance_device_kind kind;
    uint32_t manufacturer, name;  /* texts; a neuron device has no manufacturer */
    uint32_t memory_mib;          /* of one */
    uint32_t total_memory_mib;    /* of all of this kind */
    uint16_t count;               /* 0: a part of a GPU */
    uint16_t logical_count;       /* GPU */
    uint16_t partition_permille;  /* GPU: 125 is an eighth of one */
    uint16_t cores, core_version; /* neuron */
    struct catalogue_list workloads;
};

struct instance_type {
    uint32_t memory_mib;
    uint16_t name;                    /* text */
    uint16_t hypervisor;              /* text: nitro, xen; absent for bare metal */
    uint16_t manufacturer;            /* text: of the processor */
    uint16_t vcpus, cores, clock_mhz; /* defaults; clock 0: not said */
    uint8_t threads_per_core;

    bool current_generation : 1, free_tier : 1, bare_metal : 1, burstable : 1, dedicated_hosts : 1, hibernation : 1,
        auto_recovery : 1, instance_storage : 1, nitro_enclaves : 1, nitro_tpm : 1, phc : 1, reboot_migration : 1,
        ipv6 : 1, efa : 1, ena_srd : 1, encryption_in_transit : 1, flexible_ena_queues : 1, secondary_network : 1;

    struct catalogue_list valid_cores, valid_threads_per_core; /* numbers; empty: CPU options cannot be chosen */
    struct catalogue_list architectures, cpu_features, usage_classes, root_device_types, virtualization_types,
        boot_modes, placement_strategies, tpm_versions;

    struct {
        uint32_t tcp_established_timeout; /* seconds */
        uint16_t performance;             /* text: Up to 5 Gigabit */
        uint16_t ena;                     /* text: unsupported, supported, required */
        uint16_t max_interfaces, ipv4_per_interface, ipv6_per_interface;
        uint16_t max_efa_interfaces; /* 0: no EFA */
        int16_t ipv4_per_secondary;  /* -1: not said */
        uint16_t first_card, card_count;
        struct catalogue_list bandwidth_weightings;
    } network;

    struct {
        uint16_t optimized; /* text: unsupported, supported, default */
        uint16_t nvme;      /* text: unsupported, supported, required */
        uint16_t limit;     /* text: shared, dedicated */
        uint16_t max_attachments;
        uint16_t first_card, card_count;
        struct instance_ebs info;
    } ebs;

    struct { /* only where instance_storage */
        uint32_t disk_gb, total_gb;
        uint16_t type, nvme, encryption; /* texts: hdd, ssd; as above */
        uint16_t disks;
    } storage;

    uint16_t first_device, device_count;
};

size_t instance_type_count(void);
const struct instance_type *instance_type_at(size_t i);          /* by name; i < instance_type_count() */
const struct instance_type *instance_type_find(struct str name); /* NULL when AWS has no such type */

const struct instance_network_card *instance_network_card(const struct instance_type *type, size_t i);
const struct instance_ebs_card *instance_ebs_card(const struct instance_type *type, size_t i);
const struct instance_device *instance_device(const struct instance_type *type, size_t i);

/* Whether it can be launched there: DescribeInstanceTypeOfferings. A region's offer is its zones' together. */
bool instance_type_in_zone(const struct instance_type *type, const struct zone *zone);
bool instance_type_in_region(const struct instance_type *type, const struct region *region);
