/* What tools/gen-catalogue.py writes from models/. For the readers in this folder only. */
#pragma once

#include "services/ec2/catalogue/images.h"
#include "services/ec2/catalogue/regions.h"
#include "services/ec2/catalogue/types.h"

extern const char catalogue_texts[]; /* each: a byte of length, the text, a NUL */
extern const uint32_t catalogue_numbers[];

extern const struct region catalogue_regions[]; /* by name */
extern const size_t catalogue_region_count;
extern const struct zone catalogue_zones[]; /* by region, then by name */
extern const size_t catalogue_zone_count;

extern const struct instance_type catalogue_types[]; /* by name */
extern const size_t catalogue_type_count;
extern const struct instance_network_card catalogue_network_cards[];
extern const struct instance_ebs_card catalogue_ebs_cards[];
extern const struct instance_device catalogue_devices[];

/* Which types a zone offers: a row of `catalogue_offer_bytes` for each zone, a bit for each type. */
extern const uint8_t catalogue_offers[];
extern const size_t catalogue_offer_bytes;

/*
 * The first `catalogue_regional_count` images have an id in each region: a row of them for each region, in the order
 * of images. The others have one id everywhere, in catalogue_fixed_ids.
 */
extern const struct image catalogue_images[];
extern const size_t catalogue_image_count, catalogue_regional_count;
extern const uint64_t catalogue_regional_ids[], catalogue_fixed_ids[];

struct catalogue_alias {
    uint32_t name; /* text */
    uint16_t image;
};
extern const struct catalogue_alias catalogue_aliases[]; /* by name */
extern const size_t catalogue_alias_count;
