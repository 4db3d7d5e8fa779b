#include "services/ec2/address.h"

#include <arpa/inet.h>

enum { RESERVED_AT_START = 4, RESERVED = 5 };

bool address_parse(struct str text, uint32_t *ret)
{
    char z[INET_ADDRSTRLEN];
    struct in_addr in;

    if (!str_to_z(text, z, sizeof z) || inet_pton(AF_INET, z, &in) != 1)
        return false;
    *ret = ntohl(in.s_addr);
    return true;
}

struct str address_text(struct arena *arena, uint32_t address)
{
    return arena_printf(arena, "%u.%u.%u.%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255);
}

uint32_t prefix_mask(unsigned prefix)
{
    return prefix ? ~(uint32_t)0 << (32 - prefix) : 0;
}

bool cidr_parse_any(struct str text, uint32_t *ret_address, unsigned *ret_prefix)
{
    struct str address = str_cut(&text, '/');
    int64_t prefix;

    if (!text.p || text.len > 2 || !str_to_int(text, &prefix) || prefix < 0 || prefix > 32 ||
        !address_parse(address, ret_address))
        return false;
    *ret_prefix = (unsigned)prefix;
    return true;
}

bool cidr_parse(struct str text, uint32_t *ret_network, unsigned *ret_prefix)
{
    return cidr_parse_any(text, ret_network, ret_prefix) && !(*ret_network & ~prefix_mask(*ret_prefix));
}

static bool in_use(struct call *call, const struct ec2_subnet *subnet, struct str address)
{
    const struct ec2_network_interface *const *found;
    size_t count = network_interface_find(call->tx, EC2_NETWORK_INTERFACE_BY_PRIVATE_IP_ADDRESSES_PRIVATE_IP_ADDRESS,
                                          address, &found);

    for (size_t i = 0; i < count; i++)
        if (str_equal(found[i]->subnet_id, subnet->subnet_id))
            return true;
    return false;
}

/*
 * Where the last address of a subnet was given: only a place to start looking, so it may be lost or stale, and subnets
 * that share a place by their hash lose nothing but a few looks.
 */
static uint32_t *last_given(struct str subnet_id)
{
    static uint32_t places[4096];

    return &places[str_hash(subnet_id) % (sizeof places / sizeof *places)];
}

static int take_wanted(struct call *call, const struct ec2_subnet *subnet, struct str wanted, uint32_t network,
                       uint32_t size, uint32_t *ret, struct err *err)
{
    if (!address_parse(wanted, ret))
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                       "Value (" STR_FMT ") for parameter privateIpAddress is invalid.",
                       STR_ARG(str_first(wanted, 64)));
    if (*ret < network || *ret - network >= size)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE,
                       "Address " STR_FMT " does not fall within the subnet's address range", STR_ARG(wanted));
    if (*ret < network + RESERVED_AT_START || *ret >= network + size - 1)
        return err_aws(err, &AWS_INVALID_PARAMETER_VALUE, "Address " STR_FMT " is in subnet's reserved address range",
                       STR_ARG(wanted));
    if (in_use(call, subnet, address_text(call->arena, *ret)))
        return err_aws(err, &EC2_INVALID_IP_ADDRESS_IN_USE, "Address " STR_FMT " is in use.", STR_ARG(wanted));
    return 0;
}

int subnet_take_address(struct call *call, const struct ec2_subnet *subnet, struct str wanted, uint32_t *ret,
                        struct err *err)
{
    uint32_t network = 0, size, usable, *last;
    unsigned prefix = 32;

    if (!cidr_parse(subnet->cidr_block, &network, &prefix))
        return err_plain(err, "subnet " STR_FMT " has no CIDR", STR_ARG(subnet->subnet_id));
    size = ~prefix_mask(prefix) + 1;
    if (wanted.p)
        return take_wanted(call, subnet, wanted, network, size, ret, err);
    usable = size - RESERVED;
    last = last_given(subnet->subnet_id);
    for (uint32_t tried = 0; tried < usable; tried++) {
        uint32_t address = network + RESERVED_AT_START + (*last + tried) % usable;
        if (in_use(call, subnet, address_text(call->arena, address)))
            continue;
        *last = (*last + tried + 1) % usable;
        *ret = address;
        return 0;
    }
    return err_aws(err, &EC2_INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET,
                   "There are not enough free addresses in subnet '" STR_FMT
                   "' to satisfy the requested number of instances.",
                   STR_ARG(subnet->subnet_id));
}
