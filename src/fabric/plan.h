/*
 * The rules of a VPC as nf_tables objects: each function writes one of them, whole, from the model alone. What order
 * they come in, and when, is rules.h's.
 *
 * A packet passes, in its VPC's namespace: prerouting (is its source the interface's own? which route table?; public to
 * private address), routing, then two forward chains, so that accepting ends only its own: the sender's groups
 * (egress), the receiver's (ingress), postrouting (private to public address; nothing private leaves). Both group
 * stages let established flows pass and are fail-closed: an interface that is in no map reaches nothing. Network ACLs
 * will be one more forward chain, of a priority before these.
 */
#pragma once

#include "fabric/model.h"
#include "fabric/nft.h"

#define IGW_LINK "igw0" /* to the hub, in the VPC */

void plan_base(struct nft_batch *batch, struct fabric_cidr public_pool); /* maps, fixed chains, an empty table */

/*
 * The table for ARP, which has the same name: an interface may speak of its own addresses. That is asked before the
 * kernel looks at its neighbour table, which all of the host's namespaces share: who asks under ever new names would
 * fill it for everyone. Nothing is learned by ARP: what the VPC knows of its neighbours is permanent (link.h).
 */
void plan_arp(struct nft_batch *batch);

void plan_group_name(const struct group *group, const char *prefix, const char *suffix, char name[NFT_NAME]);
void plan_group_set(struct nft_batch *batch, const struct group *group);   /* without its addresses */
void plan_group_rules(struct nft_batch *batch, const struct group *group); /* into its two chains, which are empty */
void plan_combination_rules(struct nft_batch *batch, const struct combination *combination);

/* An interface's element in each set and map. */
struct plan_elements {
    const char *set;
    void (*put)(struct nft_batch *batch, const struct attached *attached);
    uint8_t family;
};
extern const struct plan_elements plan_elements[];
enum { PLAN_MARKS = 2, PLAN_ARP = 7, PLAN_SETS = 8 };

void plan_member(struct nft_batch *batch, const struct attached *attached); /* its addresses, in a group's set */
