#include "reconcile/become.h"

#include "base/time.h"
#include "services/ec2/public_address.h"

void become_running(struct arena *arena, struct ec2_instance *instance)
{
    if (instance_state_of(instance) != INSTANCE_PENDING)
        return;
    instance_set_state(arena, instance, INSTANCE_RUNNING);
    instance_set_reason(arena, instance, (struct str){0}, (struct str){0});
    instance->metadata_options->state = S("applied");
}

void become_stopped(struct tx *tx, struct arena *arena, struct ec2_instance *instance)
{
    public_address_on_stop(tx, arena, instance->instance_id);
    instance_set_state(arena, instance, INSTANCE_STOPPED);
    instance->force_stop = NO;
    instance->booted = NO;
    instance->reboots_asked = instance->reboots_done = INT(0);
}

void become_terminated(struct tx *tx, struct arena *arena, struct ec2_instance *instance)
{
    instance_set_state(arena, instance, INSTANCE_TERMINATED);
    instance->terminated_at = TIME(time_now_ms());
    instance->booted = NO;
    instance_release(tx, arena, instance->instance_id);
}

/* A launch that failed ends as terminated, a start that failed as stopped; the reason says what failed. */
void become_failed(struct tx *tx, struct arena *arena, struct ec2_instance *instance, const struct err *err)
{
    struct str message = arena_printf(arena, "Server.InternalError: %s", err->text);

    if (instance->generation.value > 1 || instance_state_of(instance) == INSTANCE_RUNNING)
        become_stopped(tx, arena, instance);
    else
        become_terminated(tx, arena, instance);
    instance_set_reason(arena, instance, S("Server.InternalError"), message);
    instance->state_transition_reason = S("Server.InternalError");
}

/* The guest has powered itself off: the instance stops or terminates, as its attribute says. */
void become_powered_off(struct arena *arena, struct ec2_instance *instance)
{
    bool terminates = str_equal(instance->shutdown_behavior, S("terminate"));

    instance_set_state(arena, instance, terminates ? INSTANCE_SHUTTING_DOWN : INSTANCE_STOPPING);
    instance_set_reason(arena, instance, S("Client.InstanceInitiatedShutdown"),
                        S("Client.InstanceInitiatedShutdown: Instance initiated shutdown"));
    instance->state_transition_reason = S("");
}

void become_over_allowance(struct arena *arena, struct ec2_instance *instance)
{
    instance_set_state(arena, instance, INSTANCE_STOPPING);
    instance_set_reason(
        arena, instance, S("Client.VolumeLimitExceeded"),
        S("Client.VolumeLimitExceeded: The instance kept more on its root volume than the volume's "
          "size, or more than can be counted. Started again it runs until it has grown by 64 MiB more."));
    instance->state_transition_reason = S("Client.VolumeLimitExceeded");
}

void become_what_it_asks(struct engine *engine, struct tx *tx, struct arena *arena, struct str id)
{
    const struct ec2_instance *seen = instance_peek(tx, id);
    struct ec2_instance *instance;

    if (!seen || instance_settled(seen))
        return;
    instance = tx_edit(tx, EC2_INSTANCE, id);
    switch (instance_state_of(instance)) {
    case INSTANCE_PENDING:
    case INSTANCE_RUNNING:
        public_address_on_start(engine, tx, arena, id);
        become_running(arena, instance);
        instance->reboots_done = instance->reboots_asked;
        instance->booted = YES;
        break;
    case INSTANCE_STOPPING:
        become_stopped(tx, arena, instance);
        break;
    case INSTANCE_SHUTTING_DOWN:
        become_terminated(tx, arena, instance);
        break;
    case INSTANCE_STOPPED:
    case INSTANCE_TERMINATED:
        break;
    }
}
