/*
 * The fabric: VPCs in the kernel. A VPC is a network namespace, "haar-<owner>-<vpc id>" under /run/netns, made with
 * its first interface and gone with its last; an interface is a veth pair between it and a guest. The namespace
 * routes and answers ARP for everyone, so every packet is forwarded, even inside a subnet, and filtered by a table of
 * rules in it. VPCs with an internet gateway meet the host in one more namespace, the hub (hub.h).
 *
 * One thread of its own does everything: nothing else in the server calls setns. The functions below queue a request to
 * it and wait for the answer, so they block; any thread but the loop's may call them, and several at once.
 *
 * What it is told is level-triggered: whole descriptions, compared with what stands. Views are read during the call
 * only. A description's `version` grows with what it describes: one that is older than what is known changes nothing (a
 * worker may be late), 0 is always taken. One that failed may have been obeyed in part; it may be told again, with the
 * same version, and then all of it is seen to. It remembers a VPC and its groups until fabric_vpc_remove, also while
 * nothing runs in it. IPv4 addresses are in host order.
 */
#pragma once

#include "base/err.h"

struct fabric;

enum { FABRIC_ANY = -1 };

struct fabric_cidr {
    uint32_t network;
    unsigned prefix;
};

enum fabric_peer { FABRIC_PEER_IPV4, FABRIC_PEER_IPV6, FABRIC_PEER_GROUP };

/* One permission of a security group. */
struct fabric_rule {
    bool egress;
    int protocol; /* its IP number, FABRIC_ANY: all. Of ICMPv6 (58): all types */
    int from, to; /* ports of TCP and UDP; ICMP: type and code. FABRIC_ANY in either: all, of it */
    enum fabric_peer peer;
    struct fabric_cidr ipv4;
    struct {
        uint8_t network[16];
        unsigned prefix;
    } ipv6;
    struct str group; /* the id: all addresses of interfaces that have this group */
};

struct fabric_group {
    struct str id; /* sg-… */
    uint64_t version;
    const struct fabric_rule *rules;
    size_t count;
};

enum fabric_target { FABRIC_LOCAL, FABRIC_INTERNET, FABRIC_BLACKHOLE };

struct fabric_route {
    struct fabric_cidr to;
    enum fabric_target target;
};

struct fabric_route_table {
    struct str id; /* rtb-… */
    const struct fabric_route *routes;
    size_t count;
};

struct fabric_subnet {
    struct str id;
    struct fabric_cidr cidr;
    struct str route_table; /* its own or the VPC's main one */
};

struct fabric_vpc {
    struct str id;
    uint64_t version;
    const struct fabric_cidr *cidrs;
    size_t cidr_count;
    bool internet_gateway; /* one is attached */
    const struct fabric_subnet *subnets;
    size_t subnet_count;
    const struct fabric_route_table *route_tables;
    size_t route_table_count;
};

struct fabric_address {
    uint32_t private, public; /* public: 0 if none */
};

enum { FABRIC_ADDRESSES = 50, FABRIC_GROUPS = 16 }; /* of an interface, at most */

struct fabric_interface {
    struct str id;     /* eni-… */
    struct str vpc_id; /* vpc-… */
    uint64_t version;
    struct str subnet_id;
    struct fabric_cidr vpc_cidr; /* where `vpc` is not known */
    uint8_t mac[6];
    const struct fabric_address *addresses; /* the first is the primary one */
    size_t address_count;
    const struct str *groups; /* ids */
    size_t group_count;
    uint32_t gateway; /* the subnet's first address, answered by the VPC */
    unsigned prefix;  /* the subnet's */
    unsigned device_index;
    bool source_dest_check;
};

enum fabric_internet { FABRIC_INTERNET_AUTO, FABRIC_INTERNET_ON, FABRIC_INTERNET_OFF };

struct fabric_config {
    struct str owner;
    struct str state_dir; /* the public pool is kept there, in `pool` */
    enum fabric_internet internet;
    struct fabric_cidr public_pool;          /* prefix 0: a free /20 of 198.18.0.0/15 */
    const struct fabric_cidr *allowed_hosts; /* what guests may reach of the host and its private networks */
    size_t allowed_host_count;
    const char
        *no_rules; /* why none are made, as on a host whose kernel has no nf_tables; NULL: if it can, it filters */
};

/* 0, or in one line what this host lacks for filtered networks. Any thread. */
int fabric_probe(struct err *err);

struct fabric *fabric_new(const struct fabric_config *config); /* what it lacks, fabric_status says */

struct fabric_status {
    bool enforced;                  /* groups are obeyed */
    char reason[256];               /* why not */
    struct fabric_cidr public_pool; /* prefix 0: there is none, and `internet_reason` says why */
    bool internet;                  /* guests reach beyond the host */
    char internet_reason[256];      /* why not */
};

void fabric_status(struct fabric *fabric, struct fabric_status *ret);
struct fabric_cidr fabric_public_pool(struct fabric *fabric); /* prefix 0: none */

/* Each replaces what it names, and is obeyed on return. A VPC in which nothing has run yet is not known: 0. */
int fabric_set_vpc(struct fabric *fabric, const struct fabric_vpc *vpc, struct err *err);
int fabric_set_group(struct fabric *fabric, struct str vpc_id, const struct fabric_group *group, struct err *err);
int fabric_set_interface(struct fabric *fabric, const struct fabric_interface *interface, struct err *err);

/* Before attach: what the VPC of an interface is, and its groups, as set_vpc and set_group but known from now on. */
int fabric_describe(struct fabric *fabric, const struct fabric_vpc *vpc, const struct fabric_group *groups,
                    size_t group_count, struct err *err);

/*
 * Makes the interface between its VPC and the network namespace `guest` (a descriptor; stays the caller's) as
 * eth<device_index>, configured and up. Its rules stand before it is up. On failure nothing of it is left.
 */
int fabric_attach(struct fabric *fabric, const struct fabric_interface *interface, int guest, struct err *err);

/*
 * Takes note of an interface that an earlier server attached. The rules that it left go on being obeyed, until all
 * adopted interfaces of the VPC have been told by set_interface or an interface comes: then they are replaced whole.
 * 1: noted, but its link is gone: it reaches nothing until it is attached again, which may be done without a detach.
 */
int fabric_adopt(struct fabric *fabric, const struct fabric_interface *interface, struct err *err);

/* Its packets stop at once; the kernel takes the link away a moment later. One that is not there: 0. */
int fabric_detach(struct fabric *fabric, struct str interface_id, struct err *err);

/* The VPC's namespace with all that is in it, and what is known of it. One that is not there: 0. */
int fabric_vpc_remove(struct fabric *fabric, struct str vpc_id, struct err *err);

/* Ends the thread and frees. remove_all: every namespace of this owner goes, also one that an earlier server left. */
int fabric_close(struct fabric *fabric, bool remove_all, struct err *err);

/* Namespaces of an owner that is dead. */
int fabric_remove_owner(struct str owner, struct err *err);
