#include "fabric/link.h"
#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/neighbour.h>
#include <linux/sockios.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { MTU = 9001 };

/* The router end's address on every link: each is a wire of its own between two ends, so one is enough. */
static const uint8_t router_mac[6] = {0x0a, 0x68, 0x61, 0x61, 0x72, 0x01};

/* Interface names hold 15 bytes: "e" and the id's last 14. */
void link_name(struct str id, char name[IFNAMSIZ])
{
    snprintf(name, IFNAMSIZ, "e" STR_FMT, STR_ARG(str_skip(id, id.len > 14 ? id.len - 14 : 0)));
}

static void put_end(struct nlmsghdr *head, const char *name, const uint8_t mac[6], unsigned mtu)
{
    mnl_attr_put_strz(head, IFLA_IFNAME, name);
    mnl_attr_put(head, IFLA_ADDRESS, 6, mac);
    mnl_attr_put_u32(head, IFLA_MTU, mtu);
    mnl_attr_put_u32(head, IFLA_NUM_TX_QUEUES, 1);
    mnl_attr_put_u32(head, IFLA_NUM_RX_QUEUES, 1);
}

void link_put_pair(struct netlink *nl, const struct link_pair *pair, int tolerated)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "make the interface's link",
                                            tolerated);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    struct nlattr *link_info, *data, *peer;

    info->ifi_index = (int)pair->index;
    put_end(head, pair->name, pair->mac, pair->mtu);
    link_info = mnl_attr_nest_start(head, IFLA_LINKINFO);
    mnl_attr_put_strz(head, IFLA_INFO_KIND, "veth");
    data = mnl_attr_nest_start(head, IFLA_INFO_DATA);
    peer = mnl_attr_nest_start(head, VETH_INFO_PEER);
    info = mnl_nlmsg_put_extra_header(head, sizeof *info); /* not up: the kernel refuses a peer that is */
    info->ifi_index = (int)pair->peer_index;
    put_end(head, pair->peer_name, pair->peer_mac, pair->mtu);
    mnl_attr_put_u32(head, IFLA_NET_NS_FD, (uint32_t)pair->peer);
    mnl_attr_nest_end(head, peer);
    mnl_attr_nest_end(head, data);
    mnl_attr_nest_end(head, link_info);
}

/* An ARP question for a neighbour is answered at once, not after up to 0.8 s, the default. */
static void put_proxy_delay(struct netlink *nl, unsigned index)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_SETNEIGHTBL, 0, "answer ARP without delay", 0);
    struct ndtmsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    struct nlattr *parameters;

    info->ndtm_family = AF_INET;
    mnl_attr_put_strz(head, NDTA_NAME, "arp_cache");
    parameters = mnl_attr_nest_start(head, NDTA_PARMS);
    mnl_attr_put_u32(head, NDTPA_IFINDEX, index);
    mnl_attr_put_u64(head, NDTPA_PROXY_DELAY, 0);
    mnl_attr_nest_end(head, parameters);
}

void link_put_address(struct netlink *nl, unsigned index, uint32_t address, uint32_t gateway, const uint8_t mac[6])
{
    struct netlink_route route = {.type = RTN_UNICAST, .to = address, .prefix = 32, .source = gateway, .index = index};

    netlink_route_replace(nl, &route);
    netlink_neighbour(nl, index, address, mac);
}

void link_drop_address(struct netlink *nl, unsigned index, uint32_t address)
{
    netlink_route_delete(nl, &(struct netlink_route){.to = address, .prefix = 32});
    netlink_neighbour_delete(nl, index, address);
}

int link_router_end(const char *owner, const struct fabric_interface *interface, const char *link, unsigned index,
                    int guest, struct err *err)
{
    char alias[128], peer_name[IFNAMSIZ];
    struct link_pair pair = {.name = link,
                             .peer_name = peer_name,
                             .index = index,
                             .peer_index = link_guest_index(interface),
                             .mac = router_mac,
                             .peer_mac = interface->mac,
                             .mtu = MTU,
                             .peer = guest};
    struct netlink nl;
    int r = 0;

    snprintf(peer_name, sizeof peer_name, "eth%u", interface->device_index);
    snprintf(alias, sizeof alias, "haar:%s:" STR_FMT, owner, STR_ARG(interface->id));
    netlink_begin(&nl);
    link_put_pair(&nl, &pair, 0);
    put_proxy_delay(&nl, index);
    netlink_address(&nl, LINK_LOOPBACK, interface->gateway, 32, EEXIST);
    netlink_link_up(&nl, index, alias, "bring the router's end up");
    for (size_t i = 0; i < interface->address_count && r == 0; i++) {
        link_put_address(&nl, index, interface->addresses[i].private, interface->gateway, interface->mac);
        r = netlink_make_room(&nl, err);
    }
    return r == 0 ? netlink_send(&nl, err) : r;
}

/*
 * All neighbours are behind the gateway, also those of the same subnet, and the gateway is pinned: a guest resolves
 * nobody, so it neither needs a place in the neighbour table, which the host's namespaces share, nor takes one. Who
 * makes routes of its own and asks all the same is answered.
 */
static void put_guest_routes(struct netlink *nl, const struct fabric_interface *interface, unsigned index)
{
    uint32_t mask = interface->prefix ? (uint32_t)(0xffffffffull << (32 - interface->prefix)) : 0;
    uint32_t address = interface->addresses[0].private;
    struct netlink_route gateway = {
        .type = RTN_UNICAST, .to = interface->gateway, .prefix = 32, .source = address, .index = index};
    struct netlink_route subnet = {.type = RTN_UNICAST,
                                   .to = interface->gateway & mask,
                                   .prefix = interface->prefix,
                                   .gateway = interface->gateway,
                                   .source = address,
                                   .index = index,
                                   .onlink = true};
    struct netlink_route rest = {.type = RTN_UNICAST, .gateway = interface->gateway};

    netlink_route(nl, &gateway, EEXIST); /* a second interface in the subnet: the first one's routes serve both */
    netlink_route(nl, &subnet, EEXIST);
    if (interface->device_index == 0)
        netlink_route(nl, &rest, 0);
}

unsigned link_guest_index(const struct fabric_interface *interface)
{
    return 2 + interface->device_index;
}

int link_guest_end(const struct fabric_interface *interface, struct err *err)
{
    unsigned index = link_guest_index(interface);
    struct netlink nl;
    int r = 0;

    netlink_begin(&nl);
    for (size_t i = 0; i < interface->address_count && r == 0; i++) {
        netlink_address_alone(&nl, index, interface->addresses[i].private, interface->prefix);
        r = netlink_make_room(&nl, err);
    }
    netlink_link_up(&nl, index, NULL, "bring the guest's end up");
    netlink_neighbour(&nl, index, interface->gateway, router_mac);
    put_guest_routes(&nl, interface, index);
    return r == 0 ? netlink_send(&nl, err) : r;
}

static void send_delete(struct nlmsghdr *head, int fd)
{
    char answer[512];

    if (send(fd, head, head->nlmsg_len, 0) < 0 || recv(fd, answer, sizeof answer, 0) < 0)
        log_warning("fabric: delete a link: %s", strerror(errno));
}

/* One, or all of a group. */
static void delete_links(unsigned index, uint32_t group, int fd)
{
    struct netlink nl;
    struct nlmsghdr *head;
    struct ifinfomsg *info;

    netlink_begin(&nl);
    head = netlink_message(&nl, RTM_DELLINK, NLM_F_ACK, "delete links", ENODEV);
    info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    info->ifi_index = (int)index;
    if (group)
        mnl_attr_put_u32(head, IFLA_GROUP, group);
    send_delete(head, fd);
}

void link_delete(unsigned index, int fd)
{
    delete_links(index, 0, fd);
}

void link_delete_leaving(int fd)
{
    delete_links(0, LINK_LEAVING, fd);
}

int link_socket(void)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

int link_down(const char *link, struct err *err)
{
    struct netlink nl;
    struct nlmsghdr *head;
    struct ifinfomsg *info;

    netlink_begin(&nl);
    head = netlink_message(&nl, RTM_NEWLINK, 0, "take the link down", ENODEV);
    info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    info->ifi_change = IFF_UP;
    mnl_attr_put_strz(head, IFLA_IFNAME, link);
    mnl_attr_put_u32(head, IFLA_GROUP, LINK_LEAVING);
    return netlink_send(&nl, err);
}

void link_put_down(struct netlink *nl, unsigned index)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_NEWLINK, 0, "take the link down", ENODEV);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);

    info->ifi_index = (int)index;
    info->ifi_change = IFF_UP;
}

void link_put_name(struct netlink *nl, unsigned index, const char *name)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_NEWLINK, 0, "rename the link", ENODEV);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);

    info->ifi_index = (int)index;
    mnl_attr_put_strz(head, IFLA_IFNAME, name);
}

void link_settle(const char *link)
{
    struct ethtool_value question = {.cmd = ETHTOOL_GLINK};
    struct ifreq request = {.ifr_data = (char *)&question};
    AUTO_FD fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(request.ifr_name, IFNAMSIZ, "%s", link);
    if (fd >= 0)
        ioctl(fd, SIOCETHTOOL, &request);
}
