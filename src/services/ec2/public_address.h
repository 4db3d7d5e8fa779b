/*
 * Public addresses. All of a server's come from one pool, shared by its accounts and regions, since the host has one
 * route to it. An interface has one for as long as its instance runs, or an Elastic IP until that is taken away.
 * Source: "Amazon EC2 instance IP addressing", EC2 user guide.
 */
#pragma once

#include "services/ec2/local.h"

/* A free address of the pool, as text. Raises InsufficientAddressCapacity; without a pool, an err of its own. */
int public_address_take(struct engine *engine, struct tx *tx, struct str *ret, struct err *err);

/* ec2-198-18-0-5.compute-1.amazonaws.com; empty where the VPC has no DNS host names, or no DNS. */
struct str public_dns_name(struct arena *arena, struct str region, const struct ec2_vpc *vpc, struct str address);
/* The VPC has them from now on, or not: what its interfaces say of their addresses. */
void public_addresses_rename(struct call *call, const struct ec2_vpc *vpc);

/* Has one of its private addresses a public one? */
bool public_address_any(const struct ec2_network_interface *eni);

/* Puts the address on one of the interface's private ones (absent: the primary). */
void public_address_attach(struct arena *arena, struct ec2_network_interface *eni, struct str private_ip,
                           const struct ec2_network_interface_association *association);
void public_address_detach(struct ec2_network_interface *eni, struct str public_ip);

/* An Elastic IP that is on nothing any more: what its record said of where it was. */
void elastic_ip_forget(struct ec2_address *address);

/* An instance starts: its primary interface gets an address if it was launched to have one and has none. True when it
 * did. */
bool public_address_on_start(struct engine *engine, struct tx *tx, struct arena *arena, struct str instance_id);
/* A running instance whose Elastic IP was taken away, or that shall have an address from now on: likewise. */
void public_address_return(struct call *call, struct str instance_id);
/* It has stopped: what it was given at its start is free again; Elastic IPs stay. */
void public_address_on_stop(struct tx *tx, struct arena *arena, struct str instance_id);
