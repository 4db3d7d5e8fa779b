#include "services/services.h"

#include "ec2.h"
#include "services/ec2/catalogue/regions.h"
#include "sts.h"

const struct service *const services[] = {&ec2_service, &sts_service, NULL};
const struct store_kind *const service_kinds = ec2_store_kinds;
const size_t service_kind_count = EC2_KINDS;

bool service_region_exists(struct str region)
{
    return region_find(region) != NULL;
}
