#include "services/ec2/quotas.h"

static const struct {
    const char *attribute; /* NULL: no account attribute tells it */
    int64_t value;
} quotas[QUOTA_COUNT] = {
    [QUOTA_RULES_PER_GROUP] = {NULL, 60},
    [QUOTA_GROUPS_PER_INTERFACE] = {"vpc-max-security-groups-per-interface", 5},
    [QUOTA_VOLUMES_PER_INSTANCE] = {NULL, 128},
    [QUOTA_INSTANCES_PER_CALL] = {NULL, 1000},
    [QUOTA_INSTANCES] = {"max-instances", 20},
    [QUOTA_ELASTIC_IPS] = {"vpc-max-elastic-ips", 5},
};

int64_t quota_value(enum quota quota)
{
    return quotas[quota].value;
}

int64_t quota_attribute(struct str name)
{
    if (str_equal(name, S("max-elastic-ips"))) /* its name from before there were VPCs */
        name = S("vpc-max-elastic-ips");
    for (int i = 0; i < QUOTA_COUNT; i++)
        if (str_equal(str_of(quotas[i].attribute), name))
            return quotas[i].value;
    return 0;
}
