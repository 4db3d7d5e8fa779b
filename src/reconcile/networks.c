#include "reconcile/networks.h"

#include "base/map.h"
#include "base/mem.h"
#include "operation/park.h"
#include "reconcile/network_spec.h"
#include "reconcile/queue.h"
#include "services/ec2/instance.h"

#include <stdio.h>
#include <stdlib.h>

enum { ID_SIZE = 32, NAME_SIZE = ID_SIZE + 16 };

enum part_kind { PART_VPC, PART_GROUP, PART_INTERFACE };

/* One thing that the driver may have to be told of. It exists while it is stale, is being told or was refused. */
struct part {
    struct queue_item item;
    enum part_kind kind;
    char id[ID_SIZE], vpc_id[ID_SIZE]; /* vpc_id: of a group */
    struct networks *network;
    struct world *world;
    bool busy, again;                /* again: went stale while it was being told */
    uint64_t since, last, described; /* numbers of the first and last commit that is not told; what it is told as of */
    unsigned failures;               /* to tell it, in a row */
    struct trouble trouble;

    /* The job's. gone: the record is. */
    struct arena arena;
    bool gone, skip, held; /* held: until its machine runs */
    bool adopting;         /* told whatever its machine is about to become: no job is under way yet */
    struct fabric_vpc vpc;
    struct fabric_group group;
    struct workload_interface interface;
    int r;
    struct err err;
};

struct networks {
    struct engine *engine;
    struct workload_backend backend;
    struct map parts; /* id → struct part */
    struct queue queue;
    uint64_t number; /* of the commit that the feed is at */
};

static void enqueue(struct part *part)
{
    if (part->busy)
        part->again = true;
    else
        queue_push(&part->network->queue, &part->item);
}

static struct part *stale(struct networks *network, struct world *world, enum part_kind kind, struct str id,
                          struct str vpc_id)
{
    struct part *part;

    if (!id.p || id.len >= ID_SIZE || vpc_id.len >= ID_SIZE)
        return NULL;
    part = map_get(&network->parts, id);
    if (!part) {
        part = mem_alloc(sizeof *part);
        part->kind = kind;
        part->network = network;
        str_to_z(id, part->id, sizeof part->id);
        map_put(&network->parts, str_of(part->id), part);
    }
    world_keep(&part->world, world);
    part->last = network->number;
    if (!part->since)
        part->since = part->last;
    if (vpc_id.p)
        str_to_z(vpc_id, part->vpc_id, sizeof part->vpc_id);
    enqueue(part);
    return part;
}

/* What a log calls it. */
static const char *name_of(const struct part *part, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "network: %s", part->id);
    return name;
}

static void forget(struct part *part)
{
    char name[NAME_SIZE];

    trouble_over(&part->trouble, name_of(part, name));
    queue_end_rest(&part->network->queue, &part->item);
    map_remove(&part->network->parts, str_of(part->id));
    world_keep(&part->world, NULL);
    arena_free(&part->arena);
    free(part);
}

/* --- what the feed makes stale --------------------------------------------------------------------------------- */

static void interface_changed(struct networks *network, const struct change *change)
{
    const struct ec2_network_interface *old = change->old, *new = change->new;

    /* What has just been made is brought by ensure, what is gone went with its machine. */
    if (old && new &&new->attachment)
        stale(network, change->world, PART_INTERFACE, change->id, (struct str){0});
}

/* It runs, or never will: what was held is looked at again. */
static void instance_changed(struct networks *network, const struct change *change)
{
    const struct ec2_instance *old = change->old, *new = change->new;

    if (!old || instance_state_of(old) != INSTANCE_PENDING || (new &&instance_state_of(new) == INSTANCE_PENDING))
        return;
    for (struct map_slot *at = NULL; (at = map_next(&network->parts, at));) {
        struct part *part = at->value;
        if (part->held)
            enqueue(part);
    }
}

static void gateway_changed(struct networks *network, const struct change *change)
{
    const struct ec2_internet_gateway *versions[] = {change->old, change->new};

    for (size_t i = 0; i < 2; i++)
        if (versions[i] && versions[i]->attachments.count)
            stale(network, change->world, PART_VPC, versions[i]->attachments.items[0].vpc_id, (struct str){0});
}

static void rule_changed(struct networks *network, const struct change *change)
{
    const struct ec2_security_group_rule *rule = change->new ? change->new : change->old;

    stale(network, change->world, PART_GROUP, rule->group_id, (struct str){0});
}

static void on_change(void *cookie, const struct change *change)
{
    struct networks *network = cookie;
    const void *newest = change->new ? change->new : change->old;

    if (!network->backend.driver || !network->backend.driver->set_vpc)
        return;
    network->number = change->number;
    switch (change->kind) {
    case EC2_VPC:
        stale(network, change->world, PART_VPC, change->id, (struct str){0});
        break;
    case EC2_SUBNET:
        stale(network, change->world, PART_VPC, ((const struct ec2_subnet *)newest)->vpc_id, (struct str){0});
        break;
    case EC2_ROUTE_TABLE:
        stale(network, change->world, PART_VPC, ((const struct ec2_route_table *)newest)->vpc_id, (struct str){0});
        break;
    case EC2_INTERNET_GATEWAY:
        gateway_changed(network, change);
        break;
    case EC2_SECURITY_GROUP_RULE:
        rule_changed(network, change);
        break;
    case EC2_NETWORK_INTERFACE:
        interface_changed(network, change);
        break;
    case EC2_INSTANCE:
        instance_changed(network, change);
        break;
    default:
        break;
    }
}

/* --- telling the driver ------------------------------------------------------------------------------------------ */

static void tell(void *arg)
{
    struct part *part = arg;
    const struct workload_backend *backend = &part->network->backend;

    if (part->kind == PART_VPC && part->gone)
        part->r = backend->driver->remove_vpc(backend->cookie, str_of(part->id), &part->err);
    else if (part->kind == PART_VPC)
        part->r = backend->driver->set_vpc(backend->cookie, &part->vpc, &part->err);
    else if (part->kind == PART_GROUP)
        part->r = backend->driver->set_group(backend->cookie, str_of(part->vpc_id), &part->group, &part->err);
    else
        part->r = backend->driver->set_interface(backend->cookie, &part->interface, &part->err);
}

/* It was refused: what the records then say is told again later, until the driver takes it. */
static void rest(struct part *part)
{
    char name[NAME_SIZE];

    trouble_say(&part->trouble, name_of(part, name), &part->err);
    queue_rest(&part->network->queue, &part->item, ++part->failures);
}

static void on_told(void *arg)
{
    struct part *part = arg;
    struct networks *network = part->network;

    part->busy = part->adopting = false;
    arena_free(&part->arena);
    if (part->r < 0) {
        rest(part);
        if (part->again) /* what it is to be told now is something else */
            enqueue(part);
    } else {
        part->failures = 0;
        part->since = part->last > part->described ? part->described + 1 : 0;
        if (part->again)
            enqueue(part);
        else
            forget(part);
    }
    parking_look(network->engine->parking);
    queue_job_ended(&network->queue);
}

static void describe_group(struct part *part, struct tx *tx, uint64_t version)
{
    const struct ec2_security_group *group = security_group_peek(tx, str_of(part->id));

    part->skip = !group || !network_group(tx, &part->arena, str_of(part->id), version, &part->group);
    if (group)
        str_to_z(group->vpc_id, part->vpc_id, sizeof part->vpc_id);
}

/*
 * An interface whose machine does not run has nothing to be told of. One whose machine is being started is held until
 * that runs: the driver may not be told of it meanwhile, and what the start was told may be older.
 */
static void describe_interface(struct part *part, struct tx *tx, uint64_t version)
{
    const struct ec2_network_interface *eni = network_interface_peek(tx, str_of(part->id));
    const struct ec2_instance *instance = eni && eni->attachment ? instance_peek(tx, eni->attachment->instance_id)
                                                                 : NULL;

    part->held = instance && !part->adopting && instance_state_of(instance) == INSTANCE_PENDING;
    part->skip = !instance || (!part->adopting && instance_state_of(instance) != INSTANCE_RUNNING);
    if (!part->skip)
        part->r = network_interface_spec(tx, &part->arena, eni, version, &part->interface, &part->err);
}

static void describe(struct part *part)
{
    struct store *store = part->network->engine->store;
    struct arena arena = ARENA_INIT;
    struct tx *tx = tx_begin(store, part->world, &arena, S("network"));
    uint64_t version = store_last(store);

    part->gone = part->skip = part->held = false;
    part->described = version;
    part->r = 0;
    part->err = ERR_INIT;
    if (part->kind == PART_VPC)
        part->gone = !network_vpc(tx, &part->arena, str_of(part->id), version, &part->vpc);
    else if (part->kind == PART_GROUP)
        describe_group(part, tx, version);
    else
        describe_interface(part, tx, version);
    tx_rollback(tx);
    arena_free(&arena);
}

static void look_at(struct part *part)
{
    struct networks *network = part->network;

    if (network->queue.stopping)
        return;
    queue_end_rest(&network->queue, &part->item);
    describe(part);
    if (part->skip) {
        if (!part->held)
            forget(part);
        return;
    }
    if (part->r < 0) {
        arena_free(&part->arena);
        rest(part);
        return;
    }
    part->busy = true;
    part->again = false;
    queue_job_begins(&network->queue);
    work_run(network->engine->pool, tell, on_told, part);
}

static void look_at_all(void *owner, struct queue_item *items)
{
    struct networks *network = owner;

    while (items)
        look_at((struct part *)queue_take(&items));
    parking_look(network->engine->parking); /* some had nothing to be told of */
}

/* Is anything that this commit changed still to be told? What is held waits for its machine and what was refused rests:
 * nobody waits for those. */
static bool behind(void *cookie, uint64_t number)
{
    struct networks *network = cookie;

    for (struct map_slot *at = NULL; (at = map_next(&network->parts, at));) {
        const struct part *part = at->value;
        if (part->since && part->since <= number && number <= part->last && !part->held && !part->failures)
            return true;
    }
    return false;
}

/* --- start and end --------------------------------------------------------------------------------------------------
 */

struct networks *networks_new(struct engine *engine, const struct clock *clock)
{
    struct networks *network = mem_alloc(sizeof *network);

    network->engine = engine;
    queue_init(&network->queue, clock, engine->loop, look_at_all, network);
    store_subscribe(engine->store, on_change, network);
    return network;
}

static bool may_run(enum instance_state state)
{
    return state != INSTANCE_STOPPED && state != INSTANCE_TERMINATED;
}

static void adopt_in(struct networks *network, struct world *world)
{
    struct arena arena = ARENA_INIT;
    struct tx *tx = tx_begin(network->engine->store, world, &arena, S("network"));
    const struct ec2_network_interface *eni;

    for (uint64_t position = 0; (eni = network_interface_next(tx, &position));) {
        const struct ec2_instance *instance = eni->attachment ? instance_peek(tx, eni->attachment->instance_id) : NULL;
        if (instance && may_run(instance_state_of(instance)))
            stale(network, world, PART_INTERFACE, eni->network_interface_id, (struct str){0})->adopting = true;
    }
    tx_rollback(tx);
    arena_free(&arena);
}

void networks_start(struct networks *network, const struct workload_backend *backend, void (*done)(void *arg),
                    void *arg)
{
    network->backend = *backend;
    if (backend->driver && backend->driver->set_vpc) {
        parking_follow(network->engine->parking, behind, network);
        for (struct world *world = NULL; (world = store_next_world(network->engine->store, world));)
            adopt_in(network, world);
    }
    queue_when_idle(&network->queue, done, arg);
}

void networks_stop(struct networks *network, void (*done)(void *arg), void *arg)
{
    network->queue.stopping = true;
    queue_when_idle(&network->queue, done, arg);
}

void networks_free(struct networks *network)
{
    for (struct map_slot *at = NULL; (at = map_next(&network->parts, at));) {
        struct part *part = at->value;
        world_keep(&part->world, NULL);
        arena_free(&part->arena);
        free(part);
    }
    map_free(&network->parts);
    queue_close(&network->queue, free);
}
