/*
 * The public regions and their Availability Zones. Which zone id stands behind a zone's name differs between AWS's
 * accounts; here it is the same in all. Records live for ever. Fields marked text: catalogue_text().
 */
#pragma once

#include "services/ec2/catalogue/text.h"

struct region {
    uint32_t name;            /* text: us-east-1 */
    uint32_t long_name;       /* text: US East (N. Virginia) */
    uint32_t endpoint;        /* text: ec2.us-east-1.amazonaws.com */
    uint32_t partition;       /* text: aws, aws-cn, aws-us-gov */
    uint32_t group;           /* text: us-east-1-zg-1, the group of its zones */
    uint32_t group_long_name; /* text: US East (N. Virginia) 1 */
    uint16_t first_zone;
    uint8_t zone_count;
    bool opt_in; /* an account has to enable it first; enabled for every account here */
};

/* An Availability Zone: always available, needing no opt-in; its network border group is its region. */
struct zone {
    uint32_t name; /* text: us-east-1a */
    uint32_t id;   /* text: use1-az6 */
    uint16_t region;
};

size_t region_count(void);
const struct region *region_at(size_t i);          /* by name; i < region_count() */
const struct region *region_find(struct str name); /* NULL when there is none */

/* What DescribeRegions says: opt-in-not-required or opted-in. */
struct str region_opt_in_status(const struct region *region);

const struct zone *region_zone(const struct region *region, size_t i);       /* by name; i < region->zone_count */
const struct zone *zone_find(const struct region *region, struct str name);  /* us-east-1a; NULL when not of it */
const struct zone *zone_find_id(const struct region *region, struct str id); /* use1-az6 */
const struct region *zone_region(const struct zone *zone);
