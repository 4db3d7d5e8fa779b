/*
 * The route tables of a VPC, in whose namespace the calling thread is. The mark that a packet got from its incoming
 * interface picks one:
 *
 *     0 local | 100 main: the interfaces' addresses, the rest of the VPC's CIDRs goes nowhere | 10000 + mark | 32000
 *     nowhere
 *
 * What comes from the hub has no mark: it reaches interfaces only. Nowhere is silent, as AWS is.
 */
#pragma once

#include "fabric/model.h"

enum { ROUTING_TABLE = 10000, ROUTING_IGW_INDEX = 8, ROUTING_HUB = 0xa9fe6401 /* 169.254.100.1 */ };

int routing_furnish(struct err *err); /* a new namespace */
int routing_apply(struct vpc *vpc, struct err *err);
int routing_end_unwanted(struct vpc *vpc, struct err *err); /* when no interface's mark says them any more */

/* Numbers of the VPC's tables go on behind those that an earlier server left; they end when ours are in use. */
int routing_adopt(struct vpc *vpc, struct err *err);
int routing_end_adopted(struct vpc *vpc, struct err *err);
