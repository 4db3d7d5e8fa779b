/* A server's first look: what an earlier one left running, and what the records say of it. */
#include "base/log.h"
#include "reconcile/instances_inside.h"

static void each_instance(struct instances *all,
                          void (*each)(struct instances *all, struct world *world, const struct ec2_instance *instance))
{
    for (struct world *world = NULL; (world = store_next_world(all->engine->store, world));) {
        struct arena arena = ARENA_INIT;
        struct tx *tx = tx_begin(all->engine->store, world, &arena, S("adopt"));
        const struct ec2_instance *instance;

        for (uint64_t position = 0; (instance = instance_next(tx, &position));)
            each(all, world, instance);
        tx_rollback(tx);
        arena_free(&arena);
    }
}

static void note(struct instances *all, struct world *world, const struct ec2_instance *instance)
{
    struct machine *machine = machine_of(all, world, instance->instance_id);

    if (machine)
        machine->durable = record_version(instance);
}

void instances_note_all(struct instances *all)
{
    each_instance(all, note);
}

static void enqueue(struct instances *all, struct world *world, const struct ec2_instance *instance)
{
    struct machine *machine = map_get(&all->machines, instance->instance_id);

    if (!machine && (all->backend.driver || !instance_settled(instance)))
        machine = machine_of(all, world, instance->instance_id);
    if (machine)
        machine_enqueue(machine);
}

/* Every record is looked at once: what an earlier server left undone is done now. */
void instances_enqueue_all(struct instances *all)
{
    each_instance(all, enqueue);
}

static void observe(void *arg)
{
    struct instances *all = arg;
    struct adoption *adoption = &all->adoption;

    adoption->r = all->backend.driver->observe(all->backend.cookie, &adoption->arena, &adoption->observed,
                                               &adoption->count, &adoption->err);
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

/*
 * What runs is taken over as it is; what is without a record is removed when it is looked at, and its disk is kept if
 * records have been lost. Reports that came since
 * the driver looked are kept.
 */
static void adopt(struct instances *all, const struct workload_observed *observed)
{
    int64_t generation = 0, reboots = 0;
    struct world *world = world_of(all, observed->id, &generation, &reboots);
    struct machine *machine = machine_of(
        all, world ? world : store_world(all->engine->store, all->engine->account, all->engine->region), observed->id);

    if (!machine)
        return;
    machine->present = true;
    if (!world) {
        machine->aside = store_has_lost(all->engine->store);
        log_warning("%s is in no record: it is ended and its disk %s", machine->id,
                    machine->aside ? "set aside" : "removed");
    }
    if (observed->state == WORKLOAD_RUNNING) {
        machine->generation = generation;
        machine->reboots = reboots;
        machine->ready |= observed->ready;
        machine->booted |= observed->booted;
    }
    machine_enqueue(machine);
}

/* Nothing is started before it is known what runs: a second machine on a disk would be the end of it. */
static void on_observed(void *arg)
{
    static const char of[] = "adopt";
    struct instances *all = arg;
    struct adoption *adoption = &all->adoption;

    if (adoption->r < 0) {
        all->queue.stuck = true;
        trouble_say(&adoption->trouble, of, &adoption->err);
        queue_rest(&adoption->queue, &adoption->item, ++adoption->failures);
    } else {
        trouble_over(&adoption->trouble, of);
        for (size_t i = 0; i < adoption->count; i++)
            adopt(all, &adoption->observed[i]);
        instances_begin(all);
    }
    arena_free(&adoption->arena);
    queue_job_ended(&all->queue);
}

static void look(void *owner, struct queue_item *items)
{
    struct instances *all = owner;
    struct adoption *adoption = &all->adoption;

    queue_take(&items);
    if (all->queue.stopping)
        return;
    adoption->err = ERR_INIT;
    queue_job_begins(&all->queue); /* who waits for machines waits for this too */
    work_run(all->engine->pool, observe, on_observed, all);
}

void adoption_init(struct instances *all)
{
    queue_init(&all->adoption.queue, all->clock, all->engine->loop, look, all);
}

void instances_adopt(struct instances *all)
{
    queue_push(&all->adoption.queue, &all->adoption.item);
}
