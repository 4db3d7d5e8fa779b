/*
 * An interface's link: a veth pair, its router end in the VPC's namespace, its guest end in the guest's. Each
 * function works in the network namespace that the calling thread is in.
 */
#pragma once

#include "fabric/fabric.h"
#include "fabric/netlink.h"

#include <net/if.h>

enum { LINK_LOOPBACK = 1, LINK_LEAVING = 0x6c6561 /* a group */ };

void link_name(struct str interface_id, char name[IFNAMSIZ]); /* of the router end */

struct link_pair {
    const char *name, *peer_name;
    unsigned index, peer_index; /* 0: the kernel's choice */
    const uint8_t *mac, *peer_mac;
    unsigned mtu;
    int peer; /* the network namespace of the other end */
};
void link_put_pair(struct netlink *nl, const struct link_pair *pair, int tolerated);

/* In the VPC: the pair, its guest end in the namespace `guest`; the router end configured and up under `index`. */
int link_router_end(const char *owner, const struct fabric_interface *interface, const char *link, unsigned index,
                    int guest, struct err *err);
unsigned link_guest_index(const struct fabric_interface *interface);           /* of the end that is in the guest */
int link_guest_end(const struct fabric_interface *interface, struct err *err); /* in the guest: address, route, up */

/* In the VPC: where one of its addresses is; or no longer. */
void link_put_address(struct netlink *nl, unsigned index, uint32_t address, uint32_t gateway, const uint8_t mac[6]);
void link_drop_address(struct netlink *nl, unsigned index, uint32_t address);

/*
 * Of a pair, the end that came up first drops what it should send until the kernel's link watch, a worker that waits
 * for the same lock as all of rtnetlink, has seen its carrier: tens of milliseconds when links are being deleted.
 * Asking for the carrier makes it look at once (ethtool_op_get_link(), since Linux 6.8; before, nothing happens).
 */
void link_settle(const char *link);

/* Gone meanwhile: fine. */
void link_put_down(struct netlink *nl, unsigned index);
void link_put_name(struct netlink *nl, unsigned index, const char *name);

int link_down(const char *link, struct err *err); /* not there: 0 */

/* Deleting takes the kernel 17 ms: it may be done later, by another thread, over a socket opened here now. */
int link_socket(void);
void link_delete_leaving(int socket);         /* all that link_down has taken down */
void link_delete(unsigned index, int socket); /* a name may be another link's by then */
