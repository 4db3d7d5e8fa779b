/* DescribeRegions, DescribeAvailabilityZones, DescribeAccountAttributes: over the catalogue of regions. */
#include "services/ec2/catalogue/regions.h"
#include "services/ec2/local.h"
#include "services/ec2/quotas.h"

/* The regions of the caller's partition; those that need opting in are opted in for every account here. */
bool region_source(struct call *call, uint64_t *position, struct ec2_region *view)
{
    const struct region *own = region_find(call->region);

    while (*position < region_count()) {
        const struct region *region = region_at((size_t)(*position)++);
        if (region->partition != own->partition)
            continue;
        view->region_name = catalogue_text(region->name);
        view->endpoint = catalogue_text(region->endpoint);
        view->opt_in_status = region_opt_in_status(region);
        return true;
    }
    return false;
}

static bool id_wanted(const struct ec2_describe_availability_zones_request *in, const struct zone *zone)
{
    for (size_t i = 0; i < in->zone_ids.count; i++)
        if (str_equal(in->zone_ids.items[i], catalogue_text(zone->id)))
            return true;
    return in->zone_ids.count == 0;
}

bool zone_source(struct call *call, uint64_t *position, struct ec2_availability_zone *view)
{
    const struct region *region = region_find(call->region);

    while (*position < region->zone_count) {
        const struct zone *zone = region_zone(region, (size_t)(*position)++);
        if (!id_wanted(call->in, zone))
            continue;
        view->zone_name = catalogue_text(zone->name);
        view->zone_id = catalogue_text(zone->id);
        view->region_name = catalogue_text(region->name);
        view->group_name = catalogue_text(region->group);
        view->group_long_name = catalogue_text(region->group_long_name);
        view->network_border_group = catalogue_text(region->name);
        view->zone_type = S("availability-zone");
        view->opt_in_status = S("opt-in-not-required");
        view->state = S("available");
        return true;
    }
    return false;
}

/* Ids of zones are checked here, names by the row. */
int ec2_describe_availability_zones(struct call *call, const struct ec2_describe_availability_zones_request *in,
                                    struct ec2_describe_availability_zones_result *out, struct err *err)
{
    struct str next = {0};

    for (size_t i = 0; i < in->zone_ids.count; i++)
        if (!zone_find_id(region_find(call->region), in->zone_ids.items[i]))
            return err_aws(err, &EC2_INVALID_PARAMETER_VALUE, "Invalid availability zone-id: [" STR_FMT "]",
                           STR_ARG(str_first(in->zone_ids.items[i], 64)));
    return resource_select(call, EC2_AVAILABILITY_ZONE, in, (struct any_list *)&out->availability_zones, &next, err);
}

static struct str default_vpc_id(struct call *call)
{
    const struct ec2_vpc *vpc;

    for (uint64_t position = 0; (vpc = vpc_next(call->tx, &position));)
        if (vpc->is_default.value)
            return vpc->vpc_id;
    return S("none");
}

static struct str attribute_value(struct call *call, struct str name)
{
    if (str_equal(name, S("supported-platforms")))
        return S("VPC");
    if (str_equal(name, S("default-vpc")))
        return default_vpc_id(call);
    return call_printf(call, "%lld", (long long)quota_attribute(name));
}

static bool attribute_known(struct str name, const struct str *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(name, all[i]))
            return true;
    return false;
}

int ec2_describe_account_attributes(struct call *call, const struct ec2_describe_account_attributes_request *in,
                                    struct ec2_describe_account_attributes_result *out, struct err *err)
{
    static const struct str all[] = {{"supported-platforms", 19}, {"vpc-max-security-groups-per-interface", 37},
                                     {"max-elastic-ips", 15},     {"max-instances", 13},
                                     {"vpc-max-elastic-ips", 19}, {"default-vpc", 11}};
    const struct str *names = in->attribute_names.count ? in->attribute_names.items : all;
    size_t count = in->attribute_names.count ? in->attribute_names.count : sizeof all / sizeof *all;

    out->account_attributes.items = arena_array(call->arena, struct ec2_account_attribute, count);
    for (size_t i = 0; i < count; i++) {
        if (!attribute_known(names[i], all, sizeof all / sizeof *all))
            return err_aws(err, &EC2_INVALID_PARAMETER_VALUE,
                           "Value (" STR_FMT ") for parameter attributeName is invalid. Unknown attribute.",
                           STR_ARG(str_first(names[i], 255)));
    }
    for (size_t i = 0; i < count; i++) {
        struct ec2_account_attribute *attribute = &out->account_attributes.items[out->account_attributes.count++];
        attribute->attribute_name = names[i];
        attribute->attribute_values.items = arena_new(call->arena, struct ec2_account_attribute_value);
        attribute->attribute_values.count = 1;
        attribute->attribute_values.items[0].attribute_value = attribute_value(call, names[i]);
    }
    return 0;
}
