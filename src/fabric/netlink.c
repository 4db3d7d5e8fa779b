#include "fabric/netlink.h"
#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

void netlink_begin(struct netlink *nl)
{
    nl->used = 0;
    nl->count = 0;
    nl->last = NULL;
}

struct nlmsghdr *netlink_message(struct netlink *nl, uint16_t type, uint16_t flags, const char *what, int tolerated)
{
    struct nlmsghdr *head;

    if (nl->last)
        nl->used += MNL_ALIGN(nl->last->nlmsg_len);
    if (nl->count == NETLINK_MESSAGES || nl->used + 1024 > NETLINK_SIZE)
        abort(); /* a batch of ours outgrew its bounds: a defect, not an input */
    head = mnl_nlmsg_put_header(nl->bytes + nl->used);
    head->nlmsg_type = type;
    head->nlmsg_flags = NLM_F_REQUEST | flags;
    head->nlmsg_seq = nl->count;
    nl->messages[nl->count].what = what;
    nl->messages[nl->count].tolerated = tolerated;
    nl->count++;
    nl->last = head;
    return head;
}

static int open_socket(struct err *err)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    struct timeval limit = {.tv_sec = 5};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int number = errno;

        fd_close(&fd);
        return err_os(err, number, "open a netlink socket");
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

/* Reads the answers in one datagram. Positive: the last message's has come. */
static int read_answers(struct netlink *nl, int fd, struct err *err)
{
    char bytes[8192] __attribute__((aligned(8)));
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    int left = (int)n, result = 0;

    if (n < 0)
        return err_os(err, errno, "read netlink's answer");
    for (struct nlmsghdr *head = (void *)bytes; mnl_nlmsg_ok(head, left); head = mnl_nlmsg_next(head, &left)) {
        const struct nlmsgerr *answer = mnl_nlmsg_get_payload(head);
        unsigned at = head->nlmsg_seq;

        if (head->nlmsg_type != NLMSG_ERROR || at >= nl->count)
            continue;
        if (answer->error && -answer->error != nl->messages[at].tolerated)
            return err_os(err, -answer->error, "%s", nl->messages[at].what);
        if (at + 1 == nl->count)
            result = 1;
    }
    return result;
}

int netlink_send(struct netlink *nl, struct err *err)
{
    AUTO_FD fd = -1;
    int r;

    if (!nl->last)
        return 0;
    fd = open_socket(err);
    if (fd < 0)
        return fd;
    nl->last->nlmsg_flags |= NLM_F_ACK;
    if (send(fd, nl->bytes, nl->used + nl->last->nlmsg_len, 0) < 0)
        return err_os(err, errno, "send netlink requests");
    do
        r = read_answers(nl, fd, err);
    while (r == 0);
    return r < 0 ? r : 0;
}

void netlink_link_up(struct netlink *nl, unsigned index, const char *alias, const char *what)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_NEWLINK, 0, what, 0);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);

    info->ifi_index = (int)index;
    info->ifi_flags = info->ifi_change = IFF_UP;
    if (alias)
        mnl_attr_put_strz(head, IFLA_IFALIAS, alias);
}

static struct nlmsghdr *put_address(struct netlink *nl, unsigned index, uint32_t address, unsigned prefix,
                                    int tolerated)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, "add the interface's address",
                                            tolerated);
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);

    info->ifa_family = AF_INET;
    info->ifa_prefixlen = (uint8_t)prefix;
    info->ifa_index = index;
    mnl_attr_put_u32(head, IFA_LOCAL, htonl(address));
    mnl_attr_put_u32(head, IFA_ADDRESS, htonl(address));
    if (prefix < 31)
        mnl_attr_put_u32(head, IFA_BROADCAST, htonl(address | (uint32_t)(0xffffffffull >> prefix)));
    return head;
}

void netlink_address(struct netlink *nl, unsigned index, uint32_t address, unsigned prefix, int tolerated)
{
    put_address(nl, index, address, prefix, tolerated);
}

void netlink_address_alone(struct netlink *nl, unsigned index, uint32_t address, unsigned prefix)
{
    mnl_attr_put_u32(put_address(nl, index, address, prefix, 0), IFA_FLAGS, IFA_F_NOPREFIXROUTE);
}

void netlink_neighbour(struct netlink *nl, unsigned index, uint32_t address, const uint8_t mac[6])
{
    struct nlmsghdr *head = netlink_message(nl, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE,
                                            "add the interface's neighbour", 0);
    struct ndmsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);

    info->ndm_family = AF_INET;
    info->ndm_ifindex = (int)index;
    info->ndm_state = NUD_PERMANENT;
    mnl_attr_put_u32(head, NDA_DST, htonl(address));
    mnl_attr_put(head, NDA_LLADDR, 6, mac);
}

void netlink_neighbour_delete(struct netlink *nl, unsigned index, uint32_t address)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_DELNEIGH, 0, "delete the interface's neighbour", ENOENT);
    struct ndmsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);

    info->ndm_family = AF_INET;
    info->ndm_ifindex = (int)index;
    mnl_attr_put_u32(head, NDA_DST, htonl(address));
}

static void put_route(struct nlmsghdr *head, const struct netlink_route *route)
{
    struct rtmsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info);

    info->rtm_family = AF_INET;
    info->rtm_dst_len = (uint8_t)route->prefix;
    info->rtm_table = route->table ? RT_TABLE_UNSPEC : RT_TABLE_MAIN;
    info->rtm_protocol = RTPROT_STATIC;
    info->rtm_type = (uint8_t)route->type;
    info->rtm_scope = route->index && !route->gateway ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    info->rtm_flags = route->onlink ? RTNH_F_ONLINK : 0;
    if (route->table)
        mnl_attr_put_u32(head, RTA_TABLE, route->table);
    if (route->prefix)
        mnl_attr_put_u32(head, RTA_DST, htonl(route->to));
    if (route->gateway)
        mnl_attr_put_u32(head, RTA_GATEWAY, htonl(route->gateway));
    if (route->source)
        mnl_attr_put_u32(head, RTA_PREFSRC, htonl(route->source));
    if (route->index)
        mnl_attr_put_u32(head, RTA_OIF, route->index);
}

void netlink_route(struct netlink *nl, const struct netlink_route *route, int tolerated)
{
    put_route(netlink_message(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, "add the route", tolerated), route);
}

void netlink_route_replace(struct netlink *nl, const struct netlink_route *route)
{
    put_route(netlink_message(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, "set the route", 0), route);
}

void netlink_route_delete(struct netlink *nl, const struct netlink_route *route)
{
    struct netlink_route any = {.to = route->to, .prefix = route->prefix, .table = route->table};
    struct nlmsghdr *head = netlink_message(nl, RTM_DELROUTE, 0, "delete the route", ESRCH);
    struct rtmsg *info = mnl_nlmsg_get_payload(head);

    put_route(head, &any);
    info->rtm_scope = RT_SCOPE_NOWHERE; /* whatever it is */
    info->rtm_protocol = RTPROT_UNSPEC;
}

void netlink_rule(struct netlink *nl, unsigned priority, uint32_t mark, unsigned table)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, "add the routing rule", EEXIST);
    struct fib_rule_hdr *info = mnl_nlmsg_put_extra_header(head, sizeof *info);

    info->family = AF_INET;
    info->action = table ? FR_ACT_TO_TBL : FR_ACT_BLACKHOLE;
    mnl_attr_put_u32(head, FRA_PRIORITY, priority);
    if (mark) {
        mnl_attr_put_u32(head, FRA_FWMARK, mark);
        mnl_attr_put_u32(head, FRA_FWMASK, 0xffff);
    }
    if (table)
        mnl_attr_put_u32(head, FRA_TABLE, table);
}

void netlink_rule_delete(struct netlink *nl, unsigned priority)
{
    struct nlmsghdr *head = netlink_message(nl, RTM_DELRULE, 0, "delete the routing rule", ENOENT);
    struct fib_rule_hdr *info = mnl_nlmsg_put_extra_header(head, sizeof *info);

    info->family = AF_INET;
    mnl_attr_put_u32(head, FRA_PRIORITY, priority);
}

int netlink_make_room(struct netlink *nl, struct err *err)
{
    int r;

    if (nl->count + 8 <= NETLINK_MESSAGES && nl->used + 3 * 1024 <= NETLINK_SIZE)
        return 0;
    r = netlink_send(nl, err);
    netlink_begin(nl);
    return r;
}

int netlink_list(uint16_t type, void (*each)(void *cookie, const struct nlmsghdr *head), void *cookie, struct err *err)
{
    char bytes[32 * 1024] __attribute__((aligned(8)));
    struct nlmsghdr *head = mnl_nlmsg_put_header(bytes);
    struct rtmsg *info = mnl_nlmsg_put_extra_header(head, sizeof *info); /* fib_rule_hdr is as long */
    AUTO_FD fd = open_socket(err);

    if (fd < 0)
        return fd;
    head->nlmsg_type = type;
    head->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    info->rtm_family = AF_INET;
    if (send(fd, head, head->nlmsg_len, 0) < 0)
        return err_os(err, errno, "ask for a list");
    for (;;) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        int left = (int)n;

        if (n < 0)
            return err_os(err, errno, "read a list");
        for (head = (void *)bytes; mnl_nlmsg_ok(head, left); head = mnl_nlmsg_next(head, &left)) {
            if (head->nlmsg_type == NLMSG_DONE)
                return 0;
            if (head->nlmsg_type == NLMSG_ERROR)
                return err_os(err, -((const struct nlmsgerr *)mnl_nlmsg_get_payload(head))->error, "list");
            each(cookie, head);
        }
    }
}
