
#include "base/mem.h"
#include "base/time.h"
#include "reconcile/become.h"
#include "reconcile/instances_inside.h"
#include "reconcile/spec.h"
#include "services/ec2/public_address.h"

#include <stdlib.h>

enum {
    STOP_GRACE_MS = 20000,
    END_TICK_US = 500000, /* the server ends: after one, starts under way are given up */
    END_GRACE_TICKS = 4,  /* … and after these, stops wait for no guest */
    EXPIRE_EVERY_US = 60 * 1000000,
    STEADY_US = 30 * 1000000, /* what ran that long is not failing */
};

struct machine *machine_of(struct instances *all, struct world *world, struct str id)
{
    struct machine *machine = map_get(&all->machines, id);

    if (machine || id.len >= INSTANCE_ID_SIZE) {
        if (machine && world)
            world_keep(&machine->world, world);
        return machine;
    }
    machine = mem_alloc(sizeof *machine);
    str_to_z(id, machine->id, sizeof machine->id);
    machine->all = all;
    world_keep(&machine->world, world);
    map_put(&all->machines, str_of(machine->id), machine);
    return machine;
}

static void forget(struct machine *machine)
{
    trouble_over(&machine->trouble, machine->id);
    queue_end_rest(&machine->all->queue, &machine->item);
    map_remove(&machine->all->machines, str_of(machine->id));
    world_keep(&machine->world, NULL);
    arena_free(&machine->arena);
    free(machine);
}

void machine_enqueue(struct machine *machine)
{
    queue_push(&machine->all->queue, &machine->item);
}

void machine_rest(struct machine *machine, enum job_kind job)
{
    if (machine->failing != job)
        machine->failures = 0;
    machine->failing = job;
    machine->refusals = 0;
    queue_rest(&machine->all->queue, &machine->item, ++machine->failures);
}

bool machine_rests(const struct machine *machine, enum job_kind job)
{
    return queue_rests(&machine->item) && machine->failing == job && !machine->refusals;
}

void machine_note_steady(struct machine *machine)
{
    if (machine->all->clock->now_us() - machine->started_us > STEADY_US)
        machine->failures = 0;
}

/* The store takes commits again: what it refused need not rest any longer. */
static void wake_refused(struct instances *all)
{
    for (struct map_slot *at = NULL; (at = map_next(&all->machines, at));) {
        struct machine *machine = at->value;

        if (!machine->refusals)
            continue;
        queue_end_rest(&all->queue, &machine->item);
        machine_enqueue(machine);
    }
}

/* The store has refused what was observed, or has taken it again. */
static void note_commit(struct instances *all, int r, const struct err *err)
{
    static const char of[] = "what became of machines";

    if (r < 0) {
        trouble_say(&all->trouble, of, err);
    } else if (all->trouble.said) {
        trouble_over(&all->trouble, of);
        wake_refused(all);
    }
}

int machine_commit(struct machine *machine, struct tx *tx)
{
    struct instances *all = machine->all;
    struct err err = ERR_INIT;
    int r = tx_commit(tx, &err);

    if (r == 0)
        machine->refusals = 0;
    note_commit(all, r, &err);
    if (r == 0)
        return 0;
    queue_rest(&all->queue, &machine->item, ++machine->refusals);
    return r;
}

/* --- without a driver ------------------------------------------------------------------------------------------- */

/* One world's, from the front of *items, in one transaction. Refused, they rest. */
static void settle_world(struct instances *all, struct queue_item **items)
{
    struct world *world = ((struct machine *)*items)->world;
    struct arena arena = ARENA_INIT;
    struct tx *tx = tx_begin(all->engine->store, world, &arena, S("reconcile"));
    struct queue_item *taken = NULL;
    struct err err = ERR_INIT;
    int r;

    while (*items && ((struct machine *)*items)->world == world) {
        struct machine *machine = (struct machine *)queue_take(items);

        become_what_it_asks(all->engine, tx, &arena, str_of(machine->id));
        machine->item.next = taken;
        taken = &machine->item;
    }
    r = tx_commit(tx, &err);
    while (taken) {
        struct machine *machine = (struct machine *)taken;

        taken = taken->next;
        if (r == 0)
            forget(machine);
        else
            queue_rest(&all->queue, &machine->item, ++machine->refusals);
    }
    note_commit(all, r, &err);
    arena_free(&arena);
}

/* --- with a driver ------------------------------------------------------------------------------------------------ */

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

/* It has powered itself off, and stays `ended` until it has been stopped. */
static bool apply_end(struct machine *machine, struct tx *tx, const struct ec2_instance *seen)
{
    enum instance_state state = instance_state_of(seen);

    if (!machine->ended || !(machine->exit.power_off || machine->exit.over_allowance) ||
        (state != INSTANCE_PENDING && state != INSTANCE_RUNNING))
        return false;
    if (machine->exit.over_allowance)
        become_over_allowance(tx_arena(tx), tx_edit(tx, EC2_INSTANCE, seen->instance_id));
    else
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
            machine_start_boot(machine, tx, instance);
        break;
    case INSTANCE_RUNNING:
        if (machine->generation != instance->generation.value || machine->ended) {
            machine_start_boot(machine, tx, instance);
        } else if (machine->reboots != instance->reboots_asked.value) {
            machine_note_steady(machine);
            machine->reboots = instance->reboots_asked.value;
            machine->ready = machine->booted = false;
            machine->started_us = machine->all->clock->now_us();
            machine->grace_ms = STOP_GRACE_MS;
            machine_start_job(machine, JOB_REBOOT);
        }
        break;
    case INSTANCE_STOPPING:
        machine->grace_ms = instance->force_stop.value ? 0 : STOP_GRACE_MS;
        machine_start_job(machine, JOB_STOP);
        break;
    case INSTANCE_SHUTTING_DOWN:
        machine_start_job(machine, JOB_REMOVE);
        break;
    case INSTANCE_STOPPED:
        break;
    case INSTANCE_TERMINATED:
        if (machine->present)
            machine_start_job(machine, JOB_REMOVE);
        else
            forget(machine);
        break;
    }
}

static bool is_durable(const struct machine *machine, const struct ec2_instance *instance)
{
    return machine->durable == (instance ? record_version(instance) : 0);
}

static bool wants_haste(const struct ec2_instance *instance)
{
    return !instance || instance_state_of(instance) == INSTANCE_SHUTTING_DOWN ||
           (instance_state_of(instance) == INSTANCE_STOPPING && instance->force_stop.value);
}

/* Reboots that are done, and what its init has reported. True when the record was changed. */
static bool apply_news(struct machine *machine, struct tx *tx, const struct ec2_instance *seen)
{
    bool reported = apply_reports(machine, tx, seen);

    if (!machine_owes_reboots(machine, seen))
        return reported;
    ((struct ec2_instance *)tx_edit(tx, EC2_INSTANCE, seen->instance_id))->reboots_done = INT(machine->reboots);
    return true;
}

/* What must be in the record before anything else is done: what powered itself off is not booted. */
static bool apply_first(struct machine *machine, struct tx *tx, const struct ec2_instance *seen)
{
    return apply_end(machine, tx, seen) || give_address(machine, tx, seen);
}

/*
 * What was observed goes into the record, and the feed brings that back when it is durable; else the driver is told,
 * also while the store refuses news. But nothing is done to a machine that its record does not ask for durably: it may
 * still be otherwise, after a crash, and a disk that was removed does not come back. The feed brings what is not
 * durable yet.
 */
static void look_with_record(struct machine *machine, struct tx *tx, const struct ec2_instance *instance)
{
    struct arena *arena = tx_arena(tx);
    bool news = apply_news(machine, tx, instance), first = apply_first(machine, tx, instance);

    if (news || first) {
        if (machine_commit(machine, tx) == 0 || first)
            return;
        tx = tx_begin(machine->all->engine->store, machine->world, arena, S("reconcile"));
    }
    if (is_durable(machine, instance))
        decide(machine, tx, instance);
    tx_rollback(tx);
}

static void look_without_record(struct machine *machine)
{
    if (!is_durable(machine, NULL))
        return;
    if (machine->present)
        machine_start_job(machine, JOB_REMOVE);
    else
        forget(machine);
}

static void look_at(struct machine *machine)
{
    struct arena arena = ARENA_INIT;
    struct tx *tx;
    const struct ec2_instance *instance;

    if (machine->all->queue.stopping || !machine->world)
        return;
    if (machine->outcome != JOB_NONE && machine_apply_outcome(machine) < 0)
        return; /* else what has been done would be done again */
    tx = tx_begin(machine->all->engine->store, machine->world, &arena, S("reconcile"));
    instance = instance_peek(tx, str_of(machine->id));
    if (machine->job != JOB_NONE) { /* when the job is done it is looked at again */
        if (wants_haste(instance) && is_durable(machine, instance))
            machine_hurry(machine);
        tx_rollback(tx);
    } else if (!instance) {
        tx_rollback(tx);
        look_without_record(machine);
    } else {
        look_with_record(machine, tx, instance);
    }
    arena_free(&arena);
}

static void look_at_all(void *owner, struct queue_item *items)
{
    struct instances *all = owner;

    while (items)
        if (all->backend.driver)
            look_at((struct machine *)queue_take(&items));
        else
            settle_world(all, &items);
}

/* --- events ----------------------------------------------------------------------------------------------------- */

static void on_change(void *cookie, const struct change *change)
{
    struct instances *all = cookie;
    const struct ec2_instance *instance = change->new;
    struct machine *machine;

    if (all->trouble.said)
        wake_refused(all); /* somebody's commit was taken */
    if (change->kind != EC2_INSTANCE)
        return;
    if (!all->backend.driver && !all->queue.held && (!instance || instance_settled(instance)))
        return;
    machine = machine_of(all, change->world, change->id);
    if (!machine)
        return;
    machine->durable = instance ? record_version(instance) : 0;
    machine_enqueue(machine);
}

struct report {
    struct instances *all;
    char id[INSTANCE_ID_SIZE];
    enum workload_event_kind kind;
    struct workload_exit exit;
};

/* An end that came soon after its start is one of a row. */
static void note_end(struct machine *machine, const struct workload_exit *exit)
{
    machine_note_steady(machine);
    machine->ended = true;
    machine->exit = *exit;
    if (!exit->power_off && !exit->over_allowance)
        machine_rest(machine, JOB_ENSURE);
}

/* Before adoption is over a machine's first report may come before its record was looked at. */
static void on_report(void *arg)
{
    struct report *report = arg;
    struct instances *all = report->all;
    struct machine *machine = all->queue.held ? machine_of(all, NULL, str_of(report->id))
                                              : map_get(&all->machines, str_of(report->id));

    if (machine) {
        switch (report->kind) {
        case WORKLOAD_STARTING:
            machine->ready = machine->booted = machine->ended = false;
            break;
        case WORKLOAD_READY:
            machine->ready = true;
            machine->failed_starts = 0;
            break;
        case WORKLOAD_BOOTED:
            machine->booted = true;
            break;
        case WORKLOAD_EXITED:
            note_end(machine, &report->exit);
            break;
        }
        machine_enqueue(machine);
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

static void on_expire(struct alarm *alarm);
static void on_end_tick(struct alarm *alarm);

struct instances *instances_new(struct engine *engine, const struct clock *clock)
{
    struct instances *all = mem_alloc(sizeof *all);

    all->engine = engine;
    all->clock = clock;
    queue_init(&all->queue, clock, engine->loop, look_at_all, all);
    all->queue.held = true;
    adoption_init(all);
    alarm_init(&all->expire, clock, engine->loop, on_expire, all);
    alarm_init(&all->end, clock, engine->loop, on_end_tick, all);
    all->open = 4;
    store_subscribe(engine->store, on_change, all);
    return all;
}

struct workload_sink instances_sink(struct instances *instances)
{
    instances_note_all(instances);
    return (struct workload_sink){on_event, instances};
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
    else
        note_commit(all, tx_commit(tx, &err), &err); /* refused: a minute later */
    arena_free(&arena);
}

static void on_expire(struct alarm *alarm)
{
    struct instances *all = alarm->owner;

    alarm_in(alarm, EXPIRE_EVERY_US);
    for (struct world *world = NULL; (world = store_next_world(all->engine->store, world));)
        expire_in(all, world);
}

/* --- start and end ---------------------------------------------------------------------------------------------- */

void instances_begin(struct instances *all)
{
    all->queue.held = false;
    instances_enqueue_all(all);
    queue_wake(&all->queue);
}

void instances_start(struct instances *all, const struct workload_backend *backend, struct str image)
{
    all->backend = *backend;
    all->image = image;
    alarm_in(&all->expire, EXPIRE_EVERY_US);
    if (backend->driver)
        instances_adopt(all);
    else
        instances_begin(all);
}

void instances_when_idle(struct instances *all, void (*done)(void *arg), void *arg)
{
    queue_when_idle(&all->queue, done, arg); /* from the loop, after what the feed still brings */
}

/* Guests that take their time: the server does not have it. Told again and again: a job may have just begun. */
static void on_end_tick(struct alarm *alarm)
{
    struct instances *all = alarm->owner;

    alarm_in(alarm, END_TICK_US);
    all->end_ticks++;
    for (struct map_slot *at = NULL; (at = map_next(&all->machines, at));) {
        struct machine *machine = at->value;

        machine->hurried = false;
        if (machine->job == JOB_ENSURE || all->end_ticks >= END_GRACE_TICKS)
            machine_hurry(machine);
    }
}

void instances_stop(struct instances *all, void (*done)(void *arg), void *arg)
{
    all->queue.stopping = all->adoption.queue.stopping = true;
    alarm_stop(&all->expire);
    alarm_in(&all->end, END_TICK_US);
    instances_when_idle(all, done, arg);
}

static void on_closed(void *owner)
{
    struct instances *all = owner;

    if (--all->open == 0)
        free(all);
}

void instances_free(struct instances *all)
{
    for (struct map_slot *at = NULL; (at = map_next(&all->machines, at));) {
        struct machine *machine = at->value;

        world_keep(&machine->world, NULL);
        arena_free(&machine->arena);
        free(machine);
    }
    map_free(&all->machines);
    queue_close(&all->queue, on_closed);
    queue_close(&all->adoption.queue, on_closed);
    alarm_close(&all->expire, on_closed);
    alarm_close(&all->end, on_closed);
}
