/*
 * The fabric's work, on its thread: the model and the kernel brought together. Each function may leave the thread in
 * another network namespace than it found it in.
 *
 * Order is what keeps it fail-closed: rules before a link is up, a link down before its rules go; a public address is
 * routed last and first no longer.
 */
#pragma once

#include "fabric/model.h"
#include "fabric/nft.h"
#include "fabric/reaper.h"

struct network {
    char owner[16];
    char table[NFT_NAME];
    int home;        /* the host's network namespace */
    bool rules;      /* the kernel has what they need */
    bool no_arp;     /* … but for ARP */
    struct hub *hub; /* NULL without rules */
    struct map vpcs, interfaces;
    struct reaper *reaper;
};

int network_describe(struct network *network, const struct fabric_vpc *vpc, const struct fabric_group *groups,
                     size_t group_count, struct err *err);
int network_attach(struct network *network, const struct fabric_interface *interface, int guest, struct err *err);
int network_adopt(struct network *network, const struct fabric_interface *interface, struct err *err);
int network_detach(struct network *network, struct str interface_id, struct err *err);
int network_set_vpc(struct network *network, const struct fabric_vpc *vpc, struct err *err);
int network_set_group(struct network *network, struct str vpc_id, const struct fabric_group *group, struct err *err);
int network_set_interface(struct network *network, const struct fabric_interface *interface, struct err *err);
int network_remove_vpc(struct network *network, struct str vpc_id, struct err *err);
void network_free(struct network *network); /* memory and descriptors; what is in the kernel stays */
