#include "fabric/network.h"
#include "base/fd.h"
#include "base/log.h"
#include "fabric/conntrack.h"
#include "fabric/hub.h"
#include "fabric/link.h"
#include "fabric/namespace.h"
#include "fabric/rules.h"
#include "fabric/vpc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- a VPC ---- */

static struct vpc *find_vpc(const struct network *network, struct str id)
{
    return map_get(&network->vpcs, id);
}

static struct vpc *know_vpc(struct network *network, struct str id)
{
    struct vpc *vpc = find_vpc(network, id);

    if (vpc)
        return vpc;
    vpc = model_vpc_new(id);
    map_put(&network->vpcs, str_of(vpc->id), vpc);
    return vpc;
}

/* An interface's own word for a VPC that nobody has described. */
static void describe_by_cidr(struct vpc *vpc, struct fabric_cidr cidr)
{
    struct fabric_vpc alone = {.cidrs = &cidr, .cidr_count = 1};

    if (vpc->cidr_count == 0)
        model_describe(vpc, &alone);
}

static bool newer(uint64_t version, uint64_t known)
{
    return version == 0 || version > known;
}

/* What is known once a description has been obeyed, or the kernel has refused it: then the same may come again, but
 * nothing older. */
static uint64_t known_after(int r, uint64_t version)
{
    return r < 0 && version ? version - 1 : version;
}

static int set_vpc(const struct network *network, struct vpc *vpc, const struct fabric_vpc *to, struct err *err)
{
    int r = 0;

    if (!newer(to->version, vpc->version))
        return 0;
    model_describe(vpc, to);
    if (vpc->fd >= 0 && !vpc->untold)
        r = vpc_apply(network, vpc, err);
    vpc->version = known_after(r, to->version);
    return r;
}

int network_set_vpc(struct network *network, const struct fabric_vpc *to, struct err *err)
{
    struct vpc *vpc = find_vpc(network, to->id);
    int r = model_check_vpc(to, err);

    if (r < 0 || !vpc)
        return r;
    r = set_vpc(network, vpc, to, err);
    if (r < 0 || vpc->untold || !vpc_lacks_link(network, vpc) || (to->version && to->version < vpc->version))
        return r;
    vpc->version = known_after(-1, to->version); /* what else it says is obeyed; who tells it again links it */
    return err_plain(err, "%s is not linked to its internet gateway", vpc->id);
}

/* ---- groups ---- */

static int set_group(const struct network *network, struct vpc *vpc, const struct fabric_group *to, struct err *err)
{
    AUTO_NFT batch = NFT_BATCH_INIT;
    struct group *group = model_group(vpc, to->id);
    int r = 0;

    if (!newer(to->version, group->version))
        return 0;
    vpc_begin_rules(network, &batch);
    rules_set_group(&batch, group, model_rules(vpc, to), to->count);
    if (group->combinations)
        r = vpc_send_change(network, vpc, &batch, err);
    group->version = known_after(r, to->version);
    return r;
}

int network_set_group(struct network *network, struct str vpc_id, const struct fabric_group *group, struct err *err)
{
    struct vpc *vpc = find_vpc(network, vpc_id);
    int r = model_check_group(group, err);

    return r == 0 && vpc ? set_group(network, vpc, group, err) : r;
}

int network_describe(struct network *network, const struct fabric_vpc *to, const struct fabric_group *groups,
                     size_t group_count, struct err *err)
{
    struct vpc *vpc;
    int r = model_check_vpc(to, err);

    for (size_t i = 0; i < group_count && r == 0; i++)
        r = model_check_group(&groups[i], err);
    if (r < 0)
        return r;
    vpc = know_vpc(network, to->id);
    if (to->cidr_count)
        r = set_vpc(network, vpc, to, err);
    for (size_t i = 0; i < group_count && r == 0; i++)
        r = set_group(network, vpc, &groups[i], err);
    return r;
}

/* ---- a change of an interface ---- */

static const struct fabric_address *find_address(const struct attached *attached, uint32_t private)
{
    for (size_t i = 0; i < attached->address_count; i++) {
        if (attached->addresses[i].private == private)
            return &attached->addresses[i];
    }
    return NULL;
}

static void forget_flows(const struct network *network, struct vpc *vpc, uint32_t address)
{
    if (vpc->flows < 0 && namespace_enter(vpc->fd, &ERR_INIT) == 0)
        vpc->flows = conntrack_socket();
    if (vpc->flows >= 0)
        reaper_end_flows(network->reaper, vpc->key, fcntl(vpc->flows, F_DUPFD_CLOEXEC, 0), address);
}

/* Public addresses that `before` had and `after` has not, or for another private one. */
static int withdraw(const struct network *network, const struct attached *before, const struct attached *after,
                    struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < before->address_count && network->hub; i++) {
        const struct fabric_address *was = &before->addresses[i], *is = find_address(after, was->private);

        if (!was->public || (is && is->public == was->public))
            continue;
        if (hub_withdraw(network->hub, before->vpc, was->public, err) < 0)
            r = -1;
        forget_flows(network, before->vpc, was->public);
    }
    return r;
}

static int publish(const struct network *network, const struct attached *before, const struct attached *after,
                   struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < after->address_count && r == 0 && after->vpc->linked; i++) {
        const struct fabric_address *is = &after->addresses[i], *was = find_address(before, is->private);

        if (!is->public || (was && was->public == is->public))
            continue;
        reaper_await_flows(network->reaper, after->vpc->key, is->public);
        r = hub_publish(network->hub, after->vpc, is->public, err);
    }
    return r;
}

/* Private addresses on the router's end. */
static int move_addresses(const struct network *network, const struct attached *before, const struct attached *after,
                          struct err *err)
{
    struct netlink nl;
    int r = namespace_enter(after->vpc->fd, err);

    netlink_begin(&nl);
    for (size_t i = 0; i < before->address_count && r == 0; i++) {
        if (!find_address(after, before->addresses[i].private))
            link_drop_address(&nl, after->index, before->addresses[i].private);
        r = netlink_make_room(&nl, err);
    }
    for (size_t i = 0; i < after->address_count && r == 0; i++) {
        if (find_address(before, after->addresses[i].private))
            continue;
        reaper_await_flows(network->reaper, after->vpc->key, after->addresses[i].private);
        link_put_address(&nl, after->index, after->addresses[i].private, after->gateway, after->mac);
        r = netlink_make_room(&nl, err);
    }
    if (r == 0)
        r = netlink_send(&nl, err);
    for (size_t i = 0; i < before->address_count; i++) {
        if (!find_address(after, before->addresses[i].private))
            forget_flows(network, after->vpc, before->addresses[i].private);
    }
    return r;
}

/* The model's rules are as it says, the kernel's will be when they are replaced whole; what its addresses still need is
 * found out again by what it had before. */
static void note_refusal(struct attached *attached, const struct attached *before)
{
    attached->vpc->rules_stand = false;
    attached->version = known_after(-1, attached->version);
    attached->address_count = before->address_count;
    memcpy(attached->addresses, before->addresses, sizeof attached->addresses);
}

/* Its rules, then its addresses; grants before withdrawals. */
static int change(const struct network *network, struct attached *attached, const struct attached *to, struct err *err)
{
    AUTO_NFT grants = NFT_BATCH_INIT, withdrawals = NFT_BATCH_INIT;
    struct attached before = *attached, *next = attached->next;
    bool stand = attached->vpc->rules_stand;
    int r = withdraw(network, attached, to, err);

    vpc_begin_rules(network, &grants);
    vpc_begin_rules(network, &withdrawals);
    rules_change(&grants, &withdrawals, attached, to);
    *attached = *to;
    attached->next = next;
    if (r == 0)
        r = vpc_send_change(network, attached->vpc, &grants, err);
    if (r == 0 && stand) /* else they were just replaced whole */
        r = vpc_send_change(network, attached->vpc, &withdrawals, err);
    if (r == 0)
        r = move_addresses(network, &before, attached, err);
    if (r == 0)
        r = publish(network, &before, attached, err);
    if (r < 0)
        note_refusal(attached, &before);
    return r;
}

/* A public address has one owner: who had it before has it no longer. */
static int take_public(struct network *network, uint32_t public, struct str by, struct err *err)
{
    int r = 0;

    for (struct map_slot *at = NULL; public && r == 0 && (at = map_next(&network->interfaces, at));) {
        struct attached *other = at->value, without = *other;
        bool had = false;

        for (size_t i = 0; i < without.address_count; i++) {
            if (without.addresses[i].public == public) {
                without.addresses[i].public = 0;
                had = !str_equal(map_key(at), by);
            }
        }
        if (had)
            r = change(network, other, &without, err);
    }
    return r;
}

static int take_publics(struct network *network, const struct fabric_interface *interface, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < interface->address_count && r == 0; i++)
        r = take_public(network, interface->addresses[i].public, interface->id, err);
    return r;
}

static bool same(const struct attached *a, const struct attached *b)
{
    return a->combination == b->combination && a->mark == b->mark && a->source_dest_check == b->source_dest_check &&
           a->address_count == b->address_count &&
           memcmp(a->addresses, b->addresses, a->address_count * sizeof a->addresses[0]) == 0;
}

/* An adopted interface is told of. With the last of its VPC the rules are ours; refused, it is not told yet. */
static int first_word(const struct network *network, struct attached *attached, struct err *err)
{
    struct vpc *vpc = attached->vpc;
    int r = 0;

    if (--vpc->untold == 0)
        r = vpc_apply(network, vpc, err);
    attached->told = r == 0;
    vpc->untold += r < 0;
    return r;
}

int network_set_interface(struct network *network, const struct fabric_interface *to, struct err *err)
{
    struct attached *attached = map_get(&network->interfaces, to->id), now;
    struct vpc *vpc;
    int r = model_check_interface(to, err);

    if (r < 0 || !attached || (attached->told && !newer(to->version, attached->version)))
        return r;
    vpc = attached->vpc;
    r = take_publics(network, to, err);
    if (r == 0 && !attached->told)
        r = first_word(network, attached, err);
    if (r < 0)
        return r;
    now = *attached;
    model_interface_fill(&now, to);
    now.combination = model_combination(vpc, to->groups, to->group_count);
    now.mark = model_mark(vpc, now.subnet);
    if (vpc->rules_stand && same(attached, &now)) {
        attached->version = now.version;
        return 0;
    }
    return change(network, attached, &now, err);
}

/* ---- attach and detach ---- */

static struct attached *note(struct network *network, struct vpc *vpc, const struct fabric_interface *interface)
{
    struct attached *attached = model_interface_new(vpc, interface);

    attached->combination = model_combination(vpc, interface->groups, interface->group_count);
    attached->mark = model_mark(vpc, attached->subnet);
    map_put(&network->interfaces, str_of(attached->id), attached);
    return attached;
}

/* From model and rules. Its link is down or was never up. */
static int unnote(struct network *network, struct attached *attached, struct err *err)
{
    AUTO_NFT batch = NFT_BATCH_INIT;
    struct vpc *vpc = attached->vpc;

    vpc_begin_rules(network, &batch);
    rules_remove(&batch, attached);
    if (!attached->told)
        vpc->untold--;
    map_remove(&network->interfaces, str_of(attached->id));
    model_interface_free(attached);
    if (vpc->count == 0)
        return vpc_end(network, vpc, err); /* which takes its rules along */
    if (!vpc->rules_stand && vpc->untold == 0)
        return vpc_apply(network, vpc, err); /* it was the last that nobody had told of */
    return vpc_send_change(network, vpc, &batch, err);
}

int network_detach(struct network *network, struct str id, struct err *err)
{
    struct attached *attached = map_get(&network->interfaces, id);
    struct vpc *vpc = attached ? attached->vpc : NULL;
    int r;

    if (!attached)
        return 0;
    r = namespace_enter(vpc->fd, err);
    if (r == 0)
        r = link_down(attached->link, err);
    if (r == 0 && attached->index)
        reaper_end_link(network->reaper, vpc->key, attached->index);
    if (vpc_each_public(network, vpc, attached, hub_withdraw, err) < 0)
        r = -1;
    for (size_t i = 0; i < attached->address_count && vpc->count > 1; i++)
        forget_flows(network, vpc, attached->addresses[i].private);
    return unnote(network, attached, err) < 0 ? -1 : r;
}

static void delete_link_now(const char *link)
{
    unsigned index = if_nametoindex(link);
    AUTO_FD fd = link_socket();

    if (fd >= 0 && index)
        link_delete(index, fd);
}

static void delete_guest_end(const struct fabric_interface *interface, int guest)
{
    AUTO_FD fd = namespace_enter(guest, &ERR_INIT) == 0 ? link_socket() : -1;

    if (fd >= 0)
        link_delete(link_guest_index(interface), fd);
}

static int make_link(const struct network *network, const struct fabric_interface *interface, struct attached *attached,
                     int guest, struct err *err)
{
    struct vpc *vpc = attached->vpc;
    int r = namespace_enter(vpc->fd, err);

    for (size_t i = 0; i < attached->address_count; i++) {
        reaper_await_flows(network->reaper, vpc->key, attached->addresses[i].private);
        reaper_await_flows(network->reaper, vpc->key, attached->addresses[i].public);
    }
    attached->index = vpc->next_index++;
    if (r == 0)
        r = link_router_end(network->owner, interface, attached->link, attached->index, guest, err);
    if (r == -EEXIST) { /* its earlier link is still on its way out, or its guest's end in a machine that was adopted */
        delete_link_now(attached->link);
        delete_guest_end(interface, guest);
        r = namespace_enter(vpc->fd, err);
        if (r < 0)
            return r;
        attached->index = vpc->next_index++;
        r = link_router_end(network->owner, interface, attached->link, attached->index, guest, err);
    }
    if (r == 0)
        r = namespace_enter(guest, err);
    if (r == 0)
        r = link_guest_end(interface, err);
    if (r == 0)
        r = namespace_enter(vpc->fd, err);
    if (r == 0)
        link_settle(attached->link);
    if (r == 0 && vpc->linked)
        r = vpc_each_public(network, vpc, attached, hub_publish, err);
    return r;
}

static int begin_interface(struct network *network, const struct fabric_interface *interface, struct vpc *vpc,
                           struct attached **ret, struct err *err)
{
    AUTO_NFT batch = NFT_BATCH_INIT;
    int r = vpc_open(network, vpc, err);

    if (r < 0)
        return r;
    *ret = note(network, vpc, interface);
    (*ret)->told = true;
    vpc->untold = 0; /* the rules are ours from now on */
    for (struct attached *at = vpc->first; at; at = at->next)
        at->told = true;
    vpc_begin_rules(network, &batch);
    rules_add(&batch, *ret);
    return vpc->rules_stand ? vpc_send_change(network, vpc, &batch, err) : vpc_apply(network, vpc, err);
}

int network_attach(struct network *network, const struct fabric_interface *interface, int guest, struct err *err)
{
    struct attached *attached = NULL, *known = map_get(&network->interfaces, interface->id);
    struct vpc *vpc;
    int r = model_check_interface(interface, err);

    if (r == 0 && known && known->index)
        r = err_plain(err, "it is attached already");
    if (r == 0)
        r = network_detach(network, interface->id, err); /* adopted, its link gone */
    if (r == 0)
        r = take_publics(network, interface, err);
    if (r < 0)
        return err_wrap(err, "attach " STR_FMT, STR_ARG(interface->id));
    vpc = know_vpc(network, interface->vpc_id);
    describe_by_cidr(vpc, interface->vpc_cidr);
    r = begin_interface(network, interface, vpc, &attached, err);
    if (r == 0)
        r = make_link(network, interface, attached, guest, err);
    if (r == 0)
        return 0;
    if (attached) {
        if (namespace_enter(vpc->fd, &ERR_INIT) == 0)
            delete_link_now(attached->link);
        vpc_each_public(network, vpc, attached, hub_withdraw, &ERR_INIT);
        unnote(network, attached, &ERR_INIT);
    }
    return err_wrap(err, "attach " STR_FMT, STR_ARG(interface->id));
}

int network_adopt(struct network *network, const struct fabric_interface *interface, struct err *err)
{
    AUTO_NFT unsent = NFT_BATCH_INIT;
    struct attached *attached;
    struct vpc *vpc;
    int r = model_check_interface(interface, err);

    if (r < 0 || map_get(&network->interfaces, interface->id))
        return r;
    vpc = know_vpc(network, interface->vpc_id);
    describe_by_cidr(vpc, interface->vpc_cidr);
    r = vpc_open(network, vpc, err);
    if (r < 0)
        return r;
    attached = note(network, vpc, interface);
    attached->index = if_nametoindex(attached->link);
    attached->version = 0;
    vpc->untold++;
    vpc_begin_rules(network, &unsent);
    rules_add(&unsent, attached);
    r = vpc->linked ? vpc_each_public(network, vpc, attached, hub_publish, err) : 0;
    return r < 0 ? r : attached->index == 0;
}

int network_remove_vpc(struct network *network, struct str id, struct err *err)
{
    struct vpc *vpc = find_vpc(network, id);
    int r;

    if (!vpc)
        return 0;
    for (struct attached *at = vpc->first; at; at = at->next) {
        vpc_each_public(network, vpc, at, hub_withdraw, err);
        map_remove(&network->interfaces, str_of(at->id));
    }
    r = vpc_end(network, vpc, err);
    if (r < 0)
        return r;
    map_remove(&network->vpcs, str_of(vpc->id));
    model_vpc_free(vpc);
    return 0;
}

void network_free(struct network *network)
{
    for (struct map_slot *at = NULL; (at = map_next(&network->vpcs, at));)
        model_vpc_free(at->value);
    map_free(&network->vpcs);
    map_free(&network->interfaces);
}
