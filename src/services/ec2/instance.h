/* Instances: their states, and the view of one as Describe shows it. */
#pragma once

#include "services/ec2/local.h"

enum instance_state { /* the low byte of AWS's state code */
                      INSTANCE_PENDING = 0,
                      INSTANCE_RUNNING = 16,
                      INSTANCE_SHUTTING_DOWN = 32,
                      INSTANCE_TERMINATED = 48,
                      INSTANCE_STOPPING = 64,
                      INSTANCE_STOPPED = 80,
};

enum { INSTANCE_VISIBLE_MS = 3600 * 1000 }; /* a terminated one */

struct ec2_instance_state instance_state(enum instance_state state);
static inline enum instance_state instance_state_of(const struct ec2_instance *instance)
{
    return (enum instance_state)instance->state->code.value;
}
void instance_set_state(struct arena *arena, struct ec2_instance *instance, enum instance_state state);
void instance_set_reason(struct arena *arena, struct ec2_instance *instance, struct str code,
                         struct str message); /* absent: none */

/* Has the world caught up with what was asked (call_wait_for)? A running one has also finished its boot. */
bool instance_settled(const void *record);

/* Records of what an instance has, as instance_derive and the reconciler read them; primary interface first. */
size_t instance_interfaces(struct tx *tx, struct arena *arena, struct str instance_id,
                           const struct ec2_network_interface *const **ret);

/* ip-172-31-0-10.ec2.internal */
struct str address_host_name(struct call *call, struct str address);
/* The private DNS name of an interface, and of its primary address: that of the address or, on the primary interface of
 * an instance with resource-based names, of the instance's own id. */
void instance_name_interface(struct call *call, const struct ec2_instance *instance, struct ec2_network_interface *eni);

/* A terminated instance gives back what it had: interfaces and volumes that go with it, and its place in the network.
 */
void instance_release(struct tx *tx, struct arena *arena, struct str instance_id);

/* "User initiated (2026-11-25 12:44:00 GMT)" */
struct str instance_transition(struct arena *arena, int64_t now_ms);
