/* A VPC's network namespace: made and ended, its rules, routes and gateway as the model says. For network.c. */
#pragma once

#include "fabric/network.h"

int vpc_open(const struct network *network, struct vpc *vpc, struct err *err); /* enters it; makes it if need be */
int vpc_end(const struct network *network, struct vpc *vpc, struct err *err);
int vpc_apply(const struct network *network, struct vpc *vpc, struct err *err);
/* It has a gateway and is not linked to the hub, though there is one: what has been said in the log, once. */
bool vpc_lacks_link(const struct network *network, const struct vpc *vpc);

void vpc_begin_rules(const struct network *network, struct nft_batch *batch);

/* A change that the model has already. Where the rules do not stand as the model has it they are replaced whole. */
int vpc_send_change(const struct network *network, struct vpc *vpc, struct nft_batch *batch, struct err *err);

/* hub_publish or hub_withdraw; nothing where there is no hub. */
int vpc_each_public(const struct network *network, const struct vpc *vpc, const struct attached *attached,
                    int (*each)(struct hub *hub, const struct vpc *vpc, uint32_t public, struct err *err),
                    struct err *err);
