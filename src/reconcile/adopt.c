/* A server's first look: what an earlier one left running, and what the records say of it. */
#include "base/log.h"
#include "base/mem.h"
#include "reconcile/instances_inside.h"

#include <stdlib.h>

/* Every record is looked at once: what an earlier server left undone is done now. */
void instances_enqueue_all(struct instances *all)
{
    for (struct world *world = NULL; (world = store_next_world(all->engine->store, world));) {
        struct arena arena = ARENA_INIT;
        struct tx *tx = tx_begin(all->engine->store, world, &arena, S("adopt"));
        const struct ec2_instance *instance;

        for (uint64_t position = 0; (instance = instance_next(tx, &position));)
            if (all->backend.driver ? instance_state_of(instance) != INSTANCE_TERMINATED : !instance_settled(instance))
                machine_enqueue(machine_of(all, world, instance->instance_id));
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

/*
 * What runs is taken over as it is; what is without a record is removed when it is looked at. Reports that came since
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
    if (observed->state == WORKLOAD_RUNNING) {
        machine->generation = generation;
        machine->reboots = reboots;
        machine->ready |= observed->ready;
        machine->booted |= observed->booted;
    }
    machine_enqueue(machine);
}

static void on_observed(void *arg)
{
    struct adoption *adoption = arg;
    struct instances *all = adoption->all;

    if (adoption->r < 0)
        log_error("adopt: %s", adoption->err.text);
    for (size_t i = 0; adoption->r >= 0 && i < adoption->count; i++)
        adopt(all, &adoption->observed[i]);
    instances_begin(all);
    arena_free(&adoption->arena);
    free(adoption);
    queue_job_ended(&all->queue);
}

void instances_adopt(struct instances *all)
{
    struct adoption *adoption = mem_alloc(sizeof *adoption);

    adoption->all = all;
    queue_job_begins(&all->queue);
    work_run(all->engine->pool, observe, on_observed, adoption);
}
