/*
 * The rules of the hub as nf_tables objects, from what it may let through alone. Which link speaks for which address is
 * told in the set HUB_SOURCES, element by element (hub.c).
 */
#pragma once

#include "fabric/internet.h"
#include "fabric/nft.h"

#define HUB_HOST_LINK "host0"
#define HUB_SOURCES "sources" /* keys: a link's name, 16 bytes, and an address */

struct hub_plan {
    struct fabric_cidr pool;
    struct fabric_cidr *allowed; /* --allow-host */
    size_t allowed_count;
    struct fabric_cidr private[INTERNET_PRIVATE]; /* the host's networks */
    size_t private_count;
    bool internet; /* there is a way beyond the host */
};

/* All of them, in place of those that stand; HUB_SOURCES keeps its elements: packets pass while an earlier server's
 * machines are adopted. */
void hub_plan_rules(struct nft_batch *batch, const struct hub_plan *plan);
void hub_plan_networks(struct nft_batch *batch, const struct hub_plan *plan); /* the host's, which have changed */

/* What the host's end of its link is called by where the host has no address of its own: the pool's first. */
uint32_t hub_plan_lent(const struct hub_plan *plan);
