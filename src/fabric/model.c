#include "fabric/model.h"
#include "base/fd.h"
#include "base/mem.h"
#include "fabric/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_INDEX = 16 };

static void copy_id(struct str id, char out[MODEL_ID])
{
    snprintf(out, MODEL_ID, STR_FMT, STR_ARG(str_first(id, MODEL_ID - 1)));
}

/* ---- groups ---- */

struct group *model_group(struct vpc *vpc, struct str id)
{
    struct group *group = map_get(&vpc->groups, id);

    if (group)
        return group;
    group = mem_alloc(sizeof *group);
    copy_id(id, group->id);
    map_put(&vpc->groups, str_of(group->id), group);
    return group;
}

struct rule *model_rules(struct vpc *vpc, const struct fabric_group *from)
{
    struct rule *rules = mem_alloc((from->count + 1) * sizeof *rules);

    for (size_t i = 0; i < from->count; i++) {
        rules[i].is = from->rules[i];
        if (rules[i].is.peer == FABRIC_PEER_GROUP)
            rules[i].group = model_group(vpc, from->rules[i].group);
        rules[i].is.group = (struct str){0}; /* the caller's memory */
    }
    return rules;
}

static int compare_groups(const void *a, const void *b)
{
    return strcmp((*(struct group *const *)a)->id, (*(struct group *const *)b)->id);
}

/* Sorted, each once. */
static size_t collect_groups(struct vpc *vpc, const struct str *ids, size_t count, struct group *out[FABRIC_GROUPS])
{
    size_t n = 0;

    for (size_t i = 0; i < count && i < FABRIC_GROUPS; i++)
        out[i] = model_group(vpc, ids[i]);
    if (count)
        qsort(out, count, sizeof *out, compare_groups);
    for (size_t i = 0; i < count; i++) {
        if (n == 0 || out[n - 1] != out[i])
            out[n++] = out[i];
    }
    return n;
}

/* The name says what is in it: a hash of the ids, which the server itself gave. */
static void name_combination(struct combination *combination)
{
    char text[FABRIC_GROUPS * MODEL_ID];
    size_t len = 0;

    for (size_t i = 0; i < combination->count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s ", combination->groups[i]->id);
    snprintf(combination->name, sizeof combination->name, "of_%016llx",
             (unsigned long long)str_hash((struct str){text, len}));
}

struct combination *model_combination(struct vpc *vpc, const struct str *groups, size_t count)
{
    struct combination wanted = {0}, *found;

    wanted.count = collect_groups(vpc, groups, count, wanted.groups);
    name_combination(&wanted);
    found = map_get(&vpc->combinations, str_of(wanted.name));
    if (found)
        return found;
    found = mem_copy(&wanted, sizeof wanted);
    map_put(&vpc->combinations, str_of(found->name), found);
    return found;
}

void model_combination_end(struct vpc *vpc, struct combination *combination)
{
    map_remove(&vpc->combinations, str_of(combination->name));
    free(combination);
}

/* ---- interfaces ---- */

void model_interface_fill(struct attached *attached, const struct fabric_interface *from)
{
    attached->version = from->version;
    memcpy(attached->mac, from->mac, sizeof attached->mac);
    attached->gateway = from->gateway;
    copy_id(from->subnet_id, attached->subnet);
    attached->source_dest_check = from->source_dest_check;
    attached->address_count = from->address_count;
    memcpy(attached->addresses, from->addresses, from->address_count * sizeof *from->addresses);
}

struct attached *model_interface_new(struct vpc *vpc, const struct fabric_interface *interface)
{
    struct attached *attached = mem_alloc(sizeof *attached);

    copy_id(interface->id, attached->id);
    link_name(interface->id, attached->link);
    model_interface_fill(attached, interface);
    attached->vpc = vpc;
    attached->next = vpc->first;
    vpc->first = attached;
    vpc->count++;
    return attached;
}

void model_interface_free(struct attached *attached)
{
    struct attached **at = &attached->vpc->first;

    while (*at != attached)
        at = &(*at)->next;
    *at = attached->next;
    attached->vpc->count--;
    free(attached);
}

uint32_t model_mark(const struct vpc *vpc, const char *subnet)
{
    for (size_t i = 0; i < vpc->subnet_count; i++) {
        if (strcmp(vpc->subnets[i].id, subnet) == 0)
            return vpc->subnets[i].table;
    }
    return 0;
}

/* ---- a VPC ---- */

struct vpc *model_vpc_new(struct str id)
{
    struct vpc *vpc = mem_alloc(sizeof *vpc);

    copy_id(id, vpc->id);
    vpc->fd = vpc->rules = vpc->flows = -1;
    vpc->next_index = FIRST_INDEX;
    vpc->next_table = 1;
    return vpc;
}

static struct route_table *find_table(struct vpc *vpc, struct str id)
{
    for (size_t i = 0; i < vpc->table_count; i++) {
        if (str_equal(str_of(vpc->tables[i].id), id))
            return &vpc->tables[i];
    }
    return NULL;
}

static void describe_table(struct vpc *vpc, const struct fabric_route_table *from)
{
    struct route_table *table = find_table(vpc, from->id);

    if (!table) {
        vpc->tables = mem_resize(vpc->tables, (vpc->table_count + 1) * sizeof *vpc->tables);
        table = &vpc->tables[vpc->table_count++];
        *table = (struct route_table){.index = vpc->next_table++};
        copy_id(from->id, table->id);
    }
    free(table->routes);
    table->routes = mem_alloc((from->count + 1) * sizeof *table->routes);
    memcpy(table->routes, from->routes, from->count * sizeof *table->routes);
    table->count = from->count;
    table->wanted = true;
}

static void describe_subnets(struct vpc *vpc, const struct fabric_vpc *from)
{
    free(vpc->subnets);
    vpc->subnets = mem_alloc((from->subnet_count + 1) * sizeof *vpc->subnets);
    vpc->subnet_count = from->subnet_count;
    for (size_t i = 0; i < from->subnet_count; i++) {
        const struct route_table *table = find_table(vpc, from->subnets[i].route_table);

        copy_id(from->subnets[i].id, vpc->subnets[i].id);
        vpc->subnets[i].table = table && table->wanted ? table->index : 0;
    }
}

void model_describe(struct vpc *vpc, const struct fabric_vpc *from)
{
    vpc->internet_gateway = from->internet_gateway;
    free(vpc->cidrs);
    vpc->cidrs = mem_alloc((from->cidr_count + 1) * sizeof *vpc->cidrs);
    memcpy(vpc->cidrs, from->cidrs, from->cidr_count * sizeof *vpc->cidrs);
    vpc->cidr_count = from->cidr_count;
    for (size_t i = 0; i < vpc->table_count; i++)
        vpc->tables[i].wanted = false;
    for (size_t i = 0; i < from->route_table_count; i++)
        describe_table(vpc, &from->route_tables[i]);
    describe_subnets(vpc, from);
}

static void free_values(struct map *map)
{
    for (struct map_slot *at = NULL; (at = map_next(map, at));)
        free(at->value);
    map_free(map);
}

void model_vpc_free(struct vpc *vpc)
{
    while (vpc->first)
        model_interface_free(vpc->first);
    for (struct map_slot *at = NULL; (at = map_next(&vpc->groups, at));)
        free(((struct group *)at->value)->rules);
    free_values(&vpc->groups);
    free_values(&vpc->combinations);
    for (size_t i = 0; i < vpc->table_count; i++) {
        free(vpc->tables[i].routes);
        free(vpc->tables[i].standing);
    }
    free(vpc->tables);
    free(vpc->subnets);
    free(vpc->cidrs);
    fd_close(&vpc->rules);
    fd_close(&vpc->flows);
    fd_close(&vpc->fd);
    free(vpc);
}

/* ---- what comes from outside ---- */

/* Ids become names of kernel objects. */
static int check_id(struct str id, struct err *err)
{
    bool fine = id.len > 0 && id.len < MODEL_ID;

    for (size_t i = 0; i < id.len && fine; i++)
        fine = (id.p[i] >= 'a' && id.p[i] <= 'z') || (id.p[i] >= '0' && id.p[i] <= '9') || id.p[i] == '-';
    return fine ? 0 : err_plain(err, "'" STR_FMT "' is no id", STR_ARG(str_first(id, 100)));
}

int model_check_vpc(const struct fabric_vpc *vpc, struct err *err)
{
    int r = check_id(vpc->id, err);

    if (vpc->subnet_count > MODEL_TABLES || vpc->route_table_count > MODEL_TABLES || vpc->cidr_count > MODEL_TABLES)
        return err_plain(err, "a VPC has at most %d subnets, and as many route tables", MODEL_TABLES);
    for (size_t i = 0; i < vpc->subnet_count && r == 0; i++)
        r = check_id(vpc->subnets[i].id, err);
    for (size_t i = 0; i < vpc->cidr_count; i++) {
        if (vpc->cidrs[i].prefix > 32)
            return err_plain(err, "a CIDR's prefix is at most 32");
    }
    for (size_t i = 0; i < vpc->route_table_count && r == 0; i++) {
        r = check_id(vpc->route_tables[i].id, err);
        if (vpc->route_tables[i].count > MODEL_ROUTES)
            return err_plain(err, "a route table has at most %d routes", MODEL_ROUTES);
        for (size_t k = 0; k < vpc->route_tables[i].count; k++) {
            if (vpc->route_tables[i].routes[k].to.prefix > 32)
                return err_plain(err, "a route's prefix is at most 32");
        }
    }
    return r;
}

int model_check_group(const struct fabric_group *group, struct err *err)
{
    int r = check_id(group->id, err);

    if (group->count > MODEL_RULES)
        return err_plain(err, "a group has at most %d rules", MODEL_RULES);
    for (size_t i = 0; i < group->count && r == 0; i++) {
        const struct fabric_rule *rule = &group->rules[i];

        if (rule->ipv4.prefix > 32 || rule->ipv6.prefix > 128 || rule->protocol > 255 || rule->from > 65535 ||
            rule->to > 65535)
            return err_plain(err, "rule %zu of " STR_FMT " is malformed", i, STR_ARG(group->id));
        if (rule->peer == FABRIC_PEER_GROUP)
            r = check_id(rule->group, err);
    }
    return r;
}

int model_check_interface(const struct fabric_interface *interface, struct err *err)
{
    int r = check_id(interface->id, err);

    if (r == 0)
        r = check_id(interface->vpc_id, err);
    if (interface->address_count < 1 || interface->address_count > FABRIC_ADDRESSES ||
        interface->group_count > FABRIC_GROUPS || interface->prefix > 32 || interface->vpc_cidr.prefix > 32)
        return err_plain(err, "interface " STR_FMT " has 1 to %d addresses and at most %d groups",
                         STR_ARG(str_first(interface->id, 32)), FABRIC_ADDRESSES, FABRIC_GROUPS);
    for (size_t i = 0; i < interface->group_count && r == 0; i++)
        r = check_id(interface->groups[i], err);
    return r;
}
