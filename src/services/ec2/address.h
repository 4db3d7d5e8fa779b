/* IPv4 addresses and subnets: text as AWS writes it, numbers in host order. */
#pragma once

#include "services/ec2/local.h"

bool address_parse(struct str text, uint32_t *ret);
struct str address_text(struct arena *arena, uint32_t address);
/* "172.31.0.0/20" → network and prefix. Host bits must be clear. */
bool cidr_parse(struct str text, uint32_t *ret_network, unsigned *ret_prefix);
bool cidr_parse_any(struct str text, uint32_t *ret_address, unsigned *ret_prefix); /* host bits may be set */
uint32_t prefix_mask(unsigned prefix);

/*
 * An address for a new interface in `subnet`: the one asked for, or, with wanted absent, the next free one behind the
 * last that was given, skipping the four that AWS reserves at the start and the last. Raises InvalidIPAddress.InUse,
 * InvalidParameterValue (not in the subnet), InsufficientFreeAddressesInSubnet.
 * Source: VPC user guide, "Subnet CIDR blocks".
 */
int subnet_take_address(struct call *call, const struct ec2_subnet *subnet, struct str wanted, uint32_t *ret,
                        struct err *err);
