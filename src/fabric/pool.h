/* Public addresses: each owner's own network of 198.18.0.0/15, which RFC 2544 keeps for laboratories. */
#pragma once

#include "fabric/fabric.h"

/*
 * The owner's pool: `wanted` (prefix 0: none), else the one that state_dir/pool holds, else a free /20: one that no
 * route of the host's (the calling thread's network namespace) touches and no other owner's file names, or at least no
 * living owner's. Kept in
 * state_dir/pool. A wanted one that the host's routes touch is a failure that says so.
 */
int pool_take(const char *owner, struct str state_dir, struct fabric_cidr wanted, struct fabric_cidr *ret,
              struct err *err);
