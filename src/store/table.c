/* Tables: the records of a kind in a world, by id and in order of creation. */
#include "store/records.h"

#include "base/mem.h"

#include <assert.h>

enum { HOLES_KEPT = 64 };

struct table *world_has_table(const struct world *world, uint16_t kind)
{
    assert(kind < world->store->kind_count);
    return world->table_at[kind] ? world->tables[world->table_at[kind] - 1] : NULL;
}

struct table *world_table(struct world *world, uint16_t kind)
{
    struct table *table = world_has_table(world, kind);

    if (table)
        return table;
    table = mem_alloc(sizeof *table + world->store->kinds[kind].index_count * sizeof *table->indexes);
    table->world = world;
    table->kind = &world->store->kinds[kind];
    table->number = kind;
    mem_grow(world->tables, world->table_count, &world->table_capacity);
    world->tables[world->table_count++] = table;
    world->table_at[kind] = (uint8_t)world->table_count;
    return table;
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->order_count; i++) {
        struct record *record = table->order[i].record;
        if (!record)
            continue;
        index_remove(record);
        free(record->now);
        free(record);
    }
    for (size_t i = 0; i < table->kind->index_count; i++)
        index_free(&table->indexes[i]);
    free(table->order);
    map_free(&table->by_id);
    free(table);
}

size_t table_after(struct table *table, uint64_t created)
{
    size_t low = 0, high = table->order_count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        if (table->order[mid].created <= created)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Nearly always at the end. Only replay of a half-folded journal puts a record between others. */
static void order_insert(struct table *table, struct record *record)
{
    size_t at = table->order_count;

    mem_grow(table->order, table->order_count, &table->order_capacity);
    if (at > 0 && table->order[at - 1].created >= record->created)
        at = table_after(table, record->created);
    memmove(&table->order[at + 1], &table->order[at], (table->order_count - at) * sizeof *table->order);
    table->order[at] = (struct place){record->created, record};
    table->order_count++;
}

static void order_compact(struct table *table)
{
    size_t kept = 0;

    for (size_t i = 0; i < table->order_count; i++)
        if (table->order[i].record)
            table->order[kept++] = table->order[i];
    table->order_count = kept;
    table->holes = 0;
}

static void order_remove(struct table *table, const struct record *record)
{
    size_t at = table_after(table, record->created);

    assert(at > 0);
    while (table->order[at - 1].record != record) /* a hole may have the same number, after a restart */
        at--;
    table->order[at - 1].record = NULL;
    table->holes++;
    while (table->order_count > 0 && !table->order[table->order_count - 1].record) {
        table->order_count--;
        table->holes--;
    }
    if (table->holes > HOLES_KEPT && table->holes > table->order_count / 2)
        order_compact(table);
}

struct record *record_new(struct table *table, struct str id, uint64_t created)
{
    size_t links = table->kind->index_count * sizeof(struct link);
    struct record *record = mem_alloc(sizeof *record + links + id.len + 1);
    char *copy = (char *)record + sizeof *record + links;

    memcpy(copy, id.p, id.len);
    record->table = table;
    record->created = created;
    record->id = (struct str){copy, id.len};
    map_put(&table->by_id, record->id, record);
    order_insert(table, record);
    return record;
}

void record_free(struct record *record)
{
    index_remove(record);
    map_remove(&record->table->by_id, record->id);
    order_remove(record->table, record);
    free(record);
}

uint64_t record_version(const void *record)
{
    return ((const struct version *)((const char *)record - offsetof(struct version, data)))->serial;
}

uint64_t version_serial(void)
{
    static uint64_t serial;

    return ++serial;
}

struct str version_foreign(const struct version *version)
{
    if (!version->foreign_len)
        return (struct str){0};
    return (struct str){(const char *)version->data + version->foreign_at, version->foreign_len};
}

struct version *version_new(const struct store_kind *kind, const void *data, struct str foreign)
{
    const struct shape *shape = &kind->service->shapes[kind->shape];
    size_t own = (shape->size + 7u) & ~(size_t)7, hanging = shape_copy_size(kind->service, shape, data);
    struct version *version = mem_resize(NULL, sizeof *version + own + hanging + foreign.len);
    char *at = (char *)version->data + own;

    *version = (struct version){.serial = version_serial()};
    shape_copy(kind->service, shape, data, version->data, &at);
    if (foreign.len) {
        memcpy(at, foreign.p, foreign.len);
        version->foreign_at = (uint32_t)(at - (char *)version->data);
        version->foreign_len = (uint32_t)foreign.len;
    }
    return version;
}
