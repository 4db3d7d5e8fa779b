#include "services/ec2/catalogue/types.h"

#include "services/ec2/catalogue/tables.h"

size_t instance_type_count(void)
{
    return catalogue_type_count;
}

const struct instance_type *instance_type_at(size_t i)
{
    return &catalogue_types[i];
}

const struct instance_type *instance_type_find(struct str name)
{
    size_t low = 0, high = catalogue_type_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_compare(name, catalogue_text(catalogue_types[middle].name));
        if (order == 0)
            return &catalogue_types[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct instance_network_card *instance_network_card(const struct instance_type *type, size_t i)
{
    return &catalogue_network_cards[type->network.first_card + i];
}

const struct instance_ebs_card *instance_ebs_card(const struct instance_type *type, size_t i)
{
    return &catalogue_ebs_cards[type->ebs.first_card + i];
}

const struct instance_device *instance_device(const struct instance_type *type, size_t i)
{
    return &catalogue_devices[type->first_device + i];
}

bool instance_type_in_zone(const struct instance_type *type, const struct zone *zone)
{
    const uint8_t *row = catalogue_offers + (size_t)(zone - catalogue_zones) * catalogue_offer_bytes;
    size_t bit = type - catalogue_types;

    return row[bit / 8] >> (bit % 8) & 1;
}

bool instance_type_in_region(const struct instance_type *type, const struct region *region)
{
    for (size_t i = 0; i < region->zone_count; i++)
        if (instance_type_in_zone(type, region_zone(region, i)))
            return true;
    return false;
}
