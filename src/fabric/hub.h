/*
 * The hub: one network namespace per owner, "haar-<owner>-hub", where VPCs with an internet gateway meet each other and
 * the host. In it one link a VPC ("v…", its other end "igw0") and one to the host ("host0"; there "haar-<owner>", with
 * the public pool's route: all that the host gets, but a table for masquerade where it forwards). Links have no
 * addresses; each end knows the other's. A public address is a route to its VPC.
 *
 * From VPCs it lets through: to public addresses of the pool; to the host's side what --allow-host names, and what is
 * not private, where there is a way beyond the host. From the host: to the pool. Flows are tracked only where the
 * host's own networks begin them, so that no machine can make one more. Made when the first VPC needs it. The fabric's
 * thread only; it ends in another network namespace than it began.
 */
#pragma once

#include "fabric/model.h"
#include "fabric/reaper.h"

struct hub;

/* In the host's network namespace, `home`; config's views are copied, the reaper is the caller's. Finds what an earlier
 * server left. */
struct hub *hub_new(const struct fabric_config *config, int home, struct reaper *reaper);
void hub_status(const struct hub *hub, struct fabric_status *ret);
bool hub_is_open(const struct hub *hub);
struct fabric_cidr hub_pool(const struct hub *hub);

/* vpc->linked: from its namespace to the hub, and back, rules and routes of the VPC's not included. */
int hub_link(struct hub *hub, struct vpc *vpc, struct err *err);
int hub_unlink(struct hub *hub, struct vpc *vpc, struct err *err);

int hub_publish(struct hub *hub, const struct vpc *vpc, uint32_t public, struct err *err);
int hub_withdraw(struct hub *hub, const struct vpc *vpc, uint32_t public, struct err *err); /* with its tracked flows */

/* remove: what the host got goes; the namespace itself is the caller's to remove. used: there are machines behind it;
 * for none the host need not forward. */
void hub_free(struct hub *hub, bool remove, bool used);
int hub_remove_owner(const char *owner, struct err *err); /* a dead one's, in the host's network namespace */
