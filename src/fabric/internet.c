#include "fabric/internet.h"
#include "base/fd.h"
#include "base/mem.h"
#include "fabric/forwarding.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter_ipv4.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { SHARES = 8, ADDRESSES = 65536 /* that are counted at once */ };

/* ---- other rules on the host ---- */

struct chain {
    const char *table, *name, *type;
    uint32_t hook, policy;
};

static struct chain read_chain(const struct nlmsghdr *head)
{
    struct chain chain = {"", "", "", UINT32_MAX, NF_ACCEPT};
    const struct nlattr *attribute, *part;

    mnl_attr_for_each(attribute, head, sizeof(struct nfgenmsg))
    {
        switch (mnl_attr_get_type(attribute)) {
        case NFTA_CHAIN_TABLE:
            chain.table = mnl_attr_get_str(attribute);
            break;
        case NFTA_CHAIN_NAME:
            chain.name = mnl_attr_get_str(attribute);
            break;
        case NFTA_CHAIN_TYPE:
            chain.type = mnl_attr_get_str(attribute);
            break;
        case NFTA_CHAIN_POLICY:
            chain.policy = ntohl(mnl_attr_get_u32(attribute));
            break;
        case NFTA_CHAIN_HOOK:
            mnl_attr_for_each_nested(part, attribute)
            {
                if (mnl_attr_get_type(part) == NFTA_HOOK_HOOKNUM)
                    chain.hook = ntohl(mnl_attr_get_u32(part));
            }
            break;
        default:
            break;
        }
    }
    return chain;
}

/* Its policy drops what the host forwards, and nothing in it can know of us. */
static bool blocks(const struct nlmsghdr *head, char reason[256])
{
    const struct nfgenmsg *generic = mnl_nlmsg_get_payload(head);
    struct chain chain = read_chain(head);

    if (chain.hook != NF_INET_FORWARD || chain.policy != NF_DROP || strcmp(chain.type, "filter") != 0 ||
        (generic->nfgen_family != NFPROTO_IPV4 && generic->nfgen_family != NFPROTO_INET))
        return false;
    snprintf(reason, 256, "the host's rules drop what it forwards: chain %s of table %s %s has the policy drop",
             chain.name, generic->nfgen_family == NFPROTO_IPV4 ? "ip" : "inet", chain.table);
    return true;
}

static void find_block(char reason[256])
{
    char bytes[16 * 1024] __attribute__((aligned(8)));
    struct timeval limit = {.tv_sec = 2};
    struct nlmsghdr *head = mnl_nlmsg_put_header(bytes);
    struct nfgenmsg *generic = mnl_nlmsg_put_extra_header(head, sizeof *generic);
    AUTO_FD fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

    head->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN;
    head->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
        send(fd, head, head->nlmsg_len, 0) < 0)
        return;
    for (;;) {
        int left = (int)recv(fd, bytes, sizeof bytes, 0);

        if (left <= 0)
            return;
        for (head = (void *)bytes; mnl_nlmsg_ok(head, left); head = mnl_nlmsg_next(head, &left)) {
            if (head->nlmsg_type == NLMSG_DONE || head->nlmsg_type == NLMSG_ERROR || blocks(head, reason))
                return;
        }
    }
}

bool internet_decide(const char *owner, enum fabric_internet mode, char reason[256])
{
    struct err err = ERR_INIT;

    reason[0] = '\0';
    if (mode == FABRIC_INTERNET_ON && forwarding_claim(owner, &err) < 0) {
        snprintf(reason, 256, "%.250s", err.text);
        return false;
    }
    if (mode != FABRIC_INTERNET_ON)
        forwarding_release(owner); /* an earlier start's */
    if (mode == FABRIC_INTERNET_OFF) {
        snprintf(reason, 256, "--internet off");
        return false;
    }
    if (!forwarding_is_on()) {
        snprintf(reason, 256, "the host does not forward (net.ipv4.ip_forward is 0); --internet on turns it on");
        return false;
    }
    find_block(reason);
    return true;
}

/* ---- the host's networks ---- */

static const struct fabric_cidr always_private[] = {
    {0x00000000, 8},  /* this network */
    {0x0a000000, 8},  /* RFC 1918 */
    {0x64400000, 10}, /* RFC 6598 */
    {0x7f000000, 8},  /* loopback */
    {0xa9fe0000, 16}, /* one link */
    {0xac100000, 12}, /* RFC 1918 */
    {0xc0a80000, 16}, /* RFC 1918 */
    {0xe0000000, 3},  /* multicast and beyond */
};

static unsigned prefix_of(const struct sockaddr *mask)
{
    return mask ? (unsigned)__builtin_popcount(((const struct sockaddr_in *)mask)->sin_addr.s_addr) : 32;
}

size_t internet_private(struct fabric_cidr out[INTERNET_PRIVATE])
{
    struct ifaddrs *all = NULL;
    size_t count = ARRAY_LEN(always_private);

    memcpy(out, always_private, sizeof always_private);
    if (getifaddrs(&all) < 0)
        return count;
    for (struct ifaddrs *at = all; at && count + 2 <= INTERNET_PRIVATE; at = at->ifa_next) {
        uint32_t address;

        if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET)
            continue;
        address = ntohl(((struct sockaddr_in *)at->ifa_addr)->sin_addr.s_addr);
        out[count++] = (struct fabric_cidr){address, prefix_of(at->ifa_netmask)};
        if (at->ifa_flags & IFF_POINTOPOINT && at->ifa_dstaddr)
            out[count++] = (struct fabric_cidr){ntohl(((struct sockaddr_in *)at->ifa_dstaddr)->sin_addr.s_addr), 32};
    }
    freeifaddrs(all);
    return count;
}

bool internet_host_has_address(void)
{
    struct ifaddrs *all = NULL;
    bool has = false;

    if (getifaddrs(&all) < 0)
        return false;
    for (struct ifaddrs *at = all; at && !has; at = at->ifa_next)
        has = at->ifa_addr && at->ifa_addr->sa_family == AF_INET && !(at->ifa_flags & IFF_LOOPBACK);
    freeifaddrs(all);
    return has;
}

uint32_t internet_share(void)
{
    AUTO_FD fd = open("/proc/sys/net/netfilter/nf_conntrack_max", O_RDONLY | O_CLOEXEC);
    char text[16] = "";
    int64_t most;

    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0 || !str_to_int(str_trim(str_of(text)), &most) || most < SHARES)
        return 0; /* no table, or one without a bound */
    return (uint32_t)(most / SHARES);
}

/* New flows only: the table that they would fill is the host's own, and that of all who go beyond it. */
static void plan_share(struct nft_batch *batch, struct fabric_cidr pool, const char *hub_link, uint32_t share)
{
    static const struct nft_set flows = {.name = "flows", .key_type = NFT_TYPE_IPV4, .key_size = 4};
    static const struct nft_hook hook = {"filter", NF_INET_PRE_ROUTING, NF_IP_PRI_MANGLE, NF_ACCEPT};

    nft_meter_add(batch, &flows, ADDRESSES);
    nft_base_chain_add(batch, "share", &hook);
    nft_rule_begin(batch, "share");
    nft_match_link(batch, NFT_META_IIFNAME, NFT_CMP_EQ, hub_link);
    nft_match_network(batch, true, NFT_CMP_EQ, pool.network, pool.prefix);
    nft_match_ct_state(batch, NF_CT_STATE_BIT(IP_CT_NEW));
    nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 12, 4, NFT_REG_1);
    nft_count_over(batch, flows.name, NFT_REG_1, share);
    nft_counter(batch);
    nft_verdict(batch, NF_DROP, NULL);
    nft_rule_end(batch);
}

void internet_plan(struct nft_batch *batch, struct fabric_cidr pool, const char *hub_link, uint32_t share)
{
    static const struct nft_hook hook = {"nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC, NF_ACCEPT};

    nft_base_chain_add(batch, "post_nat", &hook);
    nft_rule_begin(batch, "post_nat");
    nft_match_network(batch, true, NFT_CMP_EQ, pool.network, pool.prefix);
    nft_match_link(batch, NFT_META_OIFNAME, NFT_CMP_NEQ, hub_link);
    nft_masquerade(batch);
    nft_rule_end(batch);
    if (share)
        plan_share(batch, pool, hub_link, share);
}
