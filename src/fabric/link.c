#include "fabric/link.h"
#include "base/log.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>

enum { MTU = 9001 };

/* The router end's address on every link: each is a wire of its own between two ends, so one is enough. */
static const uint8_t router_mac[6] = {0x0a, 0x68, 0x61, 0x61, 0x72, 0x01};

/* Interface names hold 15 bytes: "e" and the id's last 14. */
void link_name(struct str id, char name[IFNAMSIZ])
{
    snprintf(name, IFNAMSIZ, "e" STR_FMT, STR_ARG(str_skip(id, id.len > 14 ? id.len - 14 : 0)));
}

static void put_pair(struct netlink *nl, const struct fabric_interface *interface, const char *link, unsigned index,
                     int guest)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "make the interface's link", 0);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    struct nlattr *link_info, *data, *peer;
    char name[IFNAMSIZ];

    info->ifi_index = (int)index;
    mnl_attr_put_strz(head, IFLA_IFNAME, link);
    mnl_attr_put(head, IFLA_ADDRESS, 6, router_mac);
    mnl_attr_put_u32(head, IFLA_MTU, MTU);
    mnl_attr_put_u32(head, IFLA_NUM_TX_QUEUES, 1);
    mnl_attr_put_u32(head, IFLA_NUM_RX_QUEUES, 1);
    link_info = mnl_attr_nest_start(head, IFLA_LINKINFO);
    mnl_attr_put_strz(head, IFLA_INFO_KIND, "veth");
    data = mnl_attr_nest_start(head, IFLA_INFO_DATA);
    peer = mnl_attr_nest_start(head, VETH_INFO_PEER);
    info = mnl_nlmsg_put_extra_header(head, sizeof *info); /* not up: the kernel refuses a peer that is */
    info->ifi_index = (int)(2 + interface->device_index);
    snprintf(name, sizeof name, "eth%u", interface->device_index);
    mnl_attr_put_strz(head, IFLA_IFNAME, name);
    mnl_attr_put(head, IFLA_ADDRESS, 6, interface->mac);
    mnl_attr_put_u32(head, IFLA_MTU, MTU);
    mnl_attr_put_u32(head, IFLA_NUM_TX_QUEUES, 1);
    mnl_attr_put_u32(head, IFLA_NUM_RX_QUEUES, 1);
    mnl_attr_put_u32(head, IFLA_NET_NS_FD, (uint32_t)guest);
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

int link_router_end(const char *owner, const struct fabric_interface *interface, const char *link, unsigned index,
                    int guest, struct err *err)
{
    struct netlink_route route = {
        .type = RTN_UNICAST, .to = interface->address, .prefix = 32, .source = interface->gateway, .index = index};
    struct netlink nl;
    char alias[128];

    snprintf(alias, sizeof alias, "haar:%s:" STR_FMT, owner, STR_ARG(interface->id));
    netlink_begin(&nl);
    put_pair(&nl, interface, link, index, guest);
    put_proxy_delay(&nl, index);
    netlink_address(&nl, LINK_LOOPBACK, interface->gateway, 32, EEXIST);
    netlink_link_up(&nl, index, alias, "bring the router's end up");
    netlink_route(&nl, &route, 0);
    netlink_neighbour(&nl, index, interface->address, interface->mac);
    return netlink_send(&nl, err);
}

int link_guest_end(const struct fabric_interface *interface, struct err *err)
{
    struct netlink_route route = {.type = RTN_UNICAST, .gateway = interface->gateway};
    unsigned index = 2 + interface->device_index;
    struct netlink nl;

    netlink_begin(&nl);
    netlink_address(&nl, index, interface->address, interface->prefix, 0);
    netlink_link_up(&nl, index, NULL, "bring the guest's end up");
    netlink_neighbour(&nl, index, interface->gateway,
                      router_mac); /* pinned: it costs no place in the shared ARP table */
    if (interface->device_index == 0)
        netlink_route(&nl, &route, 0);
    return netlink_send(&nl, err);
}

void link_delete(const char *link, int fd)
{
    struct netlink nl;
    struct nlmsghdr *head;
    struct ifinfomsg *info;
    char answer[512];

    netlink_begin(&nl);
    head = netlink_message(&nl, RTM_DELLINK, NLM_F_ACK, "delete the link", ENODEV);
    info = mnl_nlmsg_put_extra_header(head, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(head, IFLA_IFNAME, link);
    if (send(fd, head, head->nlmsg_len, 0) < 0 || recv(fd, answer, sizeof answer, 0) < 0)
        log_warning("fabric: delete link %s: %s", link, strerror(errno));
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
    return netlink_send(&nl, err);
}
