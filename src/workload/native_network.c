/* What changes in the network while machines run. */
#include "workload/machine.h"

int native_set_vpc(void *cookie, const struct fabric_vpc *vpc, struct err *err)
{
    return fabric_set_vpc(((struct native *)cookie)->fabric, vpc, err);
}

int native_set_group(void *cookie, struct str vpc_id, const struct fabric_group *group, struct err *err)
{
    return fabric_set_group(((struct native *)cookie)->fabric, vpc_id, group, err);
}

int native_remove_vpc(void *cookie, struct str vpc_id, struct err *err)
{
    return fabric_vpc_remove(((struct native *)cookie)->fabric, vpc_id, err);
}

void native_network_status(void *cookie, struct fabric_status *ret)
{
    fabric_status(((struct native *)cookie)->fabric, ret);
}

static struct machine_interface *find_interface(struct machine_record *record, struct str id)
{
    for (unsigned i = 0; i < record->interface_count; i++) {
        if (str_equal(str_of(record->interfaces[i].id), id))
            return &record->interfaces[i];
    }
    return NULL;
}

/* In the record of the machine that has it: a reboot and the next server read it there. */
static bool change_record(struct native *native, const struct machine_interface *to, struct machine_record *ret)
{
    bool found = false;

    pthread_mutex_lock(&native->lock);
    for (struct map_slot *at = NULL; !found && (at = map_next(&native->machines, at));) {
        struct machine *machine = at->value;
        struct machine_interface *interface = find_interface(&machine->record, str_of(to->id));

        if (!interface || machine->state == MACHINE_STOPPED || machine->leaving)
            continue;
        *interface = *to;
        *ret = machine->record;
        found = true;
    }
    pthread_mutex_unlock(&native->lock);
    return found;
}

int native_set_interface(void *cookie, const struct workload_interface *to, struct err *err)
{
    struct native *native = cookie;
    struct fabric_interface interface;
    struct machine_interface kept;
    struct machine_record record;
    struct str groups[FABRIC_GROUPS];
    bool changed;
    int r = machine_check_interface(to, err);

    if (r < 0)
        return r;
    machine_fill_interface(to, &kept);
    pthread_mutex_lock(&native->records);
    changed = change_record(native, &kept, &record);
    if (changed)
        r = machine_keep_record(&record, err);
    pthread_mutex_unlock(&native->records);
    if (!changed)
        return 0;
    if (r == 0)
        r = machine_describe(native, to, err);
    machine_fabric_interface(&kept, groups, &interface);
    interface.version = to->version;
    return r == 0 ? fabric_set_interface(native->fabric, &interface, err) : r;
}
