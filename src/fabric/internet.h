/* What lies beyond the host, and whether packets get there. Each function works in the host's network namespace. */
#pragma once

#include "fabric/fabric.h"
#include "fabric/nft.h"

/* True: the host forwards. ret_reason: why packets do not get beyond it, empty if they do. ret_changed: forwarding was
 * off and is on now, by FABRIC_INTERNET_ON. */
bool internet_decide(enum fabric_internet mode, char reason[256], bool *ret_changed);
void internet_restore(void); /* forwarding off again */

/* The host's own addresses and the networks that it is in, behind those that are private or of one link anywhere. */
enum { INTERNET_PRIVATE = 64 };
size_t internet_private(struct fabric_cidr out[INTERNET_PRIVATE]);
bool internet_host_has_address(void); /* one that a guest can answer */

/* What leaves the host from the pool gets the host's address. */
void internet_plan(struct nft_batch *batch, struct fabric_cidr pool, const char *hub_link);
