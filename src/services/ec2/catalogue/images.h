/*
 * The usual public images. An image is one record; its id differs from region to region, so a look-up names the
 * region. Records live for ever. Fields marked text: catalogue_text(), absent where AWS sends no such member.
 *
 * All are public, available machine images on the xen "hypervisor" (AWS says so of nitro's too), with ENA and simple
 * SR-IOV where hvm. An EBS root is unencrypted and deleted on termination.
 */
#pragma once

#include "base/arena.h"
#include "services/ec2/catalogue/regions.h"

struct image {
    uint32_t name, description;                 /* texts */
    uint32_t owner_id;                          /* text: 137112412989 */
    uint32_t owner_alias;                       /* text: amazon, or absent */
    uint32_t architecture;                      /* text: x86_64, arm64 */
    uint32_t virtualization;                    /* text: hvm, paravirtual */
    uint32_t platform;                          /* text: windows, or absent */
    uint32_t platform_details, usage_operation; /* texts: Linux/UNIX, RunInstances */
    uint32_t boot_mode;                         /* text: uefi-preferred, uefi; absent: the type's default */
    uint32_t imds_support;                      /* text: v2.0, or absent */
    uint32_t root_device_type;                  /* text: ebs, instance-store */
    uint32_t root_device;                       /* text: /dev/xvda */
    uint32_t volume_type;                       /* text: gp2, gp3, standard */
    uint32_t created;                           /* seconds since 1970 */
    uint32_t deprecated; /* seconds since 1970; 0: never. Two years on: never a reason to hide it here */
    uint16_t volume_gib;
    uint8_t ephemeral; /* how many instance store devices it maps: ephemeral0 on /dev/sdb, ephemeral1 on /dev/sdc … */
    bool short_id : 1; /* its id has eight digits: ami-03cf127a */
};

enum { IMAGE_ID_SIZE = 24 };

size_t image_count(void);
const struct image *image_at(size_t i); /* by family, newest release first; i < image_count() */

/* NULL when no image of that region has the id, malformed ones included. */
const struct image *image_find(const struct region *region, struct str id);
struct str image_id(const struct image *image, const struct region *region, char out[IMAGE_ID_SIZE]);
struct str image_snapshot_id(const struct image *image, const struct region *region, char out[IMAGE_ID_SIZE]);

/* amazon/NAME, or the owner's id in place of amazon. */
struct str image_location(const struct image *image, struct arena *arena);

/*
 * The image that a public parameter of Systems Manager names, for ImageId=resolve:ssm:…: the newest of its family.
 * NULL when there is none. Source: EC2 user guide, "Reference the latest AMIs using Systems Manager public parameters".
 */
const struct image *image_of_parameter(struct str parameter);
