/*
 * Instances: what the records say should be, against what the driver has. Reads the store's feed; an instance whose
 * record and machine differ gets a job on a worker, one at a time; what comes of it goes back as a transaction.
 * Level-triggered: a change that comes meanwhile is looked at when the job is done. What the driver or the store
 * refuses rests, is tried again ever later, and is said once (queue.h).
 *
 *   record            machine wanted       when it is so
 *   pending           running              → running (its init has reported), booted (its user data has run)
 *   running           running              a reboot asked for is done; an end that nobody asked for is repaired
 *   stopping          none, disk kept      → stopped
 *   shutting-down     none at all          → terminated, gone an hour later
 *   no record         none at all
 *
 * Without a driver (backend none) a record is what it asks to be, at once.
 */
#pragma once

#include "operation/call.h"
#include "reconcile/clock.h"
#include "workload/workload.h"

struct instances;

/* Subscribes to the feed. */
struct instances *instances_new(struct engine *engine, const struct clock *clock);
/* There will be a driver: its sink, as it is made before it is given. Call once, while records are as they were loaded
 * (what asks for something is acted on when it is durable); events are taken from any thread. */
struct workload_sink instances_sink(struct instances *instances);
/* Begins: with a driver, asks it what runs and adopts that. `image`: what an instance boots ("host"). Call once, after
 * the sink. */
void instances_start(struct instances *instances, const struct workload_backend *backend, struct str image);
/* No new jobs; done(arg) when the running ones have ended. */
void instances_stop(struct instances *instances, void (*done)(void *arg), void *arg);
void instances_free(struct instances *instances); /* after done, and after the driver is closed */

/* A reset waits until no machine of a forgotten record is left: done(arg), when every job under way has ended. */
void instances_when_idle(struct instances *instances, void (*done)(void *arg), void *arg);
