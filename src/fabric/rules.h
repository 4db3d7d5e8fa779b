/*
 * The rule set of a VPC kept as the model says, change by change: each function counts in the model and writes what
 * follows from it into a batch, in an order that the kernel takes. What a batch that was refused or never sent leaves
 * is mended by rules_whole, which replaces everything at once and cuts no established flow.
 */
#pragma once

#include "fabric/plan.h"

void rules_whole(struct nft_batch *batch, const struct vpc *vpc, struct fabric_cidr public_pool);

/* attached->combination is set; the interface's link does not exist yet, or no longer matters. */
void rules_add(struct nft_batch *batch, struct attached *attached);
void rules_remove(struct nft_batch *batch, struct attached *attached);

void rules_remark(struct nft_batch *batch, struct attached *attached, uint32_t mark);

/* `now` takes the place of `attached` (which is filled from it). Grants go first: under load a packet may see the rule
 * set between two batches, and never less than what both allow. */
void rules_change(struct nft_batch *grants, struct nft_batch *withdrawals, struct attached *attached,
                  const struct attached *now);

/* Takes `rules` over. */
void rules_set_group(struct nft_batch *batch, struct group *group, struct rule *rules, size_t count);
