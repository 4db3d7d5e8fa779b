/* VPCs, subnets and what stands in them: the members that Describe computes. */
#include "services/ec2/address.h"

/* AvailableIpAddressCount: what the subnet holds, less AWS's five, less each address of each interface. */
int subnet_derive(struct call *call, const struct ec2_subnet *subnet, struct ec2_subnet *view, struct err *err)
{
    const struct ec2_network_interface *const *interfaces;
    size_t count = network_interface_find(call->tx, EC2_NETWORK_INTERFACE_BY_SUBNET_ID, subnet->subnet_id, &interfaces);
    int64_t available;
    uint32_t network;
    unsigned prefix;

    if (!cidr_parse(subnet->cidr_block, &network, &prefix))
        return 0;
    available = ((int64_t)1 << (32 - prefix)) - 5;
    for (size_t i = 0; i < count; i++)
        available -= (int64_t)interfaces[i]->private_ip_addresses.count;
    view->available_ip_address_count = INT(available);
    return 0;
}
