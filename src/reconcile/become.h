/* What the records of an instance become when its machine has become something. All inside a transaction. */
#pragma once

#include "operation/call.h"
#include "services/ec2/instance.h"

void become_running(struct arena *arena, struct ec2_instance *instance);
void become_stopped(struct tx *tx, struct arena *arena, struct ec2_instance *instance);
void become_terminated(struct tx *tx, struct arena *arena, struct ec2_instance *instance);
/* A launch that failed ends as terminated, a start that failed as stopped; the reason says what failed. */
void become_failed(struct tx *tx, struct arena *arena, struct ec2_instance *instance, const struct err *err);
/* The guest has powered itself off: the instance stops or terminates, as its attribute says. */
void become_powered_off(struct arena *arena, struct ec2_instance *instance);
/* Its machine has outgrown its disk and was ended: the instance stops, and starts again when somebody asks. */
void become_over_allowance(struct arena *arena, struct ec2_instance *instance);

/* Without a driver: the record `id` is what it asks to be. */
void become_what_it_asks(struct engine *engine, struct tx *tx, struct arena *arena, struct str id);
