/* Shared by instances.c, jobs.c and adopt.c. */
#pragma once

#include "base/map.h"
#include "reconcile/instances.h"
#include "reconcile/queue.h"
#include "services/ec2/instance.h"

#include <stdatomic.h>

enum { INSTANCE_ID_SIZE = 32 };

enum job_kind { JOB_NONE, JOB_ENSURE, JOB_STOP, JOB_REBOOT, JOB_REMOVE };

/* One instance that the driver has, or should have, something of; or whose record is to be looked at. */
struct machine {
    struct queue_item item;
    char id[INSTANCE_ID_SIZE];
    struct instances *all;
    struct world *world; /* kept */
    bool present;        /* the driver may have something of it */
    enum job_kind job;
    int64_t generation; /* of the record when the machine was last asked to run; 0: never */
    int64_t reboots;    /* done, of that generation */
    bool ready, booted; /* what its init has reported since */
    bool ended;         /* by itself, and how: */
    struct workload_exit exit;

    /* What fails, or ends soon after its start, is tried again ever later. */
    unsigned failures, failed_starts;
    int64_t started_us;
    enum job_kind resting; /* the job that waits until: */
    int64_t rest_until_us; /* 0: none does */

    /* The job's own: input and outcome. Touched by the worker between work_run and done. */
    struct arena arena;
    struct workload_spec spec;
    unsigned grace_ms;
    bool hurried; /* the loop's: the job under way need not wait for the guest any longer */
    int r;
    struct err err;
};

struct instances {
    struct engine *engine;
    struct workload_backend backend;
    struct str image;
    struct map machines; /* id → struct machine */
    struct queue queue;  /* held until adoption is over */
    uv_timer_t expire, rest;
    unsigned end_ticks;
    int handles; /* that are open */
};

/* Made when there is none; NULL: that id is no instance's. `world` may be NULL where it is not known yet. */
struct machine *machine_of(struct instances *all, struct world *world, struct str id);
void machine_enqueue(struct machine *machine); /* to be looked at */

void machine_log_failed_commit(const struct machine *machine, const struct err *err);

/* jobs.c */
void machine_start_job(struct machine *machine, enum job_kind job); /* unless it rests */
/* A new boot, of a new generation or after an end that nobody asked for; unless it rests. */
void machine_start_boot(struct machine *machine, struct tx *tx, const struct ec2_instance *instance);
void machine_hurry(struct machine *machine); /* the job under way need not wait for the guest any longer */

/* rest.c. The job has failed: the first time it is done again at once, then ever later. */
void machine_rest(struct machine *machine, enum job_kind job);
bool machine_rests(const struct machine *machine, enum job_kind job); /* it is not its time yet */

/* adopt.c. The driver is asked what runs, on a worker; then every record is looked at. */
void instances_adopt(struct instances *all);
void instances_enqueue_all(struct instances *all);
void instances_begin(struct instances *all); /* instances.c: adoption is over */
