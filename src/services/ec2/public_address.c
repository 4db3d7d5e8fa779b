#include "services/ec2/public_address.h"

#include "base/log.h"
#include "base/time.h"
#include "services/ec2/address.h"
#include "services/ec2/instance.h"

#include <string.h>

enum { POOL_MAX = 1 << 16, RESERVED = 4, REBUILD_MS = 60 * 1000, REBUILD_FULL_MS = 1000 };

/*
 * Which addresses are out. Taken ones are marked at once; the marks are made anew from the records each minute and when
 * the pool seems empty, which frees what a rolled back transaction or a stopped instance has given back.
 */
static struct {
    unsigned char used[POOL_MAX / 8];
    uint32_t next;
    int64_t built_ms;
    bool full; /* nothing was free when it was last built */
} pool;

static bool is_used(uint32_t i)
{
    return pool.used[i / 8] & (1 << i % 8);
}

static void mark(const struct engine *engine, struct str address)
{
    uint32_t number;

    if (address_parse(address, &number) && number - engine->public_network < POOL_MAX)
        pool.used[(number - engine->public_network) / 8] |= (unsigned char)(1 << (number - engine->public_network) % 8);
}

static void mark_world(struct engine *engine, struct tx *tx)
{
    const struct ec2_network_interface *eni;
    const struct ec2_address *address;

    for (uint64_t position = 0; (eni = network_interface_next(tx, &position));)
        for (size_t i = 0; i < eni->private_ip_addresses.count; i++)
            if (eni->private_ip_addresses.items[i].association)
                mark(engine, eni->private_ip_addresses.items[i].association->public_ip);
    for (uint64_t position = 0; (address = address_next(tx, &position));)
        mark(engine, address->public_ip);
}

static void rebuild(struct engine *engine, struct tx *tx)
{
    struct world *home = tx_world(tx);

    memset(pool.used, 0, sizeof pool.used);
    for (struct world *world = NULL; (world = store_next_world(engine->store, world));) {
        tx_enter(tx, world);
        mark_world(engine, tx);
    }
    tx_enter(tx, home);
    pool.built_ms = time_now_ms();
    pool.full = false;
}

static int none_left(struct err *err)
{
    return err_aws(err, &EC2_INSUFFICIENT_ADDRESS_CAPACITY, "Insufficient address capacity.");
}

static bool find_free(const struct engine *engine, uint32_t *ret)
{
    uint32_t size = ~prefix_mask(engine->public_prefix) + 1,
             usable = (size < POOL_MAX ? size : POOL_MAX) - RESERVED - 1;

    for (uint32_t tried = 0; tried < usable; tried++) {
        uint32_t i = RESERVED + (pool.next + tried) % usable;
        if (is_used(i))
            continue;
        pool.next = i - RESERVED + 1;
        pool.used[i / 8] |= (unsigned char)(1 << i % 8);
        *ret = engine->public_network + i;
        return true;
    }
    return false;
}

int public_address_take(struct engine *engine, struct tx *tx, struct str *ret, struct err *err)
{
    uint32_t number;

    if (!engine->public_prefix || engine->public_prefix > 28)
        return err_aws(err, &EC2_INSUFFICIENT_ADDRESS_CAPACITY, "There is no pool of public addresses on this host.");
    if (time_now_ms() - pool.built_ms > (pool.full ? REBUILD_FULL_MS : REBUILD_MS))
        rebuild(engine, tx);
    if (pool.full)
        return none_left(err);
    if (!find_free(engine, &number)) {
        rebuild(engine, tx);
        pool.full = !find_free(engine, &number);
        if (pool.full)
            return none_left(err);
    }
    *ret = address_text(tx_arena(tx), number);
    return 0;
}

struct str public_dns_name(struct arena *arena, struct str region, const struct ec2_vpc *vpc, struct str address)
{
    char dashed[16];

    if (!(vpc->dns_hostnames.set ? vpc->dns_hostnames.value : vpc->is_default.value) ||
        (vpc->dns_support.set && !vpc->dns_support.value))
        return S("");
    for (size_t i = 0; i < address.len; i++)
        dashed[i] = address.p[i] == '.' ? '-' : address.p[i];
    if (str_equal(region, S("us-east-1")))
        return arena_printf(arena, "ec2-%.*s.compute-1.amazonaws.com", (int)address.len, dashed);
    return arena_printf(arena, "ec2-%.*s." STR_FMT ".compute.amazonaws.com", (int)address.len, dashed, STR_ARG(region));
}

bool public_address_any(const struct ec2_network_interface *eni)
{
    for (size_t i = 0; i < eni->private_ip_addresses.count; i++)
        if (eni->private_ip_addresses.items[i].association)
            return true;
    return false;
}

static void rename_addresses(struct call *call, const struct ec2_vpc *vpc, struct ec2_network_interface *eni)
{
    for (size_t i = 0; i < eni->private_ip_addresses.count; i++) {
        struct ec2_network_interface_private_ip_address *address = &eni->private_ip_addresses.items[i];

        if (!address->association)
            continue;
        address->association->public_dns_name = public_dns_name(call->arena, call->region, vpc,
                                                                address->association->public_ip);
        if (address->primary.value)
            eni->association = address->association;
    }
}

void public_addresses_rename(struct call *call, const struct ec2_vpc *vpc)
{
    const struct ec2_network_interface *const *found;
    size_t count = network_interface_find(call->tx, EC2_NETWORK_INTERFACE_BY_VPC_ID, vpc->vpc_id, &found);

    for (size_t i = 0; i < count; i++)
        if (public_address_any(found[i]))
            rename_addresses(call, vpc, tx_edit(call->tx, EC2_NETWORK_INTERFACE, found[i]->network_interface_id));
}

void public_address_attach(struct arena *arena, struct ec2_network_interface *eni, struct str private_ip,
                           const struct ec2_network_interface_association *association)
{
    for (size_t i = 0; i < eni->private_ip_addresses.count; i++) {
        struct ec2_network_interface_private_ip_address *address = &eni->private_ip_addresses.items[i];

        if (private_ip.p ? !str_equal(address->private_ip_address, private_ip) : !address->primary.value)
            continue;
        address->association = arena_new(arena, struct ec2_network_interface_association);
        *address->association = *association;
        if (address->primary.value)
            eni->association = address->association;
    }
}

void public_address_detach(struct ec2_network_interface *eni, struct str public_ip)
{
    for (size_t i = 0; i < eni->private_ip_addresses.count; i++) {
        struct ec2_network_interface_private_ip_address *address = &eni->private_ip_addresses.items[i];

        if (!address->association || !str_equal(address->association->public_ip, public_ip))
            continue;
        address->association = NULL;
        if (address->primary.value)
            eni->association = NULL;
    }
}

void elastic_ip_forget(struct ec2_address *address)
{
    address->association_id = address->network_interface_id = address->network_interface_owner_id = (struct str){0};
    address->private_ip_address = address->instance_id = (struct str){0};
}

bool public_address_on_start(struct engine *engine, struct tx *tx, struct arena *arena, struct str instance_id)
{
    const struct ec2_network_interface *const *found;
    struct ec2_network_interface_association association = {.ip_owner_id = S("amazon")};
    struct ec2_network_interface *eni;
    const struct ec2_vpc *vpc;
    struct err err = ERR_INIT;

    if (!instance_interfaces(tx, arena, instance_id, &found) || !found[0]->public_wanted.value || found[0]->association)
        return false;
    vpc = vpc_peek(tx, found[0]->vpc_id);
    if (!vpc || !engine->public_prefix)
        return false;
    if (public_address_take(engine, tx, &association.public_ip, &err) < 0) {
        log_debug(STR_FMT ": no public address: %s", STR_ARG(instance_id), err.text);
        return false;
    }
    association.public_dns_name = public_dns_name(arena, world_region(tx_world(tx)), vpc, association.public_ip);
    eni = tx_edit(tx, EC2_NETWORK_INTERFACE, found[0]->network_interface_id);
    public_address_attach(arena, eni, (struct str){0}, &association);
    return true;
}

void public_address_return(struct call *call, struct str instance_id)
{
    const struct ec2_instance *instance = instance_id.p ? instance_peek(call->tx, instance_id) : NULL;

    if (instance &&
        (instance_state_of(instance) == INSTANCE_RUNNING || instance_state_of(instance) == INSTANCE_PENDING))
        public_address_on_start(call->engine, call->tx, call->arena, instance_id);
}

void public_address_on_stop(struct tx *tx, struct arena *arena, struct str instance_id)
{
    const struct ec2_network_interface *const *found;
    size_t count = instance_interfaces(tx, arena, instance_id, &found);

    for (size_t i = 0; i < count; i++)
        if (found[i]->association && !found[i]->association->allocation_id.p) {
            struct ec2_network_interface *eni = tx_edit(tx, EC2_NETWORK_INTERFACE, found[i]->network_interface_id);
            public_address_detach(eni, eni->association->public_ip);
        }
}
