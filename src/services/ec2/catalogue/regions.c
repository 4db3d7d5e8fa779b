#include "services/ec2/catalogue/regions.h"

#include "services/ec2/catalogue/tables.h"

size_t region_count(void)
{
    return catalogue_region_count;
}

const struct region *region_at(size_t i)
{
    return &catalogue_regions[i];
}

const struct region *region_find(struct str name)
{
    for (size_t i = 0; i < catalogue_region_count; i++)
        if (str_equal(catalogue_text(catalogue_regions[i].name), name))
            return &catalogue_regions[i];
    return NULL;
}

struct str region_opt_in_status(const struct region *region)
{
    return region->opt_in ? S("opted-in") : S("opt-in-not-required");
}

const struct zone *region_zone(const struct region *region, size_t i)
{
    return &catalogue_zones[region->first_zone + i];
}

const struct zone *zone_find(const struct region *region, struct str name)
{
    for (size_t i = 0; i < region->zone_count; i++)
        if (str_equal(catalogue_text(region_zone(region, i)->name), name))
            return region_zone(region, i);
    return NULL;
}

const struct zone *zone_find_id(const struct region *region, struct str id)
{
    for (size_t i = 0; i < region->zone_count; i++)
        if (str_equal(catalogue_text(region_zone(region, i)->id), id))
            return region_zone(region, i);
    return NULL;
}

const struct region *zone_region(const struct zone *zone)
{
    return &catalogue_regions[zone->region];
}
