#include "fabric/hub.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "fabric/conntrack.h"
#include "fabric/forwarding.h"
#include "fabric/hub_plan.h"
#include "fabric/internet.h"
#include "fabric/link.h"
#include "fabric/namespace.h"
#include "fabric/pool.h"
#include "fabric/plan.h"
#include "fabric/routing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    HOST_INDEX = 8,
    FLOWS_KEY = 0, /* the hub, for the reaper: VPCs begin at 1 */
    INTERNET_MTU = 1500,
    FAR = ROUTING_HUB + 1 /* a VPC, seen from the hub; the hub, from the host */
};

/* Both ends of each of its links: every link is a wire of its own. */
static const uint8_t near_mac[6] = {0x0a, 0x68, 0x61, 0x61, 0x72, 0x02};
static const uint8_t far_mac[6] = {0x0a, 0x68, 0x61, 0x61, 0x72, 0x03};

struct hub {
    char owner[16];
    char name[64]; /* of the namespace */
    char table[NFT_NAME];
    char host_link[IFNAMSIZ];
    int home, fd, rules;
    int flows; /* a conntrack socket in it, once there was need */
    struct reaper *reaper;
    struct hub_plan plan; /* as its rules have it */
    char internet_reason[256];
};

/* ---- its rules ---- */

/* The host's networks as they are now. 1: others than before. */
static int look_at_host(struct hub *hub, struct err *err)
{
    struct fabric_cidr now[INTERNET_PRIVATE];
    size_t count;
    int r = namespace_enter(hub->home, err);

    if (r < 0)
        return r;
    count = internet_private(now);
    if (count == hub->plan.private_count && memcmp(now, hub->plan.private, count * sizeof *now) == 0)
        return 0;
    memcpy(hub->plan.private, now, count * sizeof *now);
    hub->plan.private_count = count;
    return 1;
}

/* In the host's namespace: a host that is offline has no address to speak from. Else a guest sees the host's own. */
static int lend_address(const struct hub *hub, unsigned index, struct err *err)
{
    struct netlink nl;

    if (internet_host_has_address())
        return 0;
    netlink_begin(&nl);
    netlink_address(&nl, index, hub_plan_lent(&hub->plan), 32, EEXIST);
    return netlink_send(&nl, err);
}

/* A host moves from network to network. */
static int follow_host(struct hub *hub, struct err *err)
{
    AUTO_NFT batch = NFT_BATCH_INIT;
    int changed = look_at_host(hub, err), r = changed > 0 ? lend_address(hub, if_nametoindex(hub->host_link), err) : 0;

    if (r == 0)
        r = namespace_enter(hub->fd, err);
    if (changed <= 0 || r < 0)
        return changed < 0 ? changed : r;
    nft_begin(&batch, NFPROTO_INET, hub->table);
    hub_plan_networks(&batch, &hub->plan);
    return nft_send_over(&batch, &hub->rules, err);
}

static int send_rules(struct hub *hub, struct err *err)
{
    AUTO_NFT batch = NFT_BATCH_INIT;
    int r = look_at_host(hub, err);

    if (r >= 0)
        r = namespace_enter(hub->fd, err);
    if (r < 0)
        return r;
    nft_begin(&batch, NFPROTO_INET, hub->table);
    hub_plan_rules(&batch, &hub->plan);
    r = nft_send_over(&batch, &hub->rules, &ERR_INIT);
    if (r == 0)
        return 0;
    nft_begin(&batch, NFPROTO_INET, hub->table); /* another version's table, with other chains of these names */
    nft_table_add(&batch);
    nft_table_delete(&batch);
    hub_plan_rules(&batch, &hub->plan);
    return nft_send_over(&batch, &hub->rules, err);
}

static int send_host_plan(const struct hub *hub, uint32_t share, struct err *err)
{
    AUTO_NFT batch = NFT_BATCH_INIT;

    nft_begin(&batch, NFPROTO_IPV4, hub->table);
    nft_table_add(&batch);
    nft_table_delete(&batch);
    nft_table_add(&batch);
    internet_plan(&batch, hub->plan.pool, hub->host_link, share);
    return nft_send(&batch, err);
}

/* In the host's namespace: its only rules of ours. */
static int send_host_rules(const struct hub *hub, struct err *err)
{
    uint32_t share = internet_share();
    struct err why = ERR_INIT;

    if (!hub->plan.internet)
        return 0;
    if (share && send_host_plan(hub, share, &why) == 0)
        return 0;
    if (share)
        log_warning("a machine can fill the host's table of flows: %s (ct count, nft_connlimit)", why.text);
    return send_host_plan(hub, 0, err);
}

/* ---- its link to the host ---- */

static int make_host_link(const struct hub *hub, struct err *err)
{
    struct netlink_route out = {.type = RTN_UNICAST, .gateway = ROUTING_HUB, .index = HOST_INDEX, .onlink = true};
    struct netlink_route unused = {
        .type = RTN_BLACKHOLE, .to = hub->plan.pool.network, .prefix = hub->plan.pool.prefix};
    struct netlink_route lent = out;
    struct link_pair pair = {.name = HUB_HOST_LINK,
                             .peer_name = hub->host_link,
                             .index = HOST_INDEX,
                             .mac = far_mac,
                             .peer_mac = near_mac,
                             .mtu = INTERNET_MTU,
                             .peer = hub->home};
    struct netlink nl;

    lent.to = hub_plan_lent(&hub->plan);
    lent.prefix = 32;
    netlink_begin(&nl);
    netlink_link_up(&nl, LINK_LOOPBACK, NULL, "bring the hub's loopback up");
    link_put_pair(&nl, &pair, EEXIST);
    netlink_link_up(&nl, HOST_INDEX, NULL, "bring the hub's link to the host up");
    netlink_neighbour(&nl, HOST_INDEX, ROUTING_HUB, near_mac);
    netlink_route_replace(&nl, &out);
    netlink_route_replace(&nl, &unused);
    netlink_route_replace(&nl, &lent);
    return netlink_send(&nl, err);
}

static int furnish_host(const struct hub *hub, struct err *err)
{
    unsigned index = if_nametoindex(hub->host_link);
    struct netlink_route to_pool = {.type = RTN_UNICAST,
                                    .to = hub->plan.pool.network,
                                    .prefix = hub->plan.pool.prefix,
                                    .gateway = FAR,
                                    .index = index,
                                    .onlink = true};
    struct netlink nl;
    char alias[64];
    int r;

    if (!index)
        return err_os(err, ENODEV, "the host's link %s", hub->host_link);
    r = lend_address(hub, index, err);
    if (r < 0)
        return r;
    snprintf(alias, sizeof alias, "haar:%s:hub", hub->owner);
    netlink_begin(&nl);
    netlink_link_up(&nl, index, alias, "bring the host's link to the hub up");
    netlink_neighbour(&nl, index, FAR, far_mac);
    netlink_route_replace(&nl, &to_pool);
    return netlink_send(&nl, err);
}

static int open_namespace(struct hub *hub, struct err *err)
{
    int r;

    hub->fd = namespace_open(hub->name, err);
    if (hub->fd >= 0)
        return namespace_enter(hub->fd, err);
    if (hub->fd != -ENOENT)
        return hub->fd;
    hub->fd = namespace_make(hub->name, err);
    r = hub->fd < 0 ? hub->fd : namespace_furnish(err);
    return r;
}

static int hub_open(struct hub *hub, struct err *err)
{
    int r;

    if (hub->fd >= 0)
        return 0;
    if (hub->plan.pool.prefix == 0)
        return err_plain(err, "%s", hub->internet_reason);
    r = open_namespace(hub, err);
    if (r == 0)
        r = send_rules(hub, err);
    if (r == 0)
        r = make_host_link(hub, err);
    if (r == 0)
        r = namespace_enter(hub->home, err);
    if (r == 0)
        r = furnish_host(hub, err);
    if (r == 0)
        r = send_host_rules(hub, err);
    if (r == 0)
        r = namespace_enter(hub->fd, err);
    if (r == 0)
        link_settle(HUB_HOST_LINK);
    if (r < 0) {
        fd_close(&hub->rules);
        fd_close(&hub->fd);
    }
    return r < 0 ? err_wrap(err, "the hub") : 0;
}

/* ---- its links to VPCs ---- */

static void vpc_link(const struct vpc *vpc, char name[IFNAMSIZ])
{
    struct str id = str_of(vpc->id);

    snprintf(name, IFNAMSIZ, "v" STR_FMT, STR_ARG(str_skip(id, id.len > 14 ? id.len - 14 : 0)));
}

/* The kernel is still taking away what linked an earlier namespace of the VPC: its name is needed again. */
static int put_aside(const struct hub *hub, const char *name, struct err *err)
{
    unsigned index;
    struct netlink nl;
    char aside[IFNAMSIZ];
    int r = namespace_enter(hub->fd, err);

    if (r < 0)
        return r;
    index = if_nametoindex(name);
    if (!index)
        return 0;
    snprintf(aside, sizeof aside, "x%u", index);
    netlink_begin(&nl);
    link_put_down(&nl, index);
    link_put_name(&nl, index, aside);
    return netlink_send(&nl, err);
}

static int furnish_vpc_end(const struct hub *hub, const struct vpc *vpc, const char *name, struct err *err)
{
    struct link_pair pair = {.name = IGW_LINK,
                             .peer_name = name,
                             .index = ROUTING_IGW_INDEX,
                             .mac = far_mac,
                             .peer_mac = near_mac,
                             .mtu = INTERNET_MTU,
                             .peer = hub->fd};
    struct netlink nl;
    char alias[64];
    int r = namespace_enter(vpc->fd, err);

    snprintf(alias, sizeof alias, "haar:%s:igw", hub->owner);
    netlink_begin(&nl);
    link_put_pair(&nl, &pair, EEXIST);
    netlink_link_up(&nl, ROUTING_IGW_INDEX, alias, "bring the internet gateway's link up");
    netlink_neighbour(&nl, ROUTING_IGW_INDEX, ROUTING_HUB, near_mac);
    return r == 0 ? netlink_send(&nl, err) : r;
}

static int furnish_hub_end(const struct hub *hub, const char *name, struct err *err)
{
    unsigned index;
    struct netlink nl;
    int r = namespace_enter(hub->fd, err);

    if (r < 0)
        return r;
    index = if_nametoindex(name);
    if (!index)
        return err_os(err, ENODEV, "the hub's link %s", name);
    netlink_begin(&nl);
    netlink_link_up(&nl, index, NULL, "bring the hub's link to a VPC up");
    netlink_neighbour(&nl, index, FAR, far_mac);
    return netlink_send(&nl, err);
}

int hub_link(struct hub *hub, struct vpc *vpc, struct err *err)
{
    char name[IFNAMSIZ];
    int r = hub_open(hub, err);

    vpc_link(vpc, name);
    if (r == 0)
        r = namespace_enter(vpc->fd, err);
    if (r == 0 && !if_nametoindex(IGW_LINK))
        r = put_aside(hub, name, err);
    if (r == 0)
        r = furnish_vpc_end(hub, vpc, name, err);
    if (r == 0)
        r = furnish_hub_end(hub, name, err);
    if (r == 0)
        r = namespace_enter(vpc->fd, err);
    if (r == 0)
        link_settle(IGW_LINK);
    vpc->linked = r == 0;
    return r < 0 ? err_wrap(err, "the internet gateway of %s", vpc->id) : 0;
}

int hub_unlink(struct hub *hub, struct vpc *vpc, struct err *err)
{
    AUTO_FD socket = -1;
    int r = namespace_enter(vpc->fd, err);

    vpc->linked = false;
    if (r < 0)
        return r;
    socket = link_socket();
    if (socket >= 0)
        link_delete(ROUTING_IGW_INDEX, socket);
    return 0;
}

/* ---- public addresses ---- */

static int send_source(struct hub *hub, const char *link, uint32_t public, bool add, struct err *err)
{
    struct {
        char link[16];
        uint32_t address;
    } key = {.address = htonl(public)};
    AUTO_NFT batch = NFT_BATCH_INIT;
    int r;

    snprintf(key.link, sizeof key.link, "%s", link);
    nft_begin(&batch, NFPROTO_INET, hub->table);
    nft_elements_begin(&batch, HUB_SOURCES, add);
    nft_element(&batch, &key, sizeof key);
    nft_elements_end(&batch);
    r = nft_send_over(&batch, &hub->rules, err);
    return r == -ENOENT && !add ? 0 : r;
}

/* In the hub's namespace: who gets the address next starts afresh. */
static void forget_flows(struct hub *hub, uint32_t public)
{
    if (hub->flows < 0)
        hub->flows = conntrack_socket();
    if (hub->flows >= 0)
        reaper_end_flows(hub->reaper, FLOWS_KEY, fcntl(hub->flows, F_DUPFD_CLOEXEC, 0), public);
}

int hub_publish(struct hub *hub, const struct vpc *vpc, uint32_t public, struct err *err)
{
    struct netlink_route route = {.type = RTN_UNICAST, .to = public, .prefix = 32, .gateway = FAR, .onlink = true};
    char name[IFNAMSIZ];
    struct netlink nl;
    int r = follow_host(hub, err);

    if (r < 0)
        return r;
    reaper_await_flows(hub->reaper, FLOWS_KEY, public);
    vpc_link(vpc, name);
    route.index = if_nametoindex(name);
    r = send_source(hub, name, public, true, err);
    netlink_begin(&nl);
    netlink_route_replace(&nl, &route);
    return r == 0 ? netlink_send(&nl, err) : r;
}

int hub_withdraw(struct hub *hub, const struct vpc *vpc, uint32_t public, struct err *err)
{
    char name[IFNAMSIZ];
    struct netlink nl;
    int r = hub->fd < 0 ? 0 : namespace_enter(hub->fd, err);

    if (r < 0 || hub->fd < 0)
        return r;
    vpc_link(vpc, name);
    netlink_begin(&nl);
    netlink_route_delete(&nl, &(struct netlink_route){.to = public, .prefix = 32});
    r = netlink_send(&nl, err);
    if (send_source(hub, name, public, false, err) < 0)
        r = -1;
    forget_flows(hub, public);
    return r;
}

/* ---- beginning and end ---- */

bool hub_is_open(const struct hub *hub)
{
    return hub->fd >= 0;
}

struct fabric_cidr hub_pool(const struct hub *hub)
{
    return hub->plan.pool;
}

void hub_status(const struct hub *hub, struct fabric_status *ret)
{
    ret->public_pool = hub->plan.pool;
    ret->internet = hub->plan.internet && !hub->internet_reason[0];
    memcpy(ret->internet_reason, hub->internet_reason, sizeof ret->internet_reason);
}

static void names(struct hub *hub, struct str owner)
{
    snprintf(hub->owner, sizeof hub->owner, STR_FMT, STR_ARG(str_first(owner, 15)));
    snprintf(hub->name, sizeof hub->name, "haar-%s-hub", hub->owner);
    snprintf(hub->table, sizeof hub->table, "haar_%s", hub->owner);
    snprintf(hub->host_link, sizeof hub->host_link, "haar-%.10s", hub->owner);
}

static bool left_by_an_earlier(const struct hub *hub)
{
    int fd = namespace_open(hub->name, &ERR_INIT);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

struct hub *hub_new(const struct fabric_config *config, int home, struct reaper *reaper)
{
    struct hub *hub = mem_alloc(sizeof *hub);
    size_t size = (config->allowed_host_count + 1) * sizeof *hub->plan.allowed;
    struct err why = ERR_INIT;

    names(hub, config->owner);
    hub->home = home;
    hub->reaper = reaper;
    hub->fd = hub->rules = hub->flows = -1;
    hub->plan.allowed = mem_alloc(size);
    hub->plan.allowed_count = config->allowed_host_count;
    if (config->allowed_host_count)
        memcpy(hub->plan.allowed, config->allowed_hosts, config->allowed_host_count * sizeof *hub->plan.allowed);
    hub->plan.internet = internet_decide(hub->owner, config->internet, hub->internet_reason);
    if (pool_take(hub->owner, config->state_dir, config->public_pool, &hub->plan.pool, &why) < 0) {
        log_warning("no public addresses: %s", why.text);
        hub->plan.internet = false;
        snprintf(hub->internet_reason, sizeof hub->internet_reason, "%.250s", why.text);
    } else if (left_by_an_earlier(hub) && hub_open(hub, &why) < 0) {
        log_warning("%s", why.text); /* tried again when a VPC needs it */
    }
    return hub;
}

int hub_remove_owner(const char *owner, struct err *err)
{
    struct hub hub = {0};
    AUTO_NFT batch = NFT_BATCH_INIT;
    AUTO_FD socket = -1;
    unsigned index;

    names(&hub, str_of(owner));
    forwarding_release(hub.owner);
    nft_begin(&batch, NFPROTO_IPV4, hub.table);
    nft_table_delete(&batch);
    nft_send(&batch, &ERR_INIT); /* there may be none */
    index = if_nametoindex(hub.host_link);
    if (index == 0)
        return 0;
    socket = link_socket();
    if (socket < 0)
        return err_os(err, errno, "remove %s", hub.host_link);
    link_delete(index, socket);
    return 0;
}

static void take_back(const struct hub *hub, bool remove)
{
    struct err err = ERR_INIT;

    if (namespace_enter(hub->home, &err) < 0)
        return;
    if (!remove)
        forwarding_release(hub->owner);
    else if (hub_remove_owner(hub->owner, &err) < 0)
        log_warning("%s", err.text);
}

void hub_free(struct hub *hub, bool remove, bool used)
{
    if (remove || !used)
        take_back(hub, remove);
    fd_close(&hub->rules);
    fd_close(&hub->flows);
    fd_close(&hub->fd);
    free(hub->plan.allowed);
    free(hub);
}
