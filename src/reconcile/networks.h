/*
 * The network: what records say of VPCs, security groups and interfaces, told to the driver as it changes. A record
 * that changes makes its VPC, its group or its interface stale; what is stale is described whole and told on a worker,
 * one thing at a time for one id; the answer to who changed it waits for that (park.h). What nothing runs in is not
 * told: ensure brings what a machine needs. What the driver refused is told again, ever later, until it is obeyed.
 */
#pragma once

#include "operation/call.h"
#include "reconcile/clock.h"
#include "workload/workload.h"

struct networks;

struct networks *networks_new(struct engine *engine, const struct clock *clock); /* subscribes to the feed */
/*
 * Tells the driver of every interface whose instance runs, then calls done(arg), from the loop or at once: what runs is
 * adopted so, before anything else starts. A driver that filters nothing is told nothing.
 */
void networks_start(struct networks *network, const struct workload_backend *backend, void (*done)(void *arg),
                    void *arg);
void networks_stop(struct networks *network, void (*done)(void *arg),
                   void *arg); /* no new jobs; when the running ones have ended */
void networks_free(struct networks *network);
