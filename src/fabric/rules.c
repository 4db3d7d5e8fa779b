#include "fabric/rules.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what stands because it is used ---- */

static void use_set(struct nft_batch *batch, struct group *group)
{
    if (group->uses++ == 0)
        plan_group_set(batch, group);
}

static void drop_set(struct nft_batch *batch, struct group *group)
{
    char name[NFT_NAME];

    plan_group_name(group, "at_", "", name);
    if (--group->uses == 0)
        nft_set_delete(batch, name);
}

static void use_peers(struct nft_batch *batch, const struct rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rules[i].group)
            use_set(batch, rules[i].group);
    }
}

static void drop_peers(struct nft_batch *batch, const struct rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (rules[i].group)
            drop_set(batch, rules[i].group);
    }
}

static const char *const directions[] = {"_out", "_in"};

static void each_chain_of_group(struct nft_batch *batch, const struct group *group,
                                void (*each)(struct nft_batch *batch, const char *name))
{
    char name[NFT_NAME];

    for (size_t d = 0; d < ARRAY_LEN(directions); d++) {
        plan_group_name(group, "", directions[d], name);
        each(batch, name);
    }
}

static void each_chain_of_combination(struct nft_batch *batch, const struct combination *combination,
                                      void (*each)(struct nft_batch *batch, const char *name))
{
    char name[NFT_NAME];

    for (size_t d = 0; d < ARRAY_LEN(directions); d++) {
        snprintf(name, sizeof name, "%s%s", combination->name, directions[d]);
        each(batch, name);
    }
}

static void raise_group(struct nft_batch *batch, struct group *group)
{
    if (group->combinations++)
        return;
    use_peers(batch, group->rules, group->count);
    each_chain_of_group(batch, group, nft_chain_add);
    plan_group_rules(batch, group);
}

static void lower_group(struct nft_batch *batch, struct group *group)
{
    if (--group->combinations)
        return;
    each_chain_of_group(batch, group, nft_chain_flush);
    each_chain_of_group(batch, group, nft_chain_delete);
    drop_peers(batch, group->rules, group->count);
}

static void raise_combination(struct nft_batch *batch, struct combination *combination)
{
    for (size_t i = 0; i < combination->count; i++)
        use_set(batch, combination->groups[i]);
    if (combination->uses++)
        return;
    for (size_t i = 0; i < combination->count; i++)
        raise_group(batch, combination->groups[i]);
    each_chain_of_combination(batch, combination, nft_chain_add);
    plan_combination_rules(batch, combination);
}

static void lower_combination(struct nft_batch *batch, struct vpc *vpc, struct combination *combination)
{
    bool last = --combination->uses == 0;

    if (last) {
        each_chain_of_combination(batch, combination, nft_chain_flush);
        each_chain_of_combination(batch, combination, nft_chain_delete);
        for (size_t i = 0; i < combination->count; i++)
            lower_group(batch, combination->groups[i]);
    }
    for (size_t i = 0; i < combination->count; i++)
        drop_set(batch, combination->groups[i]);
    if (last)
        model_combination_end(vpc, combination);
}

/* ---- interfaces ---- */

static size_t sets_of(const struct nft_batch *batch)
{
    _Static_assert(PLAN_ARP + 1 == PLAN_SETS, "ARP's set is the last");

    return batch->no_arp ? PLAN_ARP : PLAN_SETS;
}

static void put_elements(struct nft_batch *batch, const struct attached *attached, bool add)
{
    for (size_t i = 0; i < sets_of(batch); i++) {
        nft_family(batch, plan_elements[i].family);
        nft_elements_begin(batch, plan_elements[i].set, add);
        plan_elements[i].put(batch, attached);
        nft_elements_end(batch);
    }
    nft_family(batch, NFPROTO_INET);
}

static void put_member(struct nft_batch *batch, const struct group *group, const struct attached *attached, bool add)
{
    char name[NFT_NAME];

    plan_group_name(group, "at_", "", name);
    nft_elements_begin(batch, name, add);
    plan_member(batch, attached);
    nft_elements_end(batch);
}

void rules_add(struct nft_batch *batch, struct attached *attached)
{
    const struct combination *combination = attached->combination;

    raise_combination(batch, attached->combination);
    put_elements(batch, attached, true);
    for (size_t i = 0; i < combination->count; i++)
        put_member(batch, combination->groups[i], attached, true);
}

void rules_remove(struct nft_batch *batch, struct attached *attached)
{
    const struct combination *combination = attached->combination;

    put_elements(batch, attached, false);
    for (size_t i = 0; i < combination->count; i++)
        put_member(batch, combination->groups[i], attached, false);
    lower_combination(batch, attached->vpc, attached->combination);
    attached->combination = NULL;
}

static void put_mark(struct nft_batch *batch, const struct attached *attached, bool add)
{
    const struct plan_elements *marks = &plan_elements[PLAN_MARKS];

    nft_elements_begin(batch, marks->set, add);
    marks->put(batch, attached);
    nft_elements_end(batch);
}

void rules_remark(struct nft_batch *batch, struct attached *attached, uint32_t mark)
{
    if (attached->mark == mark)
        return;
    put_mark(batch, attached, false);
    attached->mark = mark;
    put_mark(batch, attached, true);
}

static bool has_group(const struct attached *attached, const struct group *group)
{
    for (size_t i = 0; i < attached->combination->count; i++) {
        if (attached->combination->groups[i] == group)
            return true;
    }
    return false;
}

static bool has_address(const struct attached *attached, uint32_t private)
{
    for (size_t i = 0; i < attached->address_count; i++) {
        if (attached->addresses[i].private == private)
            return true;
    }
    return false;
}

/* Into or out of the sets of its groups: what `one` has there and `other` has not. */
static void put_difference(struct nft_batch *batch, const struct attached *one, const struct attached *other, bool add)
{
    for (size_t i = 0; i < one->combination->count; i++) {
        const struct group *group = one->combination->groups[i];
        struct attached rest = *one;

        rest.address_count = 0;
        for (size_t k = 0; k < one->address_count; k++) {
            if (!has_group(other, group) || !has_address(other, one->addresses[k].private))
                rest.addresses[rest.address_count++] = one->addresses[k];
        }
        put_member(batch, group, &rest, add);
    }
}

void rules_change(struct nft_batch *grants, struct nft_batch *withdrawals, struct attached *attached,
                  const struct attached *now)
{
    raise_combination(grants, now->combination);
    put_difference(grants, now, attached, true);
    put_elements(grants, attached, false);
    put_elements(grants, now, true);
    put_difference(withdrawals, attached, now, false);
    lower_combination(withdrawals, attached->vpc, attached->combination);
    attached->combination = now->combination;
}

void rules_set_group(struct nft_batch *batch, struct group *group, struct rule *rules, size_t count)
{
    struct rule *before = group->rules;
    size_t count_before = group->count;
    bool stands = group->combinations > 0;

    if (stands)
        use_peers(batch, rules, count);
    group->rules = rules;
    group->count = count;
    if (stands) {
        each_chain_of_group(batch, group, nft_chain_flush);
        plan_group_rules(batch, group);
        drop_peers(batch, before, count_before);
    }
    free(before);
}

/* ---- all of it ---- */

static void whole_groups(struct nft_batch *batch, const struct vpc *vpc)
{
    for (struct map_slot *at = NULL; (at = map_next(&vpc->groups, at));) {
        const struct group *group = at->value;

        if (group->uses)
            plan_group_set(batch, group);
        if (group->combinations)
            each_chain_of_group(batch, group, nft_chain_add);
    }
    for (struct map_slot *at = NULL; (at = map_next(&vpc->groups, at));) {
        if (((const struct group *)at->value)->combinations)
            plan_group_rules(batch, at->value);
    }
    for (struct map_slot *at = NULL; (at = map_next(&vpc->combinations, at));) {
        const struct combination *combination = at->value;

        if (combination->uses == 0)
            continue;
        each_chain_of_combination(batch, combination, nft_chain_add);
        plan_combination_rules(batch, combination);
    }
}

static void whole_interfaces(struct nft_batch *batch, const struct vpc *vpc)
{
    for (size_t i = 0; i < sets_of(batch); i++) {
        nft_family(batch, plan_elements[i].family);
        nft_elements_begin(batch, plan_elements[i].set, true);
        for (const struct attached *attached = vpc->first; attached; attached = attached->next)
            plan_elements[i].put(batch, attached);
        nft_elements_end(batch);
    }
    nft_family(batch, NFPROTO_INET);
    for (const struct attached *attached = vpc->first; attached; attached = attached->next) {
        for (size_t i = 0; i < attached->combination->count; i++)
            put_member(batch, attached->combination->groups[i], attached, true);
    }
}

static void fresh_table(struct nft_batch *batch)
{
    nft_table_add(batch); /* so that there is one to delete */
    nft_table_delete(batch);
    nft_table_add(batch);
}

void rules_whole(struct nft_batch *batch, const struct vpc *vpc, struct fabric_cidr pool)
{
    fresh_table(batch);
    plan_base(batch, pool);
    if (!batch->no_arp) {
        nft_family(batch, NFPROTO_ARP);
        fresh_table(batch);
        plan_arp(batch);
        nft_family(batch, NFPROTO_INET);
    }
    whole_groups(batch, vpc);
    whole_interfaces(batch, vpc);
}
