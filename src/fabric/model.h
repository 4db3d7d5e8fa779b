/*
 * What the fabric knows: VPCs, their groups, route tables and attached interfaces. Memory of the fabric's thread only;
 * nothing here touches the kernel. A VPC and its groups outlive its namespace, interfaces end with their links.
 */
#pragma once

#include "base/map.h"
#include "fabric/fabric.h"

#include <net/if.h>

enum {
    MODEL_ID = 32,
    MODEL_RULES = 2000, /* of a group */
    MODEL_TABLES = 400, /* of a VPC, and subnets */
    MODEL_ROUTES = 1000,
};

struct group {
    char id[MODEL_ID];
    uint64_t version;
    struct rule *rules;
    size_t count;
    unsigned combinations; /* in use, that it is in: while there is one its chains stand */
    unsigned uses;         /* interfaces that have it, rules of standing chains that name it: then its set stands */
};

struct rule {
    struct fabric_rule is;
    struct group *group; /* is.peer == FABRIC_PEER_GROUP */
};

/* The groups of an interface, in order of their ids; shared by all that have the same. */
struct combination {
    char name[24]; /* of its chains, before _in and _out */
    struct group *groups[FABRIC_GROUPS];
    size_t count;
    unsigned uses;
};

struct route_table {
    char id[MODEL_ID];
    unsigned index; /* the mark, and the kernel's table: ROUTING_TABLE + index */
    struct fabric_route *routes;
    size_t count;
    struct fabric_route *standing; /* in the kernel: each a route out, or a blackhole */
    size_t standing_count;
    bool stands, wanted;
    bool unsure; /* the last change of what stands was refused */
};

struct subnet {
    char id[MODEL_ID];
    unsigned table; /* its index; 0: local routes only */
};

struct attached {
    char id[MODEL_ID];
    struct vpc *vpc;
    char link[IFNAMSIZ];
    uint64_t version;
    bool told;      /* not only adopted */
    unsigned index; /* of its link */
    uint8_t mac[6];
    uint32_t gateway;
    char subnet[MODEL_ID];
    uint32_t mark; /* as it stands in the rules */
    bool source_dest_check;
    struct fabric_address addresses[FABRIC_ADDRESSES];
    size_t address_count;
    struct combination *combination;
    struct attached *next; /* in its VPC */
};

struct vpc {
    char id[MODEL_ID];
    int fd;       /* its namespace; -1: nothing runs in it */
    int rules;    /* an nf_tables socket in it, once there was need */
    int flows;    /* a conntrack socket in it, as well */
    uint64_t key; /* this namespace, of all that the VPC has had */
    unsigned next_index;
    unsigned count;
    struct attached *first;
    unsigned untold;  /* adopted interfaces that nobody has told of: the rules that stand are the earlier server's */
    bool rules_stand; /* as the model says */
    bool linked;      /* to the hub */
    bool link_missed; /* it is not, and the log says why */
    bool link_left;   /* it is not, but the end of what linked it was refused */

    uint64_t version;
    struct fabric_cidr *cidrs;
    size_t cidr_count;
    bool internet_gateway;
    struct subnet *subnets;
    size_t subnet_count;
    struct route_table *tables;
    size_t table_count;
    unsigned next_table, adopted_tables;

    struct map groups;       /* by id */
    struct map combinations; /* by name */
};

struct vpc *model_vpc_new(struct str id);
void model_vpc_free(struct vpc *vpc); /* with all that is in it */

struct group *model_group(struct vpc *vpc, struct str id); /* made, without rules, when there is none */
struct rule *model_rules(struct vpc *vpc, const struct fabric_group *group); /* a copy, for group->rules */

/* Takes its CIDRs and subnets; route tables that stay keep their index, their routes are the caller's to replace. */
void model_describe(struct vpc *vpc, const struct fabric_vpc *from);

/* The combination of these groups, made when there is none. */
struct combination *model_combination(struct vpc *vpc, const struct str *groups, size_t count);
void model_combination_end(struct vpc *vpc, struct combination *combination); /* when nobody uses it */

struct attached *model_interface_new(struct vpc *vpc, const struct fabric_interface *interface);
void model_interface_fill(struct attached *attached, const struct fabric_interface *interface);
void model_interface_free(struct attached *attached);

uint32_t model_mark(const struct vpc *vpc, const char *subnet); /* its route table's index; 0: none */

int model_check_vpc(const struct fabric_vpc *vpc, struct err *err);
int model_check_group(const struct fabric_group *group, struct err *err);
int model_check_interface(const struct fabric_interface *interface, struct err *err);
