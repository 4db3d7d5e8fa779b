#include "reconcile/instances.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/time.h"
#include "reconcile/spec.h"
#include "services/ec2/instance.h"
#include "services/ec2/public_address.h"

#include <stdlib.h>

enum { ID_SIZE = 32, STOP_GRACE_MS = 20000, TERMINATE_GRACE_MS = 500, EXPIRE_EVERY_MS = 60000 };

enum job_kind { JOB_NONE, JOB_ENSURE, JOB_STOP, JOB_REBOOT, JOB_REMOVE };

/* One instance that the driver has, or should have, something of; or whose record is to be looked at. */
struct machine {
    char id[ID_SIZE];
    struct instances *all;
    struct machine *next_queued;
    struct world *world;
    bool queued, present; /* present: the driver may have something of it */
    enum job_kind job;
    int64_t generation; /* of the record when the machine was last asked to run; 0: never */
    int64_t reboots;    /* done, of that generation */
    bool ready, booted; /* what its init has reported since */
    bool ended;         /* by itself, and how: */
    struct workload_exit exit;

    /* The job's own: input and outcome. Touched by the worker between work_run and done. */
    struct arena arena;
    struct workload_spec spec;
    unsigned grace_ms;
    int r;
    struct err err;
};

struct instances {
    struct engine *engine;
    struct workload_backend backend;
    struct str image;
    struct map machines; /* id → struct machine */
    struct machine *queue_first, **queue_last;
    uv_idle_t idle; /* runs while something is queued */
    uv_timer_t expire;
    size_t jobs;
    bool started, stopping;
    void (*idle_done)(void *arg);
    void *idle_arg;
    int handles; /* that are open */
};

static struct machine *machine_of(struct instances *all, struct world *world, struct str id)
{
    struct machine *machine = map_get(&all->machines, id);

    if (machine || id.len >= ID_SIZE) {
        if (machine && world)
            machine->world = world;
        return machine;
    }
    machine = mem_alloc(sizeof *machine);
    str_to_z(id, machine->id, sizeof machine->id);
    machine->all = all;
    machine->world = world;
    map_put(&all->machines, str_of(machine->id), machine);
    return machine;
}

static void forget(struct machine *machine)
{
    map_remove(&machine->all->machines, str_of(machine->id));
    arena_free(&machine->arena);
    free(machine);
}

static void on_idle(uv_idle_t *idle);

static void enqueue(struct machine *machine)
{
    struct instances *all = machine->all;

    if (machine->queued)
        return;
    machine->queued = true;
    machine->next_queued = NULL;
    *all->queue_last = machine;
    all->queue_last = &machine->next_queued;
    uv_idle_start(&all->idle, on_idle);
}

/* --- what the records become -------------------------------------------------------------------------------- */

static void become_running(struct arena *arena, struct ec2_instance *instance)
{
    if (instance_state_of(instance) != INSTANCE_PENDING)
        return;
    instance_set_state(arena, instance, INSTANCE_RUNNING);
    instance_set_reason(arena, instance, (struct str){0}, (struct str){0});
    instance->metadata_options->state = S("applied");
}

static void become_stopped(struct tx *tx, struct arena *arena, struct ec2_instance *instance)
{
    public_address_on_stop(tx, arena, instance->instance_id);
    instance_set_state(arena, instance, INSTANCE_STOPPED);
    instance->force_stop = NO;
    instance->booted = NO;
    instance->reboots_asked = instance->reboots_done = INT(0);
}

static void become_terminated(struct tx *tx, struct arena *arena, struct ec2_instance *instance)
{
    instance_set_state(arena, instance, INSTANCE_TERMINATED);
    instance->terminated_at = TIME(time_now_ms());
    instance->booted = NO;
    instance_release(tx, arena, instance->instance_id);
}

/* A launch that failed ends as terminated, a start that failed as stopped; the reason says what failed. */
static void become_failed(struct tx *tx, struct arena *arena, struct ec2_instance *instance, const struct err *err)
{
    struct str message = arena_printf(arena, "Server.InternalError: %s", err->text);

    if (instance->generation.value > 1)
        become_stopped(tx, arena, instance);
    else
        become_terminated(tx, arena, instance);
    instance_set_reason(arena, instance, S("Server.InternalError"), message);
    instance->state_transition_reason = S("Server.InternalError");
}

/* The guest has powered itself off: the instance stops or terminates, as its attribute says. */
static void become_powered_off(struct arena *arena, struct ec2_instance *instance)
{
    bool terminates = str_equal(instance->shutdown_behavior, S("terminate"));

    instance_set_state(arena, instance, terminates ? INSTANCE_SHUTTING_DOWN : INSTANCE_STOPPING);
    instance_set_reason(arena, instance, S("Client.InstanceInitiatedShutdown"),
                        S("Client.InstanceInitiatedShutdown: Instance initiated shutdown"));
    instance->state_transition_reason = S("");
}

static void log_failed_commit(const struct machine *machine, const struct err *err)
{
    log_error("%s: %s", machine->id, err->text);
}

/* --- without a driver ------------------------------------------------------------------------------------------- */

static void settle_record(struct engine *engine, struct tx *tx, struct arena *arena, struct str id)
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

/* All that is queued, world by world, each world's in one transaction. */
static void settle_queue(struct instances *all, struct machine *queue)
{
    while (queue) {
        struct world *world = queue->world;
        struct arena arena = ARENA_INIT;
        struct tx *tx = tx_begin(all->engine->store, world, &arena, S("reconcile"));
        struct err err = ERR_INIT;
        struct machine *next;

        for (; queue && queue->world == world; queue = next) {
            next = queue->next_queued;
            settle_record(all->engine, tx, &arena, str_of(queue->id));
            forget(queue);
        }
        if (tx_commit(tx, &err) < 0)
            log_error("reconcile: %s", err.text);
        arena_free(&arena);
    }
}

/* --- with a driver: jobs ------------------------------------------------------------------------------------ */

static void run_job(void *arg)
{
    struct machine *machine = arg;
    const struct workload_backend *backend = &machine->all->backend;
    struct str id = str_of(machine->id);

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
        machine->r = backend->driver->remove(backend->cookie, id, &machine->err);
        break;
    case JOB_NONE:
        break;
    }
}

static void job_applied(struct machine *machine, struct tx *tx, struct ec2_instance *instance, enum job_kind job)
{
    struct arena *arena = tx_arena(tx);
    enum instance_state state = instance_state_of(instance);

    if (machine->r < 0 && (job == JOB_ENSURE || job == JOB_REBOOT)) {
        if (state == INSTANCE_PENDING || state == INSTANCE_RUNNING)
            become_failed(tx, arena, instance, &machine->err);
    } else if (machine->r < 0) {
        return;
    } else if (job == JOB_STOP && state == INSTANCE_STOPPING) {
        become_stopped(tx, arena, instance);
    } else if (job == JOB_REMOVE && state == INSTANCE_SHUTTING_DOWN) {
        become_terminated(tx, arena, instance);
    } else if (job == JOB_REBOOT && state == INSTANCE_RUNNING) {
        instance->reboots_done = INT(machine->reboots);
    }
}

static void check_idle(struct instances *all);

static void on_job_done(void *arg)
{
    struct machine *machine = arg;
    struct instances *all = machine->all;
    enum job_kind job = machine->job;
    struct arena arena = ARENA_INIT;
    struct tx *tx;
    struct ec2_instance *instance;
    struct err err = ERR_INIT;

    all->jobs--;
    machine->job = JOB_NONE;
    arena_free(&machine->arena);
    if (machine->r < 0)
        log_error("%s: %s", machine->id, machine->err.text);
    if (job == JOB_STOP || job == JOB_REMOVE || machine->r < 0)
        machine->generation = 0;
    if (job == JOB_REMOVE && machine->r >= 0)
        machine->present = false;
    tx = tx_begin(all->engine->store, machine->world, &arena, S("reconcile"));
    instance = tx_edit(tx, EC2_INSTANCE, str_of(machine->id));
    if (instance) {
        job_applied(machine, tx, instance, job);
        if (tx_commit(tx, &err) < 0)
            log_failed_commit(machine, &err);
    } else {
        tx_rollback(tx);
    }
    arena_free(&arena);
    enqueue(machine); /* look again: something may have changed meanwhile */
    check_idle(all);
}

static void start_job(struct machine *machine, enum job_kind job)
{
    machine->job = job;
    machine->r = 0;
    machine->err = ERR_INIT;
    machine->all->jobs++;
    work_run(machine->all->engine->pool, run_job, on_job_done, machine);
}

/* A new boot, of a new generation or after an end that nobody asked for. */
static void start_ensure(struct machine *machine, struct tx *tx, const struct ec2_instance *instance)
{
    machine->present = true;
    machine->generation = instance->generation.value;
    machine->reboots = instance->reboots_asked.value;
    machine->ready = machine->booted = machine->ended = false;
    machine->err = ERR_INIT;
    machine->r = spec_of_instance(tx, &machine->arena, instance, machine->all->image,
                                  store_last(machine->all->engine->store), &machine->spec, &machine->err);
    if (machine->r < 0) {
        struct err err = machine->err;
        machine->all->jobs++;
        machine->job = JOB_ENSURE;
        machine->r = -1;
        machine->err = err;
        work_post(machine->all->engine->pool, on_job_done, machine);
        return;
    }
    start_job(machine, JOB_ENSURE);
}

/* What the machine's init has reported, into the record. True when the record was changed. */
static bool apply_reports(struct machine *machine, struct tx *tx, const struct ec2_instance *seen)
{
    enum instance_state state = instance_state_of(seen);
    struct ec2_instance *instance;

    if (machine->generation != seen->generation.value || (state != INSTANCE_PENDING && state != INSTANCE_RUNNING) ||
        seen->reboots_asked.value != machine->reboots)
        return false;
    if (!(machine->ready && state == INSTANCE_PENDING) && !(machine->booted && !seen->booted.value))
        return false;
    instance = tx_edit(tx, EC2_INSTANCE, seen->instance_id);
    if (machine->ready)
        become_running(tx_arena(tx), instance);
    if (machine->booted)
        instance->booted = YES;
    return true;
}

static bool apply_end(struct machine *machine, struct tx *tx, const struct ec2_instance *seen)
{
    enum instance_state state = instance_state_of(seen);

    if (!machine->ended || !machine->exit.power_off || (state != INSTANCE_PENDING && state != INSTANCE_RUNNING))
        return false;
    machine->ended = false;
    become_powered_off(tx_arena(tx), tx_edit(tx, EC2_INSTANCE, seen->instance_id));
    return true;
}

/*
 * A machine that is about to start gets its public address first, so that its interface never is without. The instance
 * is edited too, unchanged: that brings it back here when the address is durable.
 */
static bool give_address(struct machine *machine, struct tx *tx, const struct ec2_instance *instance)
{
    if (instance_state_of(instance) != INSTANCE_PENDING || machine->generation == instance->generation.value ||
        !public_address_on_start(machine->all->engine, tx, tx_arena(tx), instance->instance_id))
        return false;
    tx_edit(tx, EC2_INSTANCE, instance->instance_id);
    return true;
}

/* The record against the machine: at most one job comes of it. */
static void decide(struct machine *machine, struct tx *tx, const struct ec2_instance *instance)
{
    switch (instance_state_of(instance)) {
    case INSTANCE_PENDING:
        if (machine->generation != instance->generation.value || machine->ended)
            start_ensure(machine, tx, instance);
        break;
    case INSTANCE_RUNNING:
        if (machine->generation != instance->generation.value || machine->ended) {
            start_ensure(machine, tx, instance);
        } else if (machine->reboots != instance->reboots_asked.value) {
            machine->reboots = instance->reboots_asked.value;
            machine->ready = machine->booted = false;
            machine->grace_ms = STOP_GRACE_MS;
            start_job(machine, JOB_REBOOT);
        }
        break;
    case INSTANCE_STOPPING:
        machine->grace_ms = instance->force_stop.value ? 0 : STOP_GRACE_MS;
        start_job(machine, JOB_STOP);
        break;
    case INSTANCE_SHUTTING_DOWN:
        start_job(machine, JOB_REMOVE);
        break;
    case INSTANCE_STOPPED:
        break;
    case INSTANCE_TERMINATED:
        if (machine->present)
            start_job(machine, JOB_REMOVE);
        else
            forget(machine);
        break;
    }
}

static void look_at(struct machine *machine)
{
    struct instances *all = machine->all;
    struct arena arena = ARENA_INIT;
    struct tx *tx;
    const struct ec2_instance *instance;
    struct err err = ERR_INIT;

    if (machine->job != JOB_NONE || all->stopping)
        return; /* when the job is done it is looked at again */
    tx = tx_begin(all->engine->store, machine->world, &arena, S("reconcile"));
    instance = instance_peek(tx, str_of(machine->id));
    if (!instance) {
        tx_rollback(tx);
        if (machine->present)
            start_job(machine, JOB_REMOVE);
        else
            forget(machine);
    } else if (apply_reports(machine, tx, instance) || apply_end(machine, tx, instance) ||
               give_address(machine, tx, instance)) {
        if (tx_commit(tx, &err) < 0)
            log_failed_commit(machine, &err); /* else the feed brings it back, durable */
    } else {
        decide(machine, tx, instance);
        tx_rollback(tx);
    }
    arena_free(&arena);
}

static void on_idle(uv_idle_t *idle)
{
    struct instances *all = idle->data;
    struct machine *queue = all->queue_first, *next;

    uv_idle_stop(idle);
    if (!all->started)
        return;
    all->queue_first = NULL;
    all->queue_last = &all->queue_first;
    for (struct machine *at = queue; at; at = at->next_queued)
        at->queued = false;
    if (!all->backend.driver) {
        settle_queue(all, queue);
    } else {
        for (; queue; queue = next) {
            next = queue->next_queued;
            look_at(queue);
        }
    }
    check_idle(all);
}

/* --- events ----------------------------------------------------------------------------------------------------- */

static void on_change(void *cookie, const struct change *change)
{
    struct instances *all = cookie;
    const struct ec2_instance *instance = change->new;

    if (change->kind != EC2_INSTANCE)
        return;
    if (!all->backend.driver && all->started && (!instance || instance_settled(instance)))
        return;
    enqueue(machine_of(all, change->world, change->id));
}

struct report {
    struct instances *all;
    char id[ID_SIZE];
    enum workload_event_kind kind;
    struct workload_exit exit;
};

static void on_report(void *arg)
{
    struct report *report = arg;
    struct machine *machine = map_get(&report->all->machines, str_of(report->id));

    if (machine) {
        if (report->kind == WORKLOAD_READY) {
            machine->ready = true;
        } else if (report->kind == WORKLOAD_BOOTED) {
            machine->booted = true;
        } else {
            machine->ended = true;
            machine->exit = report->exit;
        }
        enqueue(machine);
    }
    free(report);
}

static void on_event(void *cookie, const struct workload_event *event)
{
    struct instances *all = cookie;
    struct report *report = mem_alloc(sizeof *report);

    *report = (struct report){.all = all, .kind = event->kind, .exit = event->exit};
    str_to_z(event->id, report->id, sizeof report->id);
    work_post(all->engine->pool, on_report, report);
}

/* --- an hour after ---------------------------------------------------------------------------------------------- */

static void expire_in(struct instances *all, struct world *world)
{
    struct arena arena = ARENA_INIT;
    struct tx *tx = tx_begin(all->engine->store, world, &arena, S("expire"));
    const struct ec2_instance *instance;
    int64_t limit = time_now_ms() - INSTANCE_VISIBLE_MS;
    struct err err = ERR_INIT;
    bool any = false;

    for (uint64_t position = 0; (instance = instance_next(tx, &position));)
        if (instance_state_of(instance) == INSTANCE_TERMINATED && instance->terminated_at.ms < limit) {
            instance_remove(tx, instance->instance_id);
            any = true;
        }
    if (!any)
        tx_rollback(tx);
    else if (tx_commit(tx, &err) < 0)
        log_error("expire: %s", err.text);
    arena_free(&arena);
}

static void on_expire(uv_timer_t *timer)
{
    struct instances *all = timer->data;

    for (struct world *world = NULL; (world = store_next_world(all->engine->store, world));)
        expire_in(all, world);
}

/* --- start and end ---------------------------------------------------------------------------------------------- */

struct instances *instances_new(struct engine *engine)
{
    struct instances *all = mem_alloc(sizeof *all);

    all->engine = engine;
    all->queue_last = &all->queue_first;
    uv_idle_init(engine->loop, &all->idle);
    uv_timer_init(engine->loop, &all->expire);
    all->idle.data = all->expire.data = all;
    all->handles = 2;
    store_subscribe(engine->store, on_change, all);
    return all;
}

struct workload_sink instances_sink(struct instances *instances)
{
    return (struct workload_sink){on_event, instances};
}

/* Every record is looked at once: what an earlier server left undone is done now. */
static void enqueue_all(struct instances *all)
{
    for (struct world *world = NULL; (world = store_next_world(all->engine->store, world));) {
        struct arena arena = ARENA_INIT;
        struct tx *tx = tx_begin(all->engine->store, world, &arena, S("adopt"));
        const struct ec2_instance *instance;

        for (uint64_t position = 0; (instance = instance_next(tx, &position));)
            if (all->backend.driver ? instance_state_of(instance) != INSTANCE_TERMINATED : !instance_settled(instance))
                enqueue(machine_of(all, world, instance->instance_id));
        tx_rollback(tx);
        arena_free(&arena);
    }
}

struct adoption {
    struct instances *all;
    struct arena arena;
    struct workload_observed *observed;
    size_t count;
    int r;
    struct err err;
};

static void observe(void *arg)
{
    struct adoption *adoption = arg;
    const struct workload_backend *backend = &adoption->all->backend;

    adoption->r = backend->driver->observe(backend->cookie, &adoption->arena, &adoption->observed, &adoption->count,
                                           &adoption->err);
}

static struct world *world_of(struct instances *all, struct str id, int64_t *ret_generation, int64_t *ret_reboots)
{
    for (struct world *world = NULL; (world = store_next_world(all->engine->store, world));) {
        struct arena arena = ARENA_INIT;
        struct tx *tx = tx_begin(all->engine->store, world, &arena, S("adopt"));
        const struct ec2_instance *instance = instance_peek(tx, id);

        if (instance) {
            *ret_generation = instance->generation.value;
            *ret_reboots = instance->reboots_done.value;
        }
        tx_rollback(tx);
        arena_free(&arena);
        if (instance)
            return world;
    }
    return NULL;
}

/* What runs is taken over as it is; what is without a record is removed when it is looked at. */
static void adopt(struct instances *all, const struct workload_observed *observed)
{
    int64_t generation = 0, reboots = 0;
    struct world *world = world_of(all, observed->id, &generation, &reboots);
    struct machine *machine = machine_of(
        all, world ? world : store_world(all->engine->store, all->engine->account, all->engine->region), observed->id);

    if (!machine)
        return;
    machine->present = true;
    if (observed->state == WORKLOAD_RUNNING) {
        machine->generation = generation;
        machine->reboots = reboots;
        machine->ready = observed->ready;
        machine->booted = observed->booted;
    }
    enqueue(machine);
}

static void on_observed(void *arg)
{
    struct adoption *adoption = arg;
    struct instances *all = adoption->all;

    all->jobs--;
    if (adoption->r < 0)
        log_error("adopt: %s", adoption->err.text);
    for (size_t i = 0; adoption->r >= 0 && i < adoption->count; i++)
        adopt(all, &adoption->observed[i]);
    all->started = true;
    enqueue_all(all);
    uv_idle_start(&all->idle, on_idle);
    arena_free(&adoption->arena);
    free(adoption);
    check_idle(all);
}

void instances_start(struct instances *all, const struct workload_backend *backend, struct str image)
{
    struct adoption *adoption;

    all->backend = *backend;
    all->image = image;
    uv_timer_start(&all->expire, on_expire, EXPIRE_EVERY_MS, EXPIRE_EVERY_MS);
    uv_unref((uv_handle_t *)&all->expire);
    if (!backend->driver) {
        all->started = true;
        enqueue_all(all);
        return;
    }
    adoption = mem_alloc(sizeof *adoption);
    adoption->all = all;
    all->jobs++;
    work_run(all->engine->pool, observe, on_observed, adoption);
}

static void check_idle(struct instances *all)
{
    void (*done)(void *) = all->idle_done;

    if (!done || all->jobs || (all->queue_first && !all->stopping))
        return;
    all->idle_done = NULL;
    done(all->idle_arg);
}

void instances_when_idle(struct instances *all, void (*done)(void *arg), void *arg)
{
    all->idle_done = done;
    all->idle_arg = arg;
    uv_idle_start(&all->idle, on_idle); /* from the loop, after what the feed still brings */
}

void instances_stop(struct instances *all, void (*done)(void *arg), void *arg)
{
    all->stopping = true;
    uv_timer_stop(&all->expire);
    instances_when_idle(all, done, arg);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct instances *all = handle->data;

    if (--all->handles == 0)
        free(all);
}

void instances_free(struct instances *all)
{
    for (struct map_slot *at = NULL; (at = map_next(&all->machines, at));) {
        struct machine *machine = at->value;
        arena_free(&machine->arena);
        free(machine);
    }
    map_free(&all->machines);
    uv_close((uv_handle_t *)&all->idle, on_handle_closed);
    uv_close((uv_handle_t *)&all->expire, on_handle_closed);
}
