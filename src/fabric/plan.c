#include "fabric/plan.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter_arp.h>
#include <linux/netfilter_ipv4.h>
#include <stdio.h>

enum { KEPT = NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED) };
enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58 };

static void verdict_rule(struct nft_batch *batch, int code)
{
    nft_counter(batch);
    nft_verdict(batch, code, NULL);
    nft_rule_end(batch);
}

static void accept_rule(struct nft_batch *batch)
{
    nft_verdict(batch, NF_ACCEPT, NULL);
    nft_rule_end(batch);
}

/* ---- the fixed part ---- */

enum { NAME_SIZE = 16, ADDRESS_SIZE = 4 };

static const struct nft_set sets[] = {
    {"if_mark", NFT_TYPE_IFNAME, NAME_SIZE, NFT_TYPE_MARK, 4},
    {"checked", NFT_TYPE_IFNAME, NAME_SIZE, 0, 0},
    {"eni_addr", NFT_TYPE_IFNAME << NFT_TYPE_BITS | NFT_TYPE_IPV4, NAME_SIZE + ADDRESS_SIZE, 0, 0},
    {"eip_dnat", NFT_TYPE_IPV4, ADDRESS_SIZE, NFT_TYPE_IPV4, ADDRESS_SIZE},
    {"eip_snat", NFT_TYPE_IPV4, ADDRESS_SIZE, NFT_TYPE_IPV4, ADDRESS_SIZE},
    {"sg_out", NFT_TYPE_IFNAME, NAME_SIZE, (uint32_t)NFT_TYPE_VERDICT, 16},
    {"sg_in", NFT_TYPE_IFNAME, NAME_SIZE, (uint32_t)NFT_TYPE_VERDICT, 16},
    {"services", (NFT_TYPE_IPV4 << NFT_TYPE_BITS | NFT_TYPE_PROTOCOL) << NFT_TYPE_BITS | NFT_TYPE_PORT, 12, 0, 0},
};

static const struct {
    const char *name;
    struct nft_hook hook;
} hooks[] = {
    {"pre_raw", {"filter", NF_INET_PRE_ROUTING, NF_IP_PRI_RAW, NF_ACCEPT}},
    {"pre_nat", {"nat", NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST, NF_ACCEPT}},
    {"input", {"filter", NF_INET_LOCAL_IN, NF_IP_PRI_FILTER, NF_DROP}},
    {"fwd_sg_out", {"filter", NF_INET_FORWARD, NF_IP_PRI_FILTER, NF_DROP}},
    {"fwd_sg_in", {"filter", NF_INET_FORWARD, NF_IP_PRI_FILTER + 10, NF_DROP}},
    {"post_nat", {"nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC, NF_ACCEPT}},
    {"post_last", {"filter", NF_INET_POST_ROUTING, 200, NF_ACCEPT}},
};

/* Source addresses are the interface's own, where it is checked: anything else, IPv6 too, ends here. */
static void plan_antispoof(struct nft_batch *batch)
{
    nft_chain_add(batch, "antispoof");
    nft_rule_begin(batch, "antispoof");
    nft_match_word(batch, NFT_META_NFPROTO, NFPROTO_IPV4);
    nft_meta(batch, NFT_META_IIFNAME, NFT_REG_1);
    nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 12, ADDRESS_SIZE, NFT_REG_2);
    nft_lookup(batch, "eni_addr", NFT_REG_1, NFT_FOUND);
    nft_verdict(batch, NFT_RETURN, NULL);
    nft_rule_end(batch);
    nft_rule_begin(batch, "antispoof");
    verdict_rule(batch, NF_DROP);
}

static void plan_prerouting(struct nft_batch *batch, struct fabric_cidr pool)
{
    nft_rule_begin(batch, "pre_raw");
    nft_meta(batch, NFT_META_IIFNAME, NFT_REG_1);
    nft_lookup(batch, "checked", NFT_REG_1, NFT_FOUND);
    nft_verdict(batch, NFT_JUMP, "antispoof");
    nft_rule_end(batch);
    nft_rule_begin(batch, "pre_raw"); /* a private destination from outside */
    nft_match_link(batch, NFT_META_IIFNAME, NFT_CMP_EQ, IGW_LINK);
    nft_match_network(batch, false, NFT_CMP_NEQ, pool.network, pool.prefix);
    verdict_rule(batch, NF_DROP);
    nft_rule_begin(batch, "pre_raw");
    nft_meta(batch, NFT_META_IIFNAME, NFT_REG_1);
    nft_map(batch, "if_mark", NFT_REG_1, NFT_REG_1);
    nft_meta_set(batch, NFT_META_MARK, NFT_REG_1);
    nft_rule_end(batch);

    nft_rule_begin(batch, "pre_nat");
    nft_match_link(batch, NFT_META_IIFNAME, NFT_CMP_EQ, IGW_LINK);
    nft_match_word(batch, NFT_META_NFPROTO, NFPROTO_IPV4);
    nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 16, ADDRESS_SIZE, NFT_REG_1);
    nft_map(batch, "eip_dnat", NFT_REG_1, NFT_REG_1);
    nft_nat(batch, NFT_NAT_DNAT, NFT_REG_1);
    nft_rule_end(batch);
}

/* Gateway addresses answer nobody but for the services that are there. */
static void plan_input(struct nft_batch *batch)
{
    nft_rule_begin(batch, "input");
    nft_match_link(batch, NFT_META_IIFNAME, NFT_CMP_EQ, "lo");
    accept_rule(batch);
    nft_rule_begin(batch, "input");
    nft_match_ct_state(batch, KEPT);
    accept_rule(batch);
    nft_rule_begin(batch, "input");
    nft_match_link(batch, NFT_META_IIFNAME, NFT_CMP_NEQ, IGW_LINK);
    nft_match_word(batch, NFT_META_NFPROTO, NFPROTO_IPV4);
    nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 16, ADDRESS_SIZE, NFT_REG32_00);
    nft_meta(batch, NFT_META_L4PROTO, NFT_REG32_01);
    nft_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG32_02);
    nft_lookup(batch, "services", NFT_REG32_00, NFT_FOUND);
    accept_rule(batch);
}

static void plan_stage(struct nft_batch *batch, const char *chain, enum nft_meta_keys link, const char *map)
{
    nft_rule_begin(batch, chain);
    nft_match_ct_state(batch, KEPT);
    accept_rule(batch);
    nft_rule_begin(batch, chain);
    nft_match_ct_state(batch, NF_CT_STATE_INVALID_BIT);
    verdict_rule(batch, NF_DROP);
    nft_rule_begin(batch, chain);
    nft_meta(batch, link, NFT_REG_1);
    nft_map(batch, map, NFT_REG_1, NFT_REG_VERDICT);
    nft_rule_end(batch);
    nft_rule_begin(batch, chain);
    nft_match_link(batch, link, NFT_CMP_EQ, IGW_LINK);
    accept_rule(batch);
}

static void plan_postrouting(struct nft_batch *batch, struct fabric_cidr pool)
{
    nft_rule_begin(batch, "post_nat");
    nft_match_link(batch, NFT_META_OIFNAME, NFT_CMP_EQ, IGW_LINK);
    nft_match_word(batch, NFT_META_NFPROTO, NFPROTO_IPV4);
    nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 12, ADDRESS_SIZE, NFT_REG_1);
    nft_map(batch, "eip_snat", NFT_REG_1, NFT_REG_1);
    nft_nat(batch, NFT_NAT_SNAT, NFT_REG_1);
    nft_rule_end(batch);
    nft_rule_begin(batch, "post_last"); /* an instance without a public address */
    nft_match_link(batch, NFT_META_OIFNAME, NFT_CMP_EQ, IGW_LINK);
    nft_match_network(batch, true, NFT_CMP_NEQ, pool.network, pool.prefix);
    verdict_rule(batch, NF_DROP);
}

void plan_base(struct nft_batch *batch, struct fabric_cidr pool)
{
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        nft_set_add(batch, &sets[i]);
    for (size_t i = 0; i < ARRAY_LEN(hooks); i++)
        nft_base_chain_add(batch, hooks[i].name, &hooks[i].hook);
    plan_antispoof(batch);
    plan_prerouting(batch, pool);
    plan_input(batch);
    plan_stage(batch, "fwd_sg_out", NFT_META_IIFNAME, "sg_out");
    plan_stage(batch, "fwd_sg_in", NFT_META_OIFNAME, "sg_in");
    plan_postrouting(batch, pool);
}

void plan_arp(struct nft_batch *batch)
{
    static const struct nft_set own = {"own", NFT_TYPE_IFNAME << NFT_TYPE_BITS | NFT_TYPE_IPV4,
                                       NAME_SIZE + ADDRESS_SIZE, 0, 0};
    static const struct nft_hook hook = {"filter", NF_ARP_IN, 0, NF_DROP};
    enum { SENDER = 14 }; /* behind the head (8) and the sender's link address (6) */

    nft_set_add(batch, &own);
    nft_base_chain_add(batch, "arp_in", &hook);
    nft_rule_begin(batch, "arp_in");
    nft_meta(batch, NFT_META_IIFNAME, NFT_REG_1);
    nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, SENDER, ADDRESS_SIZE, NFT_REG_2);
    nft_lookup(batch, own.name, NFT_REG_1, NFT_FOUND);
    accept_rule(batch);
}

/* ---- groups ---- */

/* nft's names have no hyphens: sg-1 → sg_1_in */
void plan_group_name(const struct group *group, const char *prefix, const char *suffix, char name[NFT_NAME])
{
    snprintf(name, NFT_NAME, "%s%s%s", prefix, group->id, suffix);
    for (char *c = name; *c; c++)
        *c = *c == '-' ? '_' : *c;
}

void plan_group_set(struct nft_batch *batch, const struct group *group)
{
    struct nft_set set = {.key_type = NFT_TYPE_IPV4, .key_size = ADDRESS_SIZE};
    char name[NFT_NAME];

    plan_group_name(group, "at_", "", name);
    set.name = name;
    nft_set_add(batch, &set);
}

static void match_peer(struct nft_batch *batch, const struct rule *rule)
{
    const struct fabric_rule *is = &rule->is;
    bool source = !is->egress;
    uint8_t mask[16] = {0}, network[16];
    char name[NFT_NAME];

    switch (is->peer) {
    case FABRIC_PEER_IPV4:
        nft_match_network(batch, source, NFT_CMP_EQ, is->ipv4.network, is->ipv4.prefix);
        break;
    case FABRIC_PEER_IPV6:
        nft_match_word(batch, NFT_META_NFPROTO, NFPROTO_IPV6);
        if (is->ipv6.prefix == 0)
            break;
        for (unsigned i = 0; i < 16; i++) {
            unsigned bits = is->ipv6.prefix > i * 8 ? is->ipv6.prefix - i * 8 : 0;

            mask[i] = bits >= 8 ? 0xff : (uint8_t)(0xff00 >> bits);
            network[i] = is->ipv6.network[i] & mask[i];
        }
        nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, source ? 8 : 24, 16, NFT_REG_1);
        if (is->ipv6.prefix < 128)
            nft_bitwise(batch, NFT_REG_1, mask, sizeof mask);
        nft_compare(batch, NFT_CMP_EQ, NFT_REG_1, network, sizeof network);
        break;
    case FABRIC_PEER_GROUP:
        plan_group_name(rule->group, "at_", "", name);
        nft_match_word(batch, NFT_META_NFPROTO, NFPROTO_IPV4);
        nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, source ? 12 : 16, ADDRESS_SIZE, NFT_REG_1);
        nft_lookup(batch, name, NFT_REG_1, NFT_FOUND);
        break;
    }
}

static void match_ports(struct nft_batch *batch, int from, int to)
{
    uint16_t low = htons((uint16_t)from), high = htons((uint16_t)to);

    if (from == FABRIC_ANY || to == FABRIC_ANY || (from == 0 && to == 65535))
        return;
    nft_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG_1);
    if (from == to) {
        nft_compare(batch, NFT_CMP_EQ, NFT_REG_1, &low, sizeof low);
        return;
    }
    nft_compare(batch, NFT_CMP_GTE, NFT_REG_1, &low, sizeof low);
    nft_compare(batch, NFT_CMP_LTE, NFT_REG_1, &high, sizeof high);
}

static void match_type_and_code(struct nft_batch *batch, int type, int code)
{
    uint8_t bytes[2] = {(uint8_t)type, (uint8_t)code};

    if (type == FABRIC_ANY)
        return;
    nft_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1, NFT_REG_1);
    nft_compare(batch, NFT_CMP_EQ, NFT_REG_1, &bytes[0], 1);
    if (code == FABRIC_ANY)
        return;
    nft_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, 1, 1, NFT_REG_1);
    nft_compare(batch, NFT_CMP_EQ, NFT_REG_1, &bytes[1], 1);
}

static void match_protocol(struct nft_batch *batch, const struct fabric_rule *rule)
{
    if (rule->protocol == FABRIC_ANY)
        return;
    nft_match_word(batch, NFT_META_L4PROTO, (uint8_t)rule->protocol);
    if (rule->protocol == TCP || rule->protocol == UDP)
        match_ports(batch, rule->from, rule->to);
    else if (rule->protocol == ICMP || rule->protocol == ICMPV6)
        match_type_and_code(batch, rule->from, rule->to);
}

void plan_group_rules(struct nft_batch *batch, const struct group *group)
{
    char in[NFT_NAME], out[NFT_NAME];

    plan_group_name(group, "", "_in", in);
    plan_group_name(group, "", "_out", out);
    for (size_t i = 0; i < group->count; i++) {
        nft_rule_begin(batch, group->rules[i].is.egress ? out : in);
        match_peer(batch, &group->rules[i]);
        match_protocol(batch, &group->rules[i].is);
        accept_rule(batch);
    }
}

void plan_combination_rules(struct nft_batch *batch, const struct combination *combination)
{
    static const char *const directions[] = {"_out", "_in"};

    for (size_t d = 0; d < ARRAY_LEN(directions); d++) {
        char chain[NFT_NAME], name[NFT_NAME];

        snprintf(chain, sizeof chain, "%s%s", combination->name, directions[d]);
        for (size_t i = 0; i < combination->count; i++) {
            plan_group_name(combination->groups[i], "", directions[d], name);
            nft_rule_begin(batch, chain);
            nft_verdict(batch, NFT_JUMP, name);
            nft_rule_end(batch);
        }
        nft_rule_begin(batch, chain);
        verdict_rule(batch, NF_DROP);
    }
}

/* ---- interfaces ---- */

struct link_key {
    char name[NAME_SIZE];
};

static struct link_key key_of(const struct attached *attached)
{
    struct link_key key = {""};

    snprintf(key.name, sizeof key.name, "%s", attached->link);
    return key;
}

static void put_mark(struct nft_batch *batch, const struct attached *attached)
{
    struct link_key key = key_of(attached);

    if (attached->mark)
        nft_element_data(batch, &key, sizeof key, &attached->mark, sizeof attached->mark);
}

static void put_checked(struct nft_batch *batch, const struct attached *attached)
{
    struct link_key key = key_of(attached);

    if (attached->source_dest_check)
        nft_element(batch, &key, sizeof key);
}

static void put_sources(struct nft_batch *batch, const struct attached *attached)
{
    struct {
        struct link_key link;
        uint32_t address;
    } key = {.link = key_of(attached)};

    for (size_t i = 0; i < attached->address_count; i++) {
        key.address = htonl(attached->addresses[i].private);
        nft_element(batch, &key, sizeof key);
    }
}

static void put_inward(struct nft_batch *batch, const struct attached *attached)
{
    for (size_t i = 0; i < attached->address_count; i++) {
        uint32_t private = htonl(attached->addresses[i].private), public = htonl(attached->addresses[i].public);

        if (public)
            nft_element_data(batch, &public, sizeof public, &private, sizeof private);
    }
}

static void put_outward(struct nft_batch *batch, const struct attached *attached)
{
    for (size_t i = 0; i < attached->address_count; i++) {
        uint32_t private = htonl(attached->addresses[i].private), public = htonl(attached->addresses[i].public);

        if (public)
            nft_element_data(batch, &private, sizeof private, &public, sizeof public);
    }
}

static void put_goto(struct nft_batch *batch, const struct attached *attached, const char *direction)
{
    struct link_key key = key_of(attached);
    char chain[NFT_NAME];

    snprintf(chain, sizeof chain, "%s%s", attached->combination->name, direction);
    nft_element_goto(batch, &key, sizeof key, chain);
}

static void put_egress(struct nft_batch *batch, const struct attached *attached)
{
    put_goto(batch, attached, "_out");
}

static void put_ingress(struct nft_batch *batch, const struct attached *attached)
{
    put_goto(batch, attached, "_in");
}

const struct plan_elements plan_elements[PLAN_SETS] = {
    {"eni_addr", put_sources, NFPROTO_INET}, {"checked", put_checked, NFPROTO_INET},
    {"if_mark", put_mark, NFPROTO_INET},     {"eip_dnat", put_inward, NFPROTO_INET},
    {"eip_snat", put_outward, NFPROTO_INET}, {"sg_out", put_egress, NFPROTO_INET},
    {"sg_in", put_ingress, NFPROTO_INET},    {"own", put_sources, NFPROTO_ARP},
};

void plan_member(struct nft_batch *batch, const struct attached *attached)
{
    for (size_t i = 0; i < attached->address_count; i++) {
        uint32_t address = htonl(attached->addresses[i].private);

        nft_element(batch, &address, sizeof address);
    }
}
