#include "fabric/hub_plan.h"
#include "base/mem.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter_ipv4.h>

static const struct nft_set sources = {
    .name = HUB_SOURCES, .key_type = NFT_TYPE_IFNAME << NFT_TYPE_BITS | NFT_TYPE_IPV4, .key_size = 20};

static void rule_end(struct nft_batch *batch, int code)
{
    if (code == NF_DROP)
        nft_counter(batch);
    nft_verdict(batch, code, NULL);
    nft_rule_end(batch);
}

static void rule_end_jump(struct nft_batch *batch, const char *chain)
{
    nft_verdict(batch, NFT_JUMP, chain);
    nft_rule_end(batch);
}

static void plan_towards(struct nft_batch *batch, const char *chain, struct fabric_cidr to, int code)
{
    nft_rule_begin(batch, chain);
    nft_match_network(batch, false, NFT_CMP_EQ, to.network, to.prefix);
    rule_end(batch, code);
}

static void plan_private(struct nft_batch *batch, const struct hub_plan *plan)
{
    for (size_t i = 0; i < plan->private_count; i++)
        plan_towards(batch, "private", plan->private[i], NF_DROP);
}

/* Leaves the chain "raw", from and to the network: what the host begins is remembered. */
static void plan_tracked(struct nft_batch *batch, const char *chain, struct fabric_cidr network)
{
    for (int source = 0; source < 2; source++) {
        nft_rule_begin(batch, chain);
        nft_match_network(batch, source, NFT_CMP_EQ, network.network, network.prefix);
        rule_end(batch, NF_ACCEPT);
    }
}

static void plan_host(struct nft_batch *batch, const struct hub_plan *plan)
{
    for (size_t i = 0; i < plan->private_count; i++)
        plan_tracked(batch, "host", plan->private[i]);
}

static void rule_end_notrack(struct nft_batch *batch)
{
    nft_notrack(batch);
    nft_rule_end(batch);
}

uint32_t hub_plan_lent(const struct hub_plan *plan)
{
    return plan->pool.network + 1;
}

/*
 * The table of flows here is one for all accounts, and two machines that play into each other's hands fill any table.
 * So a flow is remembered only where that decides something: the answers to what the host's own networks begin. What
 * else is let through is let through in both directions by where it goes, and each VPC remembers its own.
 */
static void plan_raw(struct nft_batch *batch, const struct hub_plan *plan)
{
    plan_tracked(batch, "raw", (struct fabric_cidr){hub_plan_lent(plan), 32});
    nft_rule_begin(batch, "raw");
    nft_match_link(batch, NFT_META_IIFNAME, NFT_CMP_NEQ, HUB_HOST_LINK);
    nft_match_network(batch, false, NFT_CMP_EQ, plan->pool.network, plan->pool.prefix);
    rule_end_notrack(batch);
    for (size_t i = 0; i < 2 * plan->allowed_count; i++) {
        nft_rule_begin(batch, "raw");
        nft_match_network(batch, i % 2, NFT_CMP_EQ, plan->allowed[i / 2].network, plan->allowed[i / 2].prefix);
        rule_end_notrack(batch);
    }
    nft_rule_begin(batch, "raw");
    rule_end_jump(batch, "host");
    if (!plan->internet)
        return;
    nft_rule_begin(batch, "raw");
    rule_end_notrack(batch);
}

static void plan_forward(struct nft_batch *batch, const struct hub_plan *plan)
{
    nft_rule_begin(batch, "forward");
    nft_match_ct_state(batch, NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED));
    rule_end(batch, NF_ACCEPT);
    nft_rule_begin(batch, "forward"); /* a VPC speaks for its own public addresses */
    nft_match_link(batch, NFT_META_IIFNAME, NFT_CMP_NEQ, HUB_HOST_LINK);
    nft_match_word(batch, NFT_META_NFPROTO, NFPROTO_IPV4);
    nft_meta(batch, NFT_META_IIFNAME, NFT_REG_1);
    nft_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, 12, 4, NFT_REG_2);
    nft_lookup(batch, sources.name, NFT_REG_1, NFT_NOT_FOUND);
    rule_end(batch, NF_DROP);
    /* Into a VPC, whose groups decide: also about an error of a router of ours, whose flow only the VPC knows. */
    nft_rule_begin(batch, "forward");
    nft_match_link(batch, NFT_META_OIFNAME, NFT_CMP_NEQ, HUB_HOST_LINK);
    nft_match_network(batch, false, NFT_CMP_EQ, plan->pool.network, plan->pool.prefix);
    rule_end(batch, NF_ACCEPT);
    nft_rule_begin(batch, "forward");
    nft_match_ct_state(batch, NF_CT_STATE_INVALID_BIT);
    rule_end(batch, NF_DROP);
    for (size_t i = 0; i < plan->allowed_count; i++)
        plan_towards(batch, "forward", plan->allowed[i], NF_ACCEPT);
    nft_rule_begin(batch, "forward");
    rule_end_jump(batch, "private");
    if (plan->internet)
        plan_towards(batch, "forward", (struct fabric_cidr){0}, NF_ACCEPT);
}

void hub_plan_rules(struct nft_batch *batch, const struct hub_plan *plan)
{
    static const struct nft_hook raw = {"filter", NF_INET_PRE_ROUTING, NF_IP_PRI_RAW, NF_ACCEPT};
    static const struct nft_hook forward = {"filter", NF_INET_FORWARD, NF_IP_PRI_FILTER, NF_DROP};
    static const struct nft_hook input = {"filter", NF_INET_LOCAL_IN, NF_IP_PRI_FILTER, NF_DROP};
    static const char *const chains[] = {"raw", "forward", "input", "private", "host"};

    nft_table_add(batch);
    nft_set_add(batch, &sources);
    nft_base_chain_add(batch, "raw", &raw);
    nft_base_chain_add(batch, "forward", &forward);
    nft_base_chain_add(batch, "input", &input);
    nft_chain_add(batch, "private");
    nft_chain_add(batch, "host");
    for (size_t i = 0; i < ARRAY_LEN(chains); i++)
        nft_chain_flush(batch, chains[i]);
    plan_private(batch, plan);
    plan_host(batch, plan);
    plan_raw(batch, plan);
    plan_forward(batch, plan);
}

void hub_plan_networks(struct nft_batch *batch, const struct hub_plan *plan)
{
    nft_chain_flush(batch, "private");
    nft_chain_flush(batch, "host");
    plan_private(batch, plan);
    plan_host(batch, plan);
}
