/* Jobs: what a driver is asked to do for a machine, on a worker, and what comes of it. */
#include "base/log.h"
#include "reconcile/become.h"
#include "reconcile/instances_inside.h"
#include "reconcile/spec.h"

#include <sys/wait.h>

enum {
    RESTARTS_MAX = 5, /* of a running instance's machine that fail to start, one after the other */
};

static void run_job(void *arg)
{
    struct machine *machine = arg;
    const struct workload_backend *backend = &machine->all->backend;
    struct str id = str_of(machine->id);

    if (machine->all->queue.stopping && (machine->job == JOB_ENSURE || machine->job == JOB_REBOOT)) {
        machine->r = err_plain(&machine->err, "the server ends");
        return;
    }
    switch (machine->job) {
    case JOB_ENSURE:
        machine->r = backend->driver->ensure(backend->cookie, &machine->spec, &machine->err);
        break;
    case JOB_STOP:
        machine->r = backend->driver->stop(backend->cookie, id, machine->grace_ms, &machine->err);
        break;
    case JOB_REBOOT:
        machine->r = backend->driver->reboot(backend->cookie, id, machine->grace_ms, &machine->err);
        break;
    case JOB_REMOVE:
        machine->r = machine->aside && backend->driver->set_aside
                         ? backend->driver->set_aside(backend->cookie, id, &machine->err)
                         : backend->driver->remove(backend->cookie, id, &machine->err);
        break;
    case JOB_NONE:
        break;
    }
}

/* A pending instance gets one try; a running one whose machine ended gets some more. */
static bool boot_has_failed(const struct machine *machine, enum instance_state state)
{
    return state == INSTANCE_PENDING || (state == INSTANCE_RUNNING && machine->failed_starts >= RESTARTS_MAX);
}

/* A start that the server's end cut short: the record still asks for it, and the next server of the data folder boots
 * it. */
static bool was_cut_short(const struct machine *machine, enum job_kind job)
{
    return machine->all->queue.stopping && machine->r < 0 && (job == JOB_ENSURE || job == JOB_REBOOT);
}

bool machine_owes_reboots(const struct machine *machine, const struct ec2_instance *instance)
{
    return machine->generation == instance->generation.value && instance_state_of(instance) == INSTANCE_RUNNING &&
           instance->reboots_done.value != machine->reboots;
}

/* What has been done, into the record; done twice it is the same. False when it changes nothing. */
static bool apply(struct machine *machine, struct tx *tx, struct ec2_instance *instance)
{
    enum instance_state state = instance_state_of(instance);

    if (machine->outcome == JOB_STOP && state == INSTANCE_STOPPING) {
        become_stopped(tx, tx_arena(tx), instance);
    } else if (machine->outcome == JOB_REMOVE && state == INSTANCE_SHUTTING_DOWN) {
        become_terminated(tx, tx_arena(tx), instance);
    } else if (machine->outcome == JOB_ENSURE && boot_has_failed(machine, state)) {
        become_failed(tx, tx_arena(tx), instance, &machine->err);
        machine->trouble = (struct trouble){0}; /* it was said, and is not tried any more */
    } else if (machine_owes_reboots(machine, instance)) {
        instance->reboots_done = INT(machine->reboots); /* a boot after an end serves a reboot asked for meanwhile */
    } else {
        return false;
    }
    return true;
}

int machine_apply_outcome(struct machine *machine)
{
    struct arena arena = ARENA_INIT;
    struct tx *tx = tx_begin(machine->all->engine->store, machine->world, &arena, S("reconcile"));
    struct ec2_instance *instance = tx_edit(tx, EC2_INSTANCE, str_of(machine->id));
    int r = 0;

    if (instance && apply(machine, tx, instance))
        r = machine_commit(machine, tx);
    else
        tx_rollback(tx);
    arena_free(&arena);
    if (r == 0)
        machine->outcome = JOB_NONE;
    return r;
}

/* It has failed: said once, and done again later. */
static void note_failure(struct machine *machine, enum job_kind job)
{
    trouble_say(&machine->trouble, machine->id, &machine->err);
    machine_rest(machine, job == JOB_REBOOT ? JOB_ENSURE : job);
    if (job == JOB_STOP || job == JOB_REMOVE)
        return;
    machine->failed_starts++;
    machine->outcome = JOB_ENSURE;
}

static void note_success(struct machine *machine, enum job_kind job)
{
    trouble_over(&machine->trouble, machine->id);
    if (job == JOB_REMOVE)
        machine->present = false;
    if (job == JOB_STOP || job == JOB_REMOVE) {
        machine->failures = 0;
        machine->outcome = job;
    }
}

/* What the machine is to us after its job. What is not in the record yet is the outcome. */
static void note_job(struct machine *machine, enum job_kind job)
{
    if (was_cut_short(machine, job))
        log_info("%s: %s", machine->id, machine->err.text);
    else if (machine->r < 0)
        note_failure(machine, job);
    else
        note_success(machine, job);
    if (job == JOB_STOP || job == JOB_REMOVE || machine->r < 0) {
        machine->generation = 0;
        machine->ready = machine->booted = machine->ended = false;
    }
}

static void on_job_done(void *arg)
{
    struct machine *machine = arg;
    struct instances *all = machine->all;
    enum job_kind job = machine->job;

    machine->job = JOB_NONE;
    machine->hurried = false;
    arena_free(&machine->arena);
    note_job(machine, job);
    /* At once, since a server that ends looks at nothing any more; then it is looked at: what the record asks for may
     * have changed meanwhile. */
    if (machine_apply_outcome(machine) == 0)
        machine_enqueue(machine);
    queue_job_ended(&all->queue);
}

void machine_start_job(struct machine *machine, enum job_kind job)
{
    if (machine_rests(machine, job))
        return;
    machine->job = job;
    machine->r = 0;
    machine->err = ERR_INIT;
    queue_end_rest(&machine->all->queue, &machine->item);
    queue_job_begins(&machine->all->queue);
    work_run(machine->all->engine->pool, run_job, on_job_done, machine);
}

/* The job under way waits for a guest that it need not wait for any longer. */
void machine_hurry(struct machine *machine)
{
    const struct workload_backend *backend = &machine->all->backend;

    if (machine->hurried || !backend->driver->hurry || machine->job == JOB_NONE || machine->job == JOB_REMOVE)
        return;
    machine->hurried = true;
    backend->driver->hurry(backend->cookie, str_of(machine->id));
}

/* Why a machine boots though nobody asked for it, as its console says. */
static struct str why_again(struct arena *arena, const struct machine *machine)
{
    const struct workload_exit *exit = &machine->exit;

    if (!machine->ended)
        return S("it ended while no server watched it, or the host was restarted");
    if (exit->unlinked)
        return S("its links to its network were taken away, and could not be made again");
    if (exit->lost)
        return S("its monitor was killed");
    if (exit->out_of_memory)
        return S("it ran out of memory");
    if (exit->reboot)
        return S("the machine rebooted itself");
    if (WIFSIGNALED(exit->status))
        return arena_printf(arena, "its init was killed by signal %d", WTERMSIG(exit->status));
    return arena_printf(arena, "its init ended with status %d", WEXITSTATUS(exit->status));
}

/* A new boot, of a new generation or after an end that nobody asked for. */
void machine_start_boot(struct machine *machine, struct tx *tx, const struct ec2_instance *instance)
{
    struct str why = S("");

    if (machine_rests(machine, JOB_ENSURE))
        return;
    if (instance_state_of(instance) == INSTANCE_RUNNING)
        why = why_again(&machine->arena, machine);
    machine->present = true;
    machine->generation = instance->generation.value;
    machine->reboots = instance->reboots_asked.value;
    machine->ready = machine->booted = machine->ended = false;
    machine->started_us = machine->all->clock->now_us();
    machine->err = ERR_INIT;
    machine->r = spec_of_instance(tx, &machine->arena, instance, machine->all->image,
                                  store_last(machine->all->engine->store), &machine->spec, &machine->err);
    machine->spec.why = why;
    if (machine->r < 0) {
        queue_job_begins(&machine->all->queue);
        machine->job = JOB_ENSURE;
        work_post(machine->all->engine->pool, on_job_done, machine);
        return;
    }
    machine_start_job(machine, JOB_ENSURE);
}
