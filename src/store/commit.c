/*
 * Committing. In this order: what can fail is asked first (the journal, a seed); then each draft is encoded
 * for the journal, copied into a version of its own, put in place, indexed, and queued for the feed. Nothing
 * after the first step fails, so a commit is all or nothing without undoing anything. (What the journal cannot write
 * after all is taken back as whole commits: undo.c.)
 */
#include "store/tx.h"

#include "base/mem.h"
#include "store/journal.h"

#include <assert.h>

/* Records that a world's first real commit takes along: they are created by it, for journal and feed. */
static void take_seeds(struct world *world, struct feed_batch *batch)
{
    struct journal *journal = world->store->journal;

    for (size_t i = 0; i < world->seed_count; i++) {
        const struct record *record = world->seeds[i];
        if (journal)
            journal_put(journal, record, record->now->data);
        feed_batch_add(batch, record->table, record->created, NULL, record->now);
    }
    free(world->seeds);
    world->seeds = NULL;
    world->seed_count = world->seed_capacity = 0;
}

static void enter_world(struct world *world, struct feed_batch *batch)
{
    struct store *store = world->store;

    if (!world->number) {
        world_written(world);
        feed_batch_add_world(batch, WORLD_BEGAN, world);
        if (store->journal)
            journal_world(store->journal, world);
        take_seeds(world, batch);
    }
    world->last_change = store->last;
}

/* The record is what the draft says from now on. Its version that is no longer current is returned. */
static struct version *apply(const struct draft *draft, struct str foreign)
{
    struct record *record = draft->record;
    struct version *old = record->now;

    if (!draft->data) {
        record_free(record);
        return old;
    }
    assert(str_equal(data_id(draft->table->kind, draft->data), record->id));
    record->now = version_new(draft->table->kind, draft->data, foreign);
    index_update(record, old ? old->data : NULL, record->now->data);
    return old;
}

static void commit_draft(struct store *store, struct draft *draft, struct feed_batch *batch)
{
    struct record *record = draft->record;
    uint64_t created = record->created;
    struct str foreign = {0};
    struct version *old;

    if (store->journal && draft->data)
        foreign = journal_put(store->journal, record, draft->data);
    else if (store->journal)
        journal_remove(store->journal, record);
    old = apply(draft, foreign);
    if (!draft->data)
        draft->record = NULL; /* it is gone */
    feed_batch_add(batch, draft->table, created, old, draft->data ? record->now : NULL);
    if (old)
        feed_discard(store, old, store->last);
}

/* How many changes the transaction amounts to, and with the worlds that begin and the seeds that they take along. */
static size_t count_changes(const struct tx *tx, size_t *ret_room)
{
    size_t count = 0;

    *ret_room = 0;
    for (const struct draft *draft = tx->first; draft; draft = draft->next) {
        const struct world *world = draft->table->world;
        if (!draft->record)
            continue;
        count++;
        /* Counted once for each draft in such a world: there are few seeds, and this happens once in a world's life. */
        *ret_room += 1 + (world->number ? 0 : 1 + world->seed_count);
    }
    return count;
}

int tx_commit(struct tx *tx, struct err *err)
{
    struct store *store = tx->store;
    struct feed_batch *batch;
    size_t room;
    int r;

    if (tx->failure) {
        *err = *tx->failure;
        tx_rollback(tx);
        return -1;
    }
    if (!count_changes(tx, &room)) {
        tx_rollback(tx);
        return 0;
    }
    r = store->journal ? journal_ready(store->journal, err) : 0;
    if (r < 0) {
        tx_rollback(tx);
        return r;
    }
    batch = feed_batch_new(++store->last, room, tx->what);
    for (struct draft *draft = tx->first; draft; draft = draft->next) {
        if (!draft->record)
            continue;
        enter_world(draft->table->world, batch);
        commit_draft(store, draft, batch);
    }
    tx_end(tx);
    if (!store->journal)
        store->durable = store->last;
    feed_push(store, batch);
    return 0;
}

/* Seeded records: in place, but no commit yet, neither in journal nor feed. */
static void seed_commit(struct tx *tx)
{
    struct world *world = tx->world;

    for (struct draft *draft = tx->first; draft; draft = draft->next) {
        if (!draft->record)
            continue;
        apply(draft, (struct str){0});
        mem_grow(world->seeds, world->seed_count, &world->seed_capacity);
        world->seeds[world->seed_count++] = draft->record;
    }
    tx_end(tx);
}

void world_seed(struct world *world, struct tx *outer)
{
    struct store *store = world->store;
    struct err err = ERR_INIT;
    struct tx *tx;

    if (world->seeded || !store->seed)
        return;
    world->seeded = true;
    tx = arena_new(outer->arena, struct tx);
    *tx = (struct tx){.store = store, .world = world, .arena = outer->arena, .what = S("seed"), .outer = outer};
    store->tx = tx;
    if (store->seed(store->seed_cookie, tx, &err) == 0) {
        seed_commit(tx);
        return;
    }
    tx_rollback(tx);
    world->seeded = false;
    err_wrap(&err, "the defaults of " STR_FMT " in " STR_FMT, STR_ARG(world->account), STR_ARG(world->region));
    outer->failure = arena_new(outer->arena, struct err);
    *outer->failure = err;
}

static bool is_of(const struct world *world, struct str account)
{
    return !account.p || str_equal(world->account, account);
}

void world_empty(struct world *world, struct feed_batch *batch)
{
    struct store *store = world->store;

    for (size_t kind = 0; kind < store->kind_count; kind++) {
        struct table *table = world_has_table(world, (uint16_t)kind);
        while (table && table->order_count > 0) { /* the last place is never a hole */
            struct record *record = table->order[table->order_count - 1].record;
            struct version *old = record->now;

            if (store->journal && world->number)
                journal_remove(store->journal, record);
            if (world->number)
                feed_batch_add(batch, table, record->created, old, NULL);
            record_free(record);
            feed_discard(store, old, store->last);
        }
    }
    if (world->number && store->journal)
        journal_world_end(store->journal, world->number);
    world->last_change = store->last;
    world_fresh(world);
}

static struct world *next_of(struct store *store, struct world *world, struct str account)
{
    do
        world = store_next_world(store, world);
    while (world && !is_of(world, account));
    return world;
}

static size_t world_records(const struct world *world)
{
    size_t count = 0;

    for (size_t i = 0; i < world->table_count; i++)
        count += world->tables[i]->by_id.count;
    return count;
}

/* The worlds of an account. Collected first: emptying one moves it between the store's lists. free() them. */
static struct world **worlds_of(struct store *store, struct str account, size_t *ret_count)
{
    struct world **worlds = NULL;
    size_t capacity = 0;

    *ret_count = 0;
    for (struct world *world = NULL; (world = next_of(store, world, account)); ++*ret_count) {
        mem_grow(worlds, *ret_count, &capacity);
        worlds[*ret_count] = world;
    }
    return worlds;
}

int store_reset(struct store *store, struct str account, struct err *err)
{
    AUTO_FREE struct world **worlds = NULL;
    struct feed_batch *batch = NULL;
    size_t room = 0, count, written = 0;
    int r = store->journal ? journal_ready(store->journal, err) : 0;

    assert(!store->tx);
    if (r < 0)
        return r;
    worlds = worlds_of(store, account, &count);
    for (size_t i = 0; i < count; i++) {
        written += worlds[i]->number != 0;
        room += worlds[i]->number ? 1 + world_records(worlds[i]) : 0;
    }
    if (written) /* else nobody was told of anything there, and there is nothing to commit */
        batch = feed_batch_new(++store->last, room, S("reset"));
    for (size_t i = 0; i < count; i++) /* all of them first, so that a record's change is the last */
        if (worlds[i]->number)
            feed_batch_add_world(batch, WORLD_ENDED, worlds[i]);
    for (size_t i = 0; i < count; i++)
        world_empty(worlds[i], batch);
    if (!batch)
        return 0;
    if (!store->journal)
        store->durable = store->last;
    feed_push(store, batch);
    return 0;
}
