/*
 * rtnetlink requests, written one behind the other and sent as one datagram to the network namespace that the
 * calling thread is in. The kernel takes them in order and goes on past one that fails; the last is acknowledged.
 *
 *     struct netlink nl;
 *     netlink_begin(&nl);
 *     struct nlmsghdr *m = netlink_message(&nl, RTM_NEWLINK, NLM_F_CREATE, "make the link", 0);
 *     …attributes by libmnl…
 *     r = netlink_send(&nl, err);
 */
#pragma once

#include "base/err.h"

#include <libmnl/libmnl.h>

enum { NETLINK_SIZE = 8192, NETLINK_MESSAGES = 32 };

struct netlink {
    char bytes[NETLINK_SIZE] __attribute__((aligned(8)));
    size_t used; /* before the last message */
    struct nlmsghdr *last;
    unsigned count;
    struct {
        const char *what; /* for the error's text */
        int tolerated;    /* an errno that is no failure */
    } messages[NETLINK_MESSAGES];
};

void netlink_begin(struct netlink *nl);

/* A message of `type` with no payload yet. At most NETLINK_MESSAGES, each well under 1 KiB: the caller's own shapes. */
struct nlmsghdr *netlink_message(struct netlink *nl, uint16_t type, uint16_t flags, const char *what, int tolerated);

/* 0, or -errno of the first that failed. */
int netlink_send(struct netlink *nl, struct err *err);

/* The shapes that the fabric uses. Addresses: IPv4, host order. */
void netlink_link_up(struct netlink *nl, unsigned index, const char *alias, const char *what);
void netlink_address(struct netlink *nl, unsigned index, uint32_t address, unsigned prefix, int tolerated);
/* … without the route to its network that the kernel otherwise adds. */
void netlink_address_alone(struct netlink *nl, unsigned index, uint32_t address, unsigned prefix);
void netlink_neighbour(struct netlink *nl, unsigned index, uint32_t address, const uint8_t mac[6]);

struct netlink_route {
    unsigned type; /* RTN_UNICAST, RTN_BLACKHOLE */
    uint32_t to;
    unsigned prefix;
    uint32_t gateway, source; /* 0: none */
    unsigned index;           /* 0: none */
    bool onlink;              /* the gateway needs no route of its own */
    unsigned table;           /* 0: main */
};
void netlink_route(struct netlink *nl, const struct netlink_route *route, int tolerated);
void netlink_route_replace(struct netlink *nl, const struct netlink_route *route);
void netlink_route_delete(struct netlink *nl, const struct netlink_route *route); /* none: fine */

/* Looks in `table`, 0: drops silently; what has `mark`, 0: everything. There already: fine. */
void netlink_rule(struct netlink *nl, unsigned priority, uint32_t mark, unsigned table);
void netlink_rule_delete(struct netlink *nl, unsigned priority); /* none: fine */

void netlink_neighbour_delete(struct netlink *nl, unsigned index, uint32_t address);

/* Sends and begins anew when there is no room for some more messages. */
int netlink_make_room(struct netlink *nl, struct err *err);

/* Asks for a list (RTM_GETROUTE, RTM_GETRULE; IPv4) and tells each message of it. */
int netlink_list(uint16_t type, void (*each)(void *cookie, const struct nlmsghdr *head), void *cookie, struct err *err);
