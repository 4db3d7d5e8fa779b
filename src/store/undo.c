/*
 * Taking back commits that are in memory and will never be durable, because the journal could not write them
 * and they have been refused. The feed still holds them, since it delivers only what is durable: they are undone newest
 * first, each from its last change to its first, so that every step finds what it had left.
 *
 * Those who look at records (reconcilers) may have seen what is taken back, and may have made such commits themselves.
 * So it is all done by a commit of its own, which has nothing for the journal, but goes through the feed: whoever reads
 * that looks again at every record that was touched. It may hear there that a record is gone that it never heard of.
 */
#include "store/records.h"

#include "base/mem.h"

#include <assert.h>

/* The world that ended is the journal's again. Where somebody has looked at it since, it has defaults: they go. */
static void world_is_back(const struct feed_change *change)
{
    struct world *world = change->world;

    world_empty(world, NULL);
    world_written(world);
    world->number = change->created;
    world->seeded = true;
}

static void undo_record(struct store *store, const struct feed_change *change, struct feed_batch *batch)
{
    struct table *table = world_table(change->world, change->kind);
    const struct version *any = change->new ? change->new : change->old;
    struct str id = data_id(table->kind, any->data);
    struct record *record = change->new ? map_get(&table->by_id, id) : record_new(table, id, change->created);

    assert(record && record->now == change->new && !record->draft);
    if (change->old) {
        record->now = change->old;
        index_update(record, change->new ? change->new->data : NULL, change->old->data);
    } else {
        record_free(record);
    }
    feed_batch_add(batch, table, change->created, (struct version *)any, change->old);
    if (change->new)
        feed_discard(store, change->new, store->last);
}

static void undo_batch(struct store *store, const struct feed_batch *undone, struct feed_batch *batch)
{
    for (size_t i = 0; i < undone->count; i++) /* before its records are back, which come after it */
        if (undone->changes[i].kind == WORLD_ENDED)
            world_is_back(&undone->changes[i]);
    for (size_t i = undone->count; i-- > 0;) {
        const struct feed_change *change = &undone->changes[i];

        if (change->old || change->new)
            undo_record(store, change, batch);
        else if (change->kind == WORLD_BEGAN)
            world_fresh(change->world); /* the defaults that it took along are gone: they are computed anew */
        change->world->last_change = store->last;
    }
}

void undo_commits(struct store *store)
{
    struct feed_batch *undone = feed_cut(store), *batch;
    size_t room = 0;

    assert(!store->tx);
    for (const struct feed_batch *at = undone; at; at = at->next)
        room += at->count;
    /* A number of its own, and none is used again: what was computed at one of theirs is not taken for later news. */
    batch = feed_batch_new(++store->last, room, S("undo"));
    while (undone) {
        struct feed_batch *next = undone->next;

        undo_batch(store, undone, batch);
        free(undone);
        undone = next;
    }
    feed_push(store, batch);
}
