/* Transactions: reading and drafting. What becomes of the drafts is commit.c's. */
#include "store/tx.h"

#include <assert.h>

struct tx *tx_begin(struct store *store, struct world *world, struct arena *arena, struct str what)
{
    struct tx *tx = arena_new(arena, struct tx);

    assert(!store->tx);
    *tx = (struct tx){.store = store, .world = world, .arena = arena, .what = what};
    store->tx = tx;
    tx_enter(tx, world);
    return tx;
}

struct world *tx_world(const struct tx *tx)
{
    return tx->world;
}

struct arena *tx_arena(const struct tx *tx)
{
    return tx->arena;
}

void tx_enter(struct tx *tx, struct world *world)
{
    assert(!tx->outer); /* a seed stays in its world */
    tx->world = world;
    if (tx->saw < world->last_change)
        tx->saw = world->last_change;
    world_seed(world, tx);
}

uint64_t tx_saw(const struct tx *tx)
{
    return tx->saw;
}

static struct record *find(const struct tx *tx, uint16_t kind, struct str id)
{
    struct table *table = world_has_table(tx->world, kind);

    return table && id.p ? map_get(&table->by_id, id) : NULL;
}

/* What the transaction sees of a record; NULL when it removes it. */
static const void *seen(const struct record *record)
{
    return record->draft ? record->draft->data : record->now->data;
}

const void *tx_get(struct tx *tx, uint16_t kind, struct str id)
{
    const struct record *record = find(tx, kind, id);

    return record ? seen(record) : NULL;
}

static struct draft *draft_new(struct tx *tx, struct record *record, void *data)
{
    struct draft *draft = arena_new(tx->arena, struct draft);

    *draft = (struct draft){
        .table = record->table, .record = record, .data = data, .next_in_table = record->table->drafts};
    *(tx->last ? &tx->last->next : &tx->first) = draft;
    tx->last = draft;
    record->table->drafts = draft;
    return record->draft = draft;
}

void *tx_edit(struct tx *tx, uint16_t kind, struct str id)
{
    struct record *record = find(tx, kind, id);
    const struct store_kind *row = &tx->store->kinds[kind];
    const struct shape *shape = &row->service->shapes[row->shape];

    if (!record)
        return NULL;
    if (!record->draft)
        draft_new(tx, record, shape_copy_to_arena(row->service, shape, record->now->data, tx->arena));
    return record->draft->data;
}

/* A zeroed struct with its id, which is the arena's. */
static void *blank(struct tx *tx, const struct store_kind *kind, struct str id)
{
    char *data = arena_alloc(tx->arena, kind->service->shapes[kind->shape].size);

    *(struct str *)(data + kind->id_offset) = arena_str(tx->arena, id);
    return data;
}

void *tx_create(struct tx *tx, uint16_t kind, struct str id)
{
    struct table *table = world_table(tx->world, kind);
    struct record *record = map_get(&table->by_id, id);

    assert(id.p && (!record || !seen(record)));
    if (record) { /* it removed the one that had the id: for the world that is an edit */
        table->removed--;
        return record->draft->data = blank(tx, table->kind, id);
    }
    record = record_new(table, id, ++tx->store->created);
    return draft_new(tx, record, blank(tx, table->kind, id))->data;
}

/* One that the transaction itself created goes without a trace. */
static void draft_undo(struct draft *draft)
{
    if (!draft->record)
        return;
    if (draft->record->now) {
        draft->record->draft = NULL;
        return;
    }
    record_free(draft->record);
    draft->record = NULL;
    draft->data = NULL;
}

void tx_remove(struct tx *tx, uint16_t kind, struct str id)
{
    struct record *record = find(tx, kind, id);

    if (!record || !seen(record))
        return;
    if (!record->now) {
        draft_undo(record->draft);
        return;
    }
    if (!record->draft)
        draft_new(tx, record, NULL);
    record->draft->data = NULL;
    record->table->removed++;
}

size_t tx_count(struct tx *tx, uint16_t kind)
{
    const struct table *table = world_has_table(tx->world, kind);

    return table ? table->by_id.count - table->removed : 0;
}

const void *tx_next(struct tx *tx, uint16_t kind, uint64_t *position)
{
    struct table *table = world_has_table(tx->world, kind);
    size_t at;

    if (!table)
        return NULL;
    at = table->hint; /* right in front of the next one when a loop runs undisturbed */
    if (at == 0 || at > table->order_count || table->order[at - 1].created != *position)
        at = table_after(table, *position);
    for (; at < table->order_count; at++) {
        const struct record *record = table->order[at].record;
        if (!record || !seen(record))
            continue;
        table->hint = at + 1;
        *position = record->created;
        return seen(record);
    }
    return NULL;
}

/* The transaction's own records that reach the value, chained by next_found. */
static struct draft *drafts_reaching(const struct table *table, unsigned index, struct str value, size_t *ret_count)
{
    struct draft *found = NULL;

    *ret_count = 0;
    for (struct draft *draft = table->drafts; draft; draft = draft->next_in_table) {
        if (!draft->data || !data_reaches(table->kind, index, draft->data, value))
            continue;
        draft->next_found = found;
        found = draft;
        ++*ret_count;
    }
    return found;
}

static int by_creation(const void *a, const void *b)
{
    const struct record *x = *(const struct record *const *)a, *y = *(const struct record *const *)b;

    return x->created < y->created ? -1 : x->created > y->created;
}

static void sort_unless_sorted(struct record **records, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (records[i - 1]->created < records[i]->created)
            continue;
        qsort(records, count, sizeof *records, by_creation);
        return;
    }
}

size_t tx_find(struct tx *tx, uint16_t kind, unsigned index, struct str value, const void *const **ret)
{
    struct table *table = world_has_table(tx->world, kind);
    struct link *link;
    struct draft *draft;
    struct record **found;
    size_t count = 0, drafts;

    *ret = NULL;
    if (!table || !value.p)
        return 0;
    assert(index < table->kind->index_count);
    link = index_first(table, index, value);
    draft = drafts_reaching(table, index, value, &drafts);
    if (!link && !draft)
        return 0;
    found = arena_array(tx->arena, struct record *, (link ? link_siblings(link) : 0) + drafts);
    for (; link; link = link_next(link))
        if (!link_record(link)->draft)
            found[count++] = link_record(link);
    for (; draft; draft = draft->next_found)
        found[count++] = draft->record;
    sort_unless_sorted(found, count);
    for (size_t i = 0; i < count; i++) /* in place: both are pointers */
        ((const void **)found)[i] = seen(found[i]);
    *ret = (const void *const *)found;
    return count;
}

const void *tx_find_any(struct tx *tx, uint16_t kind, unsigned index, struct str value)
{
    struct table *table = world_has_table(tx->world, kind);

    if (!table || !value.p)
        return NULL;
    assert(index < table->kind->index_count);
    for (struct link *link = index_first(table, index, value); link; link = link_next(link))
        if (!link_record(link)->draft)
            return link_record(link)->now->data;
    for (struct draft *draft = table->drafts; draft; draft = draft->next_in_table)
        if (draft->data && data_reaches(table->kind, index, draft->data, value))
            return draft->data;
    return NULL;
}

size_t tx_find_count(struct tx *tx, uint16_t kind, unsigned index, struct str value)
{
    struct table *table = world_has_table(tx->world, kind);
    struct link *link;
    size_t count;

    if (!table || !value.p)
        return 0;
    assert(index < table->kind->index_count);
    link = index_first(table, index, value);
    count = link ? link_siblings(link) : 0;
    for (struct draft *draft = table->drafts; draft; draft = draft->next_in_table) {
        if (draft->record && draft->record->now)
            count -= data_reaches(table->kind, index, draft->record->now->data, value);
        if (draft->data)
            count += data_reaches(table->kind, index, draft->data, value);
    }
    return count;
}

/* Tables forget the transaction; the drafts themselves are the arena's. */
void tx_end(struct tx *tx)
{
    for (struct draft *draft = tx->first; draft; draft = draft->next) {
        draft->table->drafts = NULL;
        draft->table->removed = 0;
        if (draft->record)
            draft->record->draft = NULL;
    }
    tx->store->tx = tx->outer;
}

void tx_rollback(struct tx *tx)
{
    for (struct draft *draft = tx->first; draft; draft = draft->next)
        draft_undo(draft);
    tx_end(tx);
}
