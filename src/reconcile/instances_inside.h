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
    uint64_t durable;    /* the version of its record that the feed has told of; 0: it has none */
    bool present;        /* the driver may have something of it */
    enum job_kind job;
    int64_t generation; /* of the record when the machine was last asked to run; 0: never */
    int64_t reboots;    /* done, of that generation */
    bool ready, booted; /* what its init has reported since */
    bool ended;         /* by itself, and how: */
    struct workload_exit exit;

    /* What fails, or ends soon after its start, is tried again ever later. */
    enum job_kind failing;  /* the job that does; a reboot counts as a start */
    unsigned failures;      /* of it, in a row */
    unsigned refusals;      /* of commits, in a row; while there are any it is a commit that rests */
    unsigned failed_starts; /* since it last was ready */
    int64_t started_us;
    struct trouble trouble;
    bool aside;            /* its record has been lost: its disk is kept when it is removed */
    enum job_kind outcome; /* its end is not in the record yet; JOB_ENSURE: it failed */

    /* The job's own: input and outcome. Touched by the worker between work_run and done. */
    struct arena arena;
    struct workload_spec spec;
    unsigned grace_ms;
    bool hurried; /* the loop's: the job under way need not wait for the guest any longer */
    int r;
    struct err err;
};

/* The driver is asked what runs, until it says. */
struct adoption {
    struct queue queue; /* of one item: */
    struct queue_item item;
    unsigned failures;
    struct trouble trouble;

    /* The job's. */
    struct arena arena;
    struct workload_observed *observed;
    size_t count;
    int r;
    struct err err;
};

struct instances {
    struct engine *engine;
    const struct clock *clock;
    struct workload_backend backend;
    struct str image;
    struct map machines; /* id → struct machine */
    struct queue queue;  /* held until adoption is over */
    struct adoption adoption;
    struct trouble trouble; /* with the store */
    struct alarm expire, end;
    unsigned end_ticks;
    int open; /* queues and alarms that are */
};

/* Made when there is none; NULL: that id is no instance's. `world` may be NULL where it is not known yet. */
struct machine *machine_of(struct instances *all, struct world *world, struct str id);
void machine_enqueue(struct machine *machine); /* to be looked at */
/* The job has failed: the first time it is done again at once, then ever later. */
void machine_rest(struct machine *machine, enum job_kind job);
bool machine_rests(const struct machine *machine, enum job_kind job); /* it is not its time yet */
/* Commits what was observed. Refused: the machine rests and is looked at again, so what is to be written must be kept
 * until this has returned 0. */
int machine_commit(struct machine *machine, struct tx *tx);
void machine_note_steady(struct machine *machine); /* what has run long enough is not failing */

/* jobs.c */
void machine_start_job(struct machine *machine, enum job_kind job); /* unless it rests */
/* A new boot, of a new generation or after an end that nobody asked for; unless it rests. */
void machine_start_boot(struct machine *machine, struct tx *tx, const struct ec2_instance *instance);
void machine_hurry(struct machine *machine); /* the job under way need not wait for the guest any longer */
bool machine_owes_reboots(const struct machine *machine, const struct ec2_instance *instance); /* that are done */
int machine_apply_outcome(struct machine *machine); /* into the record; refused, it is kept */

/* adopt.c. The driver is asked what runs, on a worker; then every record is looked at. */
void adoption_init(struct instances *all);
void instances_adopt(struct instances *all);
void instances_note_all(struct instances *all); /* every record as it was loaded, which is durable */
void instances_enqueue_all(struct instances *all);
void instances_begin(struct instances *all); /* instances.c: adoption is over */
