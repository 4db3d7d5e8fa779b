#include "fabric/routing.h"
#include "base/mem.h"
#include "fabric/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

enum { PREFER_MAIN = 100, NOWHERE = 32000, TABLES_END = 20000 };

int routing_furnish(struct err *err)
{
    struct netlink nl;

    netlink_begin(&nl);
    netlink_rule(&nl, PREFER_MAIN, 0, RT_TABLE_MAIN);
    netlink_rule(&nl, NOWHERE, 0, 0);
    return netlink_send(&nl, err);
}

static struct netlink_route kernel_route(const struct route_table *table, const struct fabric_route *route)
{
    struct netlink_route out = {.type = RTN_BLACKHOLE,
                                .to = route->to.network,
                                .prefix = route->to.prefix,
                                .table = ROUTING_TABLE + table->index};

    if (route->target == FABRIC_INTERNET) {
        out.type = RTN_UNICAST;
        out.gateway = ROUTING_HUB;
        out.index = ROUTING_IGW_INDEX;
        out.onlink = true;
    }
    return out;
}

/* What the table should hold: local routes are the main table's; a gateway that is not there leads nowhere. */
static struct fabric_route *effective(const struct vpc *vpc, const struct route_table *table, size_t *ret_count)
{
    struct fabric_route *routes = mem_alloc((table->count + 1) * sizeof *routes);
    size_t count = 0;

    for (size_t i = 0; i < table->count; i++) {
        if (table->routes[i].target == FABRIC_LOCAL)
            continue;
        routes[count] = table->routes[i];
        if (!vpc->linked)
            routes[count].target = FABRIC_BLACKHOLE;
        count++;
    }
    *ret_count = count;
    return routes;
}

static const struct fabric_route *find(const struct fabric_route *routes, size_t count, struct fabric_cidr to)
{
    for (size_t i = 0; i < count; i++) {
        if (routes[i].to.network == to.network && routes[i].to.prefix == to.prefix)
            return &routes[i];
    }
    return NULL;
}

/* In the kernel from now on. Refused, there may be some of both, so the next time both are seen to. */
static void note_standing(struct route_table *table, struct fabric_route *wanted, size_t count, int r)
{
    table->unsure = r < 0;
    if (r < 0) {
        wanted = mem_resize(wanted, (count + table->standing_count + 1) * sizeof *wanted);
        for (size_t i = 0; i < table->standing_count; i++)
            if (!find(wanted, count, table->standing[i].to))
                wanted[count++] = table->standing[i];
    }
    free(table->standing);
    table->standing = wanted;
    table->standing_count = count;
}

static int apply_table(const struct vpc *vpc, struct route_table *table, struct err *err)
{
    struct netlink nl;
    size_t count;
    struct fabric_route *wanted = effective(vpc, table, &count);
    int r = 0;

    netlink_begin(&nl);
    for (size_t i = 0; i < count && r == 0; i++) {
        const struct fabric_route *standing = find(table->standing, table->standing_count, wanted[i].to);
        struct netlink_route route = kernel_route(table, &wanted[i]);

        if (!standing || standing->target != wanted[i].target || table->unsure)
            netlink_route_replace(&nl, &route);
        r = netlink_make_room(&nl, err);
    }
    for (size_t i = 0; i < table->standing_count && r == 0; i++) {
        struct netlink_route route = kernel_route(table, &table->standing[i]);

        if (!find(wanted, count, table->standing[i].to))
            netlink_route_delete(&nl, &route);
        r = netlink_make_room(&nl, err);
    }
    if (!table->stands || table->unsure)
        netlink_rule(&nl, ROUTING_TABLE + table->index, table->index, ROUTING_TABLE + table->index);
    if (r == 0)
        r = netlink_send(&nl, err);
    note_standing(table, wanted, count, r);
    table->stands = true;
    return r;
}

int routing_apply(struct vpc *vpc, struct err *err)
{
    struct netlink nl;
    int r = 0;

    netlink_begin(&nl);
    for (size_t i = 0; i < vpc->cidr_count && r == 0; i++) {
        struct netlink_route route = {
            .type = RTN_BLACKHOLE, .to = vpc->cidrs[i].network, .prefix = vpc->cidrs[i].prefix};

        netlink_route(&nl, &route, EEXIST);
        r = netlink_make_room(&nl, err);
    }
    if (r == 0)
        r = netlink_send(&nl, err);
    for (size_t i = 0; i < vpc->table_count && r == 0; i++) {
        if (vpc->tables[i].wanted)
            r = apply_table(vpc, &vpc->tables[i], err);
    }
    return r;
}

static int end_table(struct route_table *table, struct err *err)
{
    struct netlink nl;
    int r = 0;

    netlink_begin(&nl);
    if (table->stands)
        netlink_rule_delete(&nl, ROUTING_TABLE + table->index);
    for (size_t i = 0; i < table->standing_count && r == 0; i++) {
        struct netlink_route route = kernel_route(table, &table->standing[i]);

        netlink_route_delete(&nl, &route);
        r = netlink_make_room(&nl, err);
    }
    if (r == 0)
        r = netlink_send(&nl, err);
    if (r < 0)
        return r;
    free(table->routes);
    free(table->standing);
    return 0;
}

/* One that does not go stays, unwanted. */
int routing_end_unwanted(struct vpc *vpc, struct err *err)
{
    size_t left = 0;
    int r = 0;

    for (size_t i = 0; i < vpc->table_count; i++) {
        int gone = vpc->tables[i].wanted ? 1 : end_table(&vpc->tables[i], err);

        if (gone != 0)
            vpc->tables[left++] = vpc->tables[i];
        r = gone < 0 ? gone : r;
    }
    vpc->table_count = left;
    return r;
}

/* ---- what an earlier server left ---- */

static void note_rule(void *cookie, const struct nlmsghdr *head)
{
    unsigned *next = cookie, priority = 0;
    const struct nlattr *attribute;

    mnl_attr_for_each(attribute, head, sizeof(struct fib_rule_hdr))
    {
        if (mnl_attr_get_type(attribute) == FRA_PRIORITY)
            priority = mnl_attr_get_u32(attribute);
    }
    if (priority > ROUTING_TABLE && priority < TABLES_END && priority - ROUTING_TABLE >= *next)
        *next = priority - ROUTING_TABLE + 1;
}

int routing_adopt(struct vpc *vpc, struct err *err)
{
    int r = netlink_list(RTM_GETRULE, note_rule, &vpc->next_table, err);

    vpc->adopted_tables = vpc->next_table - 1;
    return r;
}

struct leftovers {
    struct netlink nl;
    unsigned below;
    int r;
    struct err *err;
};

static void end_route(void *cookie, const struct nlmsghdr *head)
{
    struct leftovers *leftovers = cookie;
    const struct rtmsg *info = mnl_nlmsg_get_payload(head);
    struct netlink_route route = {.prefix = info->rtm_dst_len};
    const struct nlattr *attribute;

    mnl_attr_for_each(attribute, head, sizeof *info)
    {
        if (mnl_attr_get_type(attribute) == RTA_TABLE)
            route.table = mnl_attr_get_u32(attribute);
        if (mnl_attr_get_type(attribute) == RTA_DST)
            route.to = ntohl(mnl_attr_get_u32(attribute));
    }
    if (route.table <= ROUTING_TABLE || route.table >= leftovers->below || leftovers->r < 0)
        return;
    netlink_route_delete(&leftovers->nl, &route);
    leftovers->r = netlink_make_room(&leftovers->nl, leftovers->err);
}

int routing_end_adopted(struct vpc *vpc, struct err *err)
{
    struct leftovers leftovers = {.below = ROUTING_TABLE + vpc->adopted_tables + 1, .err = err};
    int r;

    if (vpc->adopted_tables == 0)
        return 0;
    netlink_begin(&leftovers.nl);
    for (unsigned i = 1; i <= vpc->adopted_tables && leftovers.r == 0; i++) {
        netlink_rule_delete(&leftovers.nl, ROUTING_TABLE + i);
        leftovers.r = netlink_make_room(&leftovers.nl, err);
    }
    r = netlink_list(RTM_GETROUTE, end_route, &leftovers, err);
    if (r == 0)
        r = leftovers.r;
    if (r == 0)
        r = netlink_send(&leftovers.nl, err);
    if (r == 0)
        vpc->adopted_tables = 0;
    return r;
}
