#include "services/ec2/catalogue/images.h"
#include "services/ec2/catalogue/types.h"

#include "base/mem.h"
#include "base/time.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void assert_text(uint32_t place, const char *expected)
{
    struct str text = catalogue_text(place);

    assert_non_null(text.p);
    assert_string_equal(text.p, expected);
    assert_int_equal(text.len, strlen(expected));
}

static const struct region *region(const char *name)
{
    const struct region *found = region_find(str_of(name));

    assert_non_null(found);
    return found;
}

/* --- regions ------------------------------------------------------------------------------------------------- */

static void regions_are_in_order_and_found_by_name(void **state)
{
    assert_int_equal(region_count(), 38);
    for (size_t i = 0; i < region_count(); i++) {
        struct str name = catalogue_text(region_at(i)->name);
        assert_ptr_equal(region_find(name), region_at(i));
        assert_true(i == 0 || str_compare(catalogue_text(region_at(i - 1)->name), name) < 0);
        assert_in_range(region_at(i)->zone_count, 2, 6);
    }
    assert_null(region_find(S("us-east-3")));
    assert_null(region_find(S("")));
}

static void us_east_1_has_six_zones(void **state)
{
    const struct region *us = region("us-east-1");

    assert_int_equal(us->zone_count, 6);
    assert_text(us->endpoint, "ec2.us-east-1.amazonaws.com");
    assert_text(us->group, "us-east-1-zg-1");
    assert_text(us->group_long_name, "US East (N. Virginia) 1");
    assert_text(zone_find(us, S("us-east-1a"))->id, "use1-az6");
    assert_ptr_equal(zone_find_id(us, S("use1-az3")), zone_find(us, S("us-east-1e")));
    assert_ptr_equal(zone_region(zone_find(us, S("us-east-1f"))), us);
    assert_null(zone_find(us, S("us-east-1g")));
    assert_null(zone_find(us, S("us-west-2a")));
}

static void only_the_newer_regions_need_an_opt_in(void **state)
{
    size_t opt_in = 0;

    for (size_t i = 0; i < region_count(); i++)
        opt_in += region_at(i)->opt_in;
    assert_int_equal(opt_in, 17);
    assert_true(str_equal(region_opt_in_status(region("eu-north-1")), S("opt-in-not-required")));
    assert_true(str_equal(region_opt_in_status(region("eu-south-1")), S("opted-in")));
    assert_true(str_equal(region_opt_in_status(region("cn-north-1")), S("opt-in-not-required")));
}

static void zone_ids_are_unique(void **state)
{
    for (size_t i = 0; i < region_count(); i++)
        for (size_t j = 0; j < region_at(i)->zone_count; j++) {
            const struct zone *zone = region_zone(region_at(i), j);
            size_t found = 0;
            for (size_t k = 0; k < region_count(); k++)
                found += zone_find_id(region_at(k), catalogue_text(zone->id)) != NULL;
            assert_int_equal(found, 1);
            assert_ptr_equal(zone_find_id(region_at(i), catalogue_text(zone->id)), zone);
        }
}

/* --- instance types ------------------------------------------------------------------------------------------ */

static const struct instance_type *type(const char *name)
{
    const struct instance_type *found = instance_type_find(str_of(name));

    assert_non_null(found);
    return found;
}

static void every_type_is_found_by_its_name(void **state)
{
    assert_int_equal(instance_type_count(), 1263);
    for (size_t i = 0; i < instance_type_count(); i++)
        assert_ptr_equal(instance_type_find(catalogue_text(instance_type_at(i)->name)), instance_type_at(i));
    assert_null(instance_type_find(S("t3.micr")));
    assert_null(instance_type_find(S("t3.microo")));
    assert_null(instance_type_find(S("")));
    assert_null(instance_type_find(S("zz")));
}

static void t3_micro_is_what_aws_sells(void **state)
{
    const struct instance_type *t3 = type("t3.micro");

    assert_int_equal(t3->vcpus, 2);
    assert_int_equal(t3->cores, 1);
    assert_int_equal(t3->threads_per_core, 2);
    assert_int_equal(t3->memory_mib, 1024);
    assert_int_equal(t3->clock_mhz, 2500);
    assert_int_equal(t3->network.max_interfaces, 2);
    assert_int_equal(t3->network.ipv4_per_interface, 2);
    assert_int_equal(t3->network.ipv6_per_interface, 2);
    assert_int_equal(t3->network.ipv4_per_secondary, -1);
    assert_text(t3->network.performance, "Up to 5 Gigabit");
    assert_text(t3->network.ena, "required");
    assert_int_equal(t3->network.card_count, 1);
    assert_int_equal(instance_network_card(t3, 0)->baseline_mbps, 64);
    assert_int_equal(instance_network_card(t3, 0)->peak_mbps, 5000);
    assert_int_equal(instance_network_card(t3, 0)->additional_interfaces, -1);
    assert_text(t3->hypervisor, "nitro");
    assert_text(t3->ebs.optimized, "default");
    assert_int_equal(t3->ebs.info.baseline_mbps, 87);
    assert_int_equal(t3->ebs.info.baseline_throughput, 108750);
    assert_int_equal(t3->ebs.info.max_iops, 11800);
    assert_true(t3->burstable && t3->free_tier && t3->current_generation && t3->hibernation && t3->nitro_tpm);
    assert_false(t3->bare_metal || t3->instance_storage || t3->nitro_enclaves || t3->efa);
    assert_true(catalogue_has(t3->architectures, S("x86_64")));
    assert_false(catalogue_has(t3->architectures, S("arm64")));
    assert_true(catalogue_has(t3->usage_classes, S("spot")));
    assert_false(catalogue_has(t3->placement_strategies, S("cluster")));
    assert_true(catalogue_has_number(t3->valid_cores, 1) && !catalogue_has_number(t3->valid_cores, 2));
    assert_true(catalogue_has_number(t3->valid_threads_per_core, 2));
    assert_int_equal(t3->device_count, 0);
}

static void lists_of_cores_come_out_of_their_ranges(void **state)
{
    const struct instance_type *m5 = type("m5.24xlarge");

    assert_int_equal(m5->valid_cores.count, 23);
    for (size_t i = 0; i < m5->valid_cores.count; i++)
        assert_int_equal(catalogue_number(m5->valid_cores, i), 4 + 2 * i);
    assert_int_equal(type("m5.metal")->valid_cores.count, 0);
}

static void a_bare_metal_type_has_no_hypervisor(void **state)
{
    assert_true(type("m5.metal")->bare_metal);
    assert_null(catalogue_text(type("m5.metal")->hypervisor).p);
    assert_text(type("t2.micro")->hypervisor, "xen");
}

static void devices_and_disks_are_told(void **state)
{
    const struct instance_type *p4d = type("p4d.24xlarge");

    assert_int_equal(p4d->device_count, 1);
    assert_int_equal(instance_device(p4d, 0)->kind, INSTANCE_GPU);
    assert_int_equal(instance_device(p4d, 0)->count, 8);
    assert_text(instance_device(p4d, 0)->name, "A100");
    assert_int_equal(p4d->network.card_count, 4);
    assert_int_equal(p4d->storage.disks, 8);
    assert_int_equal(p4d->storage.disk_gb, 1000);
    assert_text(p4d->storage.type, "ssd");

    const struct instance_type *inf2 = type("inf2.xlarge");
    assert_int_equal(inf2->device_count, 2);
    assert_int_equal(instance_device(inf2, 0)->kind, INSTANCE_INFERENCE);
    assert_int_equal(instance_device(inf2, 1)->kind, INSTANCE_NEURON);
    assert_int_equal(instance_device(inf2, 1)->cores, 2);
}

static void us_east_1e_offers_less_than_its_region(void **state)
{
    const struct region *us = region("us-east-1");
    const struct zone *a = zone_find(us, S("us-east-1a")), *e = zone_find(us, S("us-east-1e"));
    size_t in_region = 0, in_a = 0, in_e = 0;

    for (size_t i = 0; i < instance_type_count(); i++) {
        in_region += instance_type_in_region(instance_type_at(i), us);
        in_a += instance_type_in_zone(instance_type_at(i), a);
        in_e += instance_type_in_zone(instance_type_at(i), e);
    }
    assert_int_equal(in_region, 1243);
    assert_true(in_e < in_a && in_a < in_region);
    assert_true(instance_type_in_zone(type("t3.micro"), a));
    assert_false(instance_type_in_zone(type("t3.micro"), e));
    assert_true(instance_type_in_zone(type("t2.micro"), e));
}

static void every_zone_offers_something(void **state)
{
    for (size_t i = 0; i < region_count(); i++)
        for (size_t j = 0; j < region_at(i)->zone_count; j++) {
            size_t offered = 0;
            for (size_t k = 0; k < instance_type_count(); k++)
                offered += instance_type_in_zone(instance_type_at(k), region_zone(region_at(i), j));
            assert_true(offered > 50);
        }
}

/* --- images -------------------------------------------------------------------------------------------------- */

static void every_image_id_is_well_formed_unique_and_found(void **state)
{
    for (size_t r = 0; r < region_count(); r++)
        for (size_t i = 0; i < image_count(); i++) {
            char out[IMAGE_ID_SIZE];
            struct str id = image_id(image_at(i), region_at(r), out);
            assert_true(str_starts(id, S("ami-")) && (id.len == 12 || id.len == 21));
            assert_int_equal(strspn(id.p + 4, "0123456789abcdef"), id.len - 4);
            assert_ptr_equal(image_find(region_at(r), id), image_at(i)); /* the first that has it, so the only one */
        }
}

static void an_id_is_of_its_region_only(void **state)
{
    char out[IMAGE_ID_SIZE], snapshot[IMAGE_ID_SIZE], other[IMAGE_ID_SIZE];
    struct str id = image_id(image_at(0), region("us-east-1"), out);

    assert_true(str_equal(id, S("ami-0ed094fb1304fd857"))); /* AWS's own */
    assert_null(image_find(region("us-west-2"), id));
    image_snapshot_id(image_at(0), region("us-east-1"), snapshot);
    image_snapshot_id(image_at(0), region("us-west-2"), other);
    assert_int_equal(strlen(snapshot), strlen("snap-") + 17);
    assert_string_not_equal(snapshot, other);
}

static void the_old_short_ids_are_everywhere(void **state)
{
    const struct image *image = image_find(region("eu-west-1"), S("ami-03cf127a"));

    assert_non_null(image);
    assert_text(image->platform, "windows");
    assert_ptr_equal(image_find(region("us-gov-west-1"), S("ami-03cf127a")), image);
    assert_ptr_equal(image_find(region("us-east-1"), S("ami-04681a1dbd79675a5")),
                     image_find(region("sa-east-1"), S("ami-04681a1dbd79675a5")));
}

static void a_malformed_id_finds_nothing(void **state)
{
    static const char *ids[] = {"",
                                "ami-",
                                "ami-03cf127",
                                "ami-03CF127A",
                                "ami-003cf127a",
                                "ami-0000000003cf127a",
                                "ami-0000000000003cf127a",
                                "ami-00000000003cf127a",
                                "snap-03cf127a",
                                "ami-1ed094fb1304fd857"};

    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        assert_null(image_find(region("us-east-1"), str_of(ids[i])));
}

/* The newest image that a guide's filters find, as a client with most_recent picks it; several of one time: none. */
static const struct image *most_recent(const char *owner, const char *pattern, const char *architecture)
{
    const struct image *newest = NULL;
    bool tie = false;

    for (size_t i = 0; i < image_count(); i++) {
        const struct image *image = image_at(i);
        bool owned = str_equal(catalogue_text(image->owner_id), str_of(owner)) ||
                     str_equal(catalogue_text(image->owner_alias), str_of(owner));
        if (!owned || !str_matches(catalogue_text(image->name), str_of(pattern)) ||
            !str_equal(catalogue_text(image->architecture), str_of(architecture)))
            continue;
        tie = newest && image->created == newest->created;
        if (!newest || image->created > newest->created)
            newest = image;
    }
    return tie ? NULL : newest;
}

static void the_filters_of_the_guides_find_the_newest_release(void **state)
{
    static const struct {
        const char *owner, *pattern, *architecture, *newest;
    } rows[] = {
        {"amazon", "al2023-ami-2023.*-x86_64", "x86_64", "al2023-ami-2023.11.20260427.1-kernel-6.1-x86_64"},
        {"amazon", "al2023-ami-*-x86_64", "x86_64", "al2023-ami-2023.11.20260427.1-kernel-6.1-x86_64"},
        {"amazon", "al2023-ami-*", "arm64", "al2023-ami-2023.11.20260427.1-kernel-6.1-arm64"},
        {"137112412989", "al2023-ami-2023*-kernel-6.1-arm64", "arm64",
         "al2023-ami-2023.11.20260427.1-kernel-6.1-arm64"},
        {"amazon", "al2023-ami-2023.9*-x86_64", "x86_64", "al2023-ami-2023.9.20251208.0-kernel-6.1-x86_64"},
        {"amazon", "al2023-ami-minimal-*", "x86_64", "al2023-ami-minimal-2023.11.20260427.1-kernel-6.1-x86_64"},
        {"amazon", "al2023-ami-ecs-hvm-*", "x86_64", "al2023-ami-ecs-hvm-2023.0.20260226-kernel-6.1-x86_64"},
        {"amazon", "amzn2-ami-hvm-*-x86_64-gp2", "x86_64", "amzn2-ami-hvm-2.0.20260427.1-x86_64-gp2"},
        {"amazon", "amzn2-ami-hvm-*-x86_64-ebs", "x86_64", "amzn2-ami-hvm-2.0.20260427.1-x86_64-ebs"},
        {"amazon", "amzn2-ami-hvm-2.0.????????.?-arm64-gp2", "arm64", "amzn2-ami-hvm-2.0.20260427.1-arm64-gp2"},
        {"amazon", "amzn2-ami-kernel-5.10-hvm-*", "x86_64", "amzn2-ami-kernel-5.10-hvm-2.0.20260427.1-x86_64-gp2"},
        {"amazon", "amzn2-ami-ecs-hvm-*-x86_64-ebs", "x86_64", "amzn2-ami-ecs-hvm-2.0.20260226-x86_64-ebs"},
        {"amazon", "amzn-ami-hvm-*-gp2", "x86_64", "amzn-ami-hvm-2018.03.0.20231218.0-x86_64-gp2"},
        {"602401143452", "amazon-eks-node-al2023-x86_64-standard-1.33-v*", "x86_64",
         "amazon-eks-node-al2023-x86_64-standard-1.33-v20250519"},
        {"099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*", "x86_64",
         "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20251212"},
        {"099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-*", "arm64",
         "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-20251212"},
        {"099720109477", "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*", "x86_64",
         "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20251212"},
        {"099720109477", "ubuntu/images/*/ubuntu-focal-20.04-amd64-server-*", "x86_64",
         "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-20250624"},
        {"099720109477", "ubuntu-minimal/images/hvm-ssd-gp3/ubuntu-noble-*", "x86_64",
         "ubuntu-minimal/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-minimal-20251204"},
        {"136693071363", "debian-13-*", "x86_64", "debian-13-amd64-20251117-2299"},
        {"136693071363", "debian-12-amd64-*", "x86_64", "debian-12-amd64-20251112-2294"},
        {"136693071363", "debian-12-arm64-*", "arm64", "debian-12-arm64-20251112-2294"},
        {"136693071363", "debian-11-amd64-*", "x86_64", "debian-11-amd64-20241202-1949"},
        {"309956199498", "RHEL-9.4*_HVM-*-x86_64-*", "x86_64", "RHEL-9.4.0_HVM-20241210-x86_64-0-Hourly2-GP3"},
        {"013907871322", "suse-sles-15-sp6-v*-hvm-ssd-x86_64", "x86_64", "suse-sles-15-sp6-v20251016-hvm-ssd-x86_64"},
        {"792107900819", "Rocky-9-EC2-Base-9.*.x86_64", "x86_64", "Rocky-9-EC2-Base-9.7-20251123.2.x86_64"},
        {"764336703387", "AlmaLinux OS 9.* x86_64", "x86_64", "AlmaLinux OS 9.7.20251118 x86_64"},
        {"amazon", "Windows_Server-2022-English-Full-Base-*", "x86_64",
         "Windows_Server-2022-English-Full-Base-2026.07.15"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct image *image = most_recent(rows[i].owner, rows[i].pattern, rows[i].architecture);
        assert_non_null(image);
        assert_text(image->name, rows[i].newest);
    }
}

static void an_image_tells_its_root_and_its_dates(void **state)
{
    const struct image *noble = most_recent("099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-*", "x86_64");
    char out[TIME_ISO_SIZE];
    AUTO_ARENA arena = ARENA_INIT;

    assert_non_null(noble);
    assert_text(noble->root_device, "/dev/sda1");
    assert_text(noble->volume_type, "gp3");
    assert_int_equal(noble->volume_gib, 8);
    assert_int_equal(noble->ephemeral, 2);
    assert_text(noble->boot_mode, "uefi-preferred");
    assert_text(noble->description, "Canonical, Ubuntu, 24.04, amd64 noble image");
    assert_null(catalogue_text(noble->owner_alias).p);
    assert_string_equal(time_iso(noble->created * INT64_C(1000), out).p, "2025-12-12T00:00:00.000Z");
    assert_int_equal(noble->deprecated - noble->created, 2 * 365 * 86400);
    assert_true(str_starts(image_location(noble, &arena), S("099720109477/ubuntu/images/")));
    assert_true(str_starts(image_location(image_at(0), &arena), S("amazon/al2023-ami-")));
    assert_text(image_at(0)->imds_support, "v2.0");
    assert_text(image_at(0)->root_device, "/dev/xvda");
}

static void public_parameters_name_the_newest_image(void **state)
{
    static const struct {
        const char *parameter, *name;
    } rows[] = {
        {"/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
         "al2023-ami-2023.11.20260427.1-kernel-6.1-x86_64"},
        {"/aws/service/ami-amazon-linux-latest/amzn2-ami-hvm-x86_64-gp2", "amzn2-ami-hvm-2.0.20260427.1-x86_64-gp2"},
        {"/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
         "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20251212"},
        {"/aws/service/debian/release/12/latest/arm64", "debian-12-arm64-20251112-2294"},
        {"/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id",
         "al2023-ami-ecs-hvm-2023.0.20260226-kernel-6.1-arm64"},
        {"/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id",
         "al2023-ami-ecs-hvm-2023.0.20260226-kernel-6.1-x86_64"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct image *image = image_of_parameter(str_of(rows[i].parameter));
        assert_non_null(image);
        assert_text(image->name, rows[i].name);
    }
    assert_null(image_of_parameter(S("/aws/service/ami-amazon-linux-latest/")));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_are_in_order_and_found_by_name),
        cmocka_unit_test(us_east_1_has_six_zones),
        cmocka_unit_test(only_the_newer_regions_need_an_opt_in),
        cmocka_unit_test(zone_ids_are_unique),
        cmocka_unit_test(every_type_is_found_by_its_name),
        cmocka_unit_test(t3_micro_is_what_aws_sells),
        cmocka_unit_test(lists_of_cores_come_out_of_their_ranges),
        cmocka_unit_test(a_bare_metal_type_has_no_hypervisor),
        cmocka_unit_test(devices_and_disks_are_told),
        cmocka_unit_test(us_east_1e_offers_less_than_its_region),
        cmocka_unit_test(every_zone_offers_something),
        cmocka_unit_test(every_image_id_is_well_formed_unique_and_found),
        cmocka_unit_test(an_id_is_of_its_region_only),
        cmocka_unit_test(the_old_short_ids_are_everywhere),
        cmocka_unit_test(a_malformed_id_finds_nothing),
        cmocka_unit_test(the_filters_of_the_guides_find_the_newest_release),
        cmocka_unit_test(an_image_tells_its_root_and_its_dates),
        cmocka_unit_test(public_parameters_name_the_newest_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
