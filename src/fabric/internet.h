/* What lies beyond the host, and whether packets get there. Each function works in the host's network namespace. */
#pragma once

#include "fabric/fabric.h"
#include "fabric/nft.h"

/* True: the host forwards. ret_reason: why packets do not get beyond it, empty if they do. FABRIC_INTERNET_ON claims
 * forwarding for the owner (forwarding.h); the others let go of what an earlier start of it had claimed. */
bool internet_decide(const char *owner, enum fabric_internet mode, char reason[256]);

/* The host's own addresses and the networks that it is in, behind those that are private or of one link anywhere. */
enum { INTERNET_PRIVATE = 64 };
size_t internet_private(struct fabric_cidr out[INTERNET_PRIVATE]);
bool internet_host_has_address(void); /* one that a guest can answer */

/* How many flows the host may track of one public address of ours: an eighth of its table. */
uint32_t internet_share(void);

/* What leaves the host from the pool gets the host's address; share: as many flows of each address. 0: without limit.
 */
void internet_plan(struct nft_batch *batch, struct fabric_cidr pool, const char *hub_link, uint32_t share);
