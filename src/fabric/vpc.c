#include "fabric/vpc.h"
#include "base/fd.h"
#include "base/log.h"
#include "fabric/hub.h"
#include "fabric/link.h"
#include "fabric/namespace.h"
#include "fabric/routing.h"
#include "fabric/rules.h"

#include <stdio.h>

/* ---- rules into the kernel ---- */

void vpc_begin_rules(const struct network *network, struct nft_batch *batch)
{
    nft_begin(batch, NFPROTO_INET, network->table);
    batch->no_arp = network->no_arp;
}

static int send_whole(const struct network *network, struct vpc *vpc, struct err *err)
{
    AUTO_NFT batch = NFT_BATCH_INIT;
    int r = namespace_enter(vpc->fd, err);

    vpc_begin_rules(network, &batch);
    rules_whole(&batch, vpc, hub_pool(network->hub));
    if (r == 0)
        r = nft_send_over(&batch, &vpc->rules, err);
    vpc->rules_stand = r == 0;
    return r;
}

int vpc_send_change(const struct network *network, struct vpc *vpc, struct nft_batch *batch, struct err *err)
{
    struct err why = ERR_INIT;
    int r;

    if (!network->rules || vpc->fd < 0)
        return 0;
    if (!vpc->rules_stand)
        return vpc->untold ? 0 : send_whole(network, vpc, err);
    r = namespace_enter(vpc->fd, err);
    vpc->rules_stand = r == 0;
    if (r == 0 && nft_send_over(batch, &vpc->rules, &why) < 0) {
        log_warning("%s: %s: its rules are replaced whole", vpc->id, why.text);
        r = send_whole(network, vpc, err);
    }
    return r;
}

/* ---- gateway, routes, marks ---- */

static void name_namespace(const struct network *network, const struct vpc *vpc, char name[64])
{
    snprintf(name, 64, "haar-%s-%s", network->owner, vpc->id);
}

int vpc_each_public(const struct network *network, const struct vpc *vpc, const struct attached *attached,
                    int (*each)(struct hub *hub, const struct vpc *vpc, uint32_t public, struct err *err),
                    struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < attached->address_count && r == 0 && network->hub; i++) {
        if (attached->addresses[i].public)
            r = each(network->hub, vpc, attached->addresses[i].public, err);
    }
    return r;
}

static int link_to_hub(const struct network *network, struct vpc *vpc, struct err *err)
{
    int r = hub_link(network->hub, vpc, err);

    for (const struct attached *at = vpc->first; at && r == 0; at = at->next)
        r = vpc_each_public(network, vpc, at, hub_publish, err);
    return r;
}

static int unlink_from_hub(const struct network *network, struct vpc *vpc, struct err *err)
{
    int r = 0;

    for (const struct attached *at = vpc->first; at && r == 0; at = at->next)
        r = vpc_each_public(network, vpc, at, hub_withdraw, err);
    return hub_unlink(network->hub, vpc, err) < 0 ? -1 : r;
}

static int remark(const struct network *network, struct vpc *vpc, struct err *err)
{
    AUTO_NFT batch = NFT_BATCH_INIT;

    vpc_begin_rules(network, &batch);
    for (struct attached *at = vpc->first; at; at = at->next)
        rules_remark(&batch, at, model_mark(vpc, at->subnet));
    return vpc_send_change(network, vpc, &batch, err);
}

bool vpc_lacks_link(const struct network *network, const struct vpc *vpc)
{
    return vpc->fd >= 0 && vpc->internet_gateway && !vpc->linked && network->hub;
}

/* Without the hub there are no public addresses, but all else is: a VPC with a gateway runs on. */
static void try_link(const struct network *network, struct vpc *vpc)
{
    struct err why = ERR_INIT;
    int r;

    if (!vpc_lacks_link(network, vpc))
        return;
    vpc->link_left = false; /* all of it is made anew */
    r = link_to_hub(network, vpc, &why);
    if (r < 0 && !vpc->link_missed)
        log_warning("%s", why.text);
    vpc->link_missed = r < 0;
    vpc->linked = r == 0; /* not without its public addresses */
}

int vpc_apply(const struct network *network, struct vpc *vpc, struct err *err)
{
    bool unlink = (vpc->linked || vpc->link_left) && !vpc->internet_gateway;
    int r;

    try_link(network, vpc);
    if (unlink)
        vpc->linked = false; /* for the routes */
    r = namespace_enter(vpc->fd, err);
    if (r == 0)
        r = routing_apply(vpc, err);
    if (r == 0)
        r = remark(network, vpc, err);
    if (r == 0)
        r = namespace_enter(vpc->fd, err);
    if (r == 0)
        r = routing_end_unwanted(vpc, err);
    if (r == 0)
        r = routing_end_adopted(vpc, err);
    if (unlink)
        vpc->link_left = unlink_from_hub(network, vpc, err) < 0;
    return vpc->link_left ? -1 : r;
}

static int furnish(struct err *err)
{
    struct netlink nl;
    int r = namespace_furnish(err);

    netlink_begin(&nl);
    netlink_link_up(&nl, LINK_LOOPBACK, NULL, "bring the VPC's loopback up");
    if (r == 0)
        r = netlink_send(&nl, err);
    return r == 0 ? routing_furnish(err) : r;
}

/* Behind the highest index in use: an earlier server's links are in it. */
static unsigned first_free_index(unsigned from)
{
    struct if_nameindex *links = if_nameindex();
    unsigned next = from;

    for (struct if_nameindex *at = links; at && at->if_index; at++)
        next = at->if_index >= next ? at->if_index + 1 : next;
    if (links)
        if_freenameindex(links);
    return next;
}

static int adopt_namespace(const struct network *network, struct vpc *vpc, struct err *err)
{
    int r = namespace_enter(vpc->fd, err);

    if (r < 0)
        return r;
    r = namespace_furnish(err);
    if (r < 0)
        return r;
    vpc->next_index = first_free_index(vpc->next_index);
    vpc->linked = network->hub && hub_is_open(network->hub) && if_nametoindex(IGW_LINK);
    return routing_adopt(vpc, err);
}

int vpc_open(const struct network *network, struct vpc *vpc, struct err *err)
{
    static uint64_t keys;
    char name[64];
    int r;

    if (vpc->fd >= 0)
        return namespace_enter(vpc->fd, err);
    vpc->key = ++keys;
    name_namespace(network, vpc, name);
    vpc->fd = namespace_open(name, err);
    if (vpc->fd >= 0) {
        r = adopt_namespace(network, vpc, err);
    } else {
        vpc->fd = namespace_make(name, err);
        r = vpc->fd < 0 ? vpc->fd : furnish(err);
        if (r < 0 && vpc->fd >= 0)
            namespace_remove(name, &ERR_INIT);
    }
    if (r < 0)
        fd_close(&vpc->fd);
    return r;
}

int vpc_end(const struct network *network, struct vpc *vpc, struct err *err)
{
    char name[64];

    name_namespace(network, vpc, name);
    fd_close(&vpc->rules);
    fd_close(&vpc->flows);
    fd_close(&vpc->fd);
    vpc->rules_stand = vpc->linked = vpc->link_left = false;
    vpc->untold = vpc->adopted_tables = 0;
    for (size_t i = 0; i < vpc->table_count; i++) {
        vpc->tables[i].stands = vpc->tables[i].unsure = false;
        vpc->tables[i].standing_count = 0;
    }
    return namespace_remove(name, err);
}
