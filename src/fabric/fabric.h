/*
 * The fabric: VPCs in the kernel. A VPC is a network namespace, "haar-<owner>-<vpc id>" under /run/netns, made with
 * its first interface and gone with its last; an interface is a veth pair between it and a guest. The namespace
 * routes and answers ARP for everyone, so every packet is forwarded, even inside a subnet.
 *
 * One thread of its own does everything: nothing else in the server calls setns. The functions below queue a request to
 * it and wait for the answer, so they block; any thread but the loop's may call them, and several at once.
 */
#pragma once

#include "base/err.h"

struct fabric;

struct fabric_interface {
    struct str id;     /* eni-… */
    struct str vpc_id; /* vpc-… */
    struct str vpc_cidr;
    uint8_t mac[6];
    uint32_t address; /* IPv4, host order */
    uint32_t gateway; /* the subnet's first address, answered by the VPC */
    unsigned prefix;  /* the subnet's */
    unsigned device_index;
};

struct fabric *fabric_new(struct str owner);

/*
 * Makes the interface between its VPC and the network namespace `guest` (a descriptor; stays the caller's) as
 * eth<device_index>, configured and up. On failure nothing of it is left.
 */
int fabric_attach(struct fabric *fabric, const struct fabric_interface *interface, int guest, struct err *err);

/* Takes note of an interface that an earlier server attached. */
int fabric_adopt(struct fabric *fabric, const struct fabric_interface *interface, struct err *err);

/* Its packets stop at once; the kernel takes the link away a moment later. One that is not there: 0. */
int fabric_detach(struct fabric *fabric, struct str interface_id, struct err *err);

/* The VPC's namespace with all that is in it. One that is not there: 0. */
int fabric_vpc_remove(struct fabric *fabric, struct str vpc_id, struct err *err);

/* Ends the thread and frees. remove_all: every namespace of this owner goes, also one that an earlier server left. */
int fabric_close(struct fabric *fabric, bool remove_all, struct err *err);

/* Namespaces of an owner that is dead. */
int fabric_remove_owner(struct str owner, struct err *err);
