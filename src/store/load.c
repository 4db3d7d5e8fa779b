#include "store/load.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "store/doc.h"

struct load {
    struct store *store;
    struct names *names;
    struct map kinds;  /* by name */
    struct map worlds; /* by the bytes of their number */
    size_t name_count;
    size_t unknown; /* records of kinds that this version lacks: they stay in the file */
};

static struct str number_key(const uint64_t *number)
{
    return (struct str){(const char *)number, sizeof *number};
}

static int damaged(const struct op *op, const char *what, struct err *err)
{
    return err_plain(err, "state.db is damaged: %s (number %llu)", what, (unsigned long long)op->number);
}

static int load_name(struct load *load, const struct op *op, struct err *err)
{
    load->name_count++;
    return names_number(load->names, op->text) == op->number ? 0 : damaged(op, "a name has another's place", err);
}

static int load_world(struct load *load, const struct op *op, struct err *err)
{
    struct world *world = store_world(load->store, op->text, op->id);

    if (world->number == op->number)
        return 0; /* a row of the log that was folded in part */
    if (world->number || op->number == 0)
        return damaged(op, "a world has two numbers", err);
    world_written(world);
    world->number = op->number;
    world->seeded = true;
    if (load->store->world_number < op->number)
        load->store->world_number = op->number;
    map_put(&load->worlds, number_key(&world->number), world);
    return 0;
}

static int end_world(struct load *load, const struct op *op, struct err *err)
{
    struct world *world = map_remove(&load->worlds, number_key(&op->number));

    if (world)
        world_fresh(world);
    return 0;
}

/* The table that an operation is about: 1; 0: of a kind that this version lacks, or of a world that ended. */
static int find_table(struct load *load, const struct op *op, struct table **ret)
{
    const struct store_kind *kind = map_get(&load->kinds, names_text(load->names, op->name));
    struct world *world = map_get(&load->worlds, number_key(&op->world));

    if (!kind)
        load->unknown += op->kind == OP_PUT;
    if (!kind || !world)
        return 0;
    *ret = world_table(world, (uint16_t)(kind - load->store->kinds));
    return 1;
}

static struct version *read_version(struct load *load, const struct store_kind *kind, struct str doc)
{
    const struct shape *shape = &kind->service->shapes[kind->shape];
    struct version *version;
    size_t size;
    bool foreign;

    if (!doc_measure(load->names, kind->service, shape, doc, &size, &foreign))
        return NULL;
    version = mem_alloc(sizeof *version + size + (foreign ? doc.len : 0));
    version->serial = version_serial();
    doc_decode(load->names, kind->service, shape, doc, version->data);
    if (foreign) {
        memcpy((char *)version->data + size, doc.p, doc.len);
        version->foreign_at = (uint32_t)size;
        version->foreign_len = (uint32_t)doc.len;
    }
    return version;
}

static void drop(struct record *record)
{
    free(record->now);
    record_free(record);
}

/* Rows of the log may have been folded in part: what they say of a record then happens for the second time. */
static struct record *take_record(struct table *table, const struct op *op)
{
    struct record *record = map_get(&table->by_id, op->id);

    if (record && record->created == op->number)
        return record;
    if (record)
        drop(record);
    return record_new(table, op->id, op->number);
}

static int load_put(struct load *load, const struct op *op, struct err *err)
{
    struct version *version;
    struct record *record;
    struct table *table;

    if (load->store->created < op->number)
        load->store->created = op->number;
    if (!find_table(load, op, &table))
        return 0;
    version = read_version(load, table->kind, op->doc);
    if (!version)
        return damaged(op, "a document cannot be read", err);
    if (!str_equal(data_id(table->kind, version->data), op->id)) {
        free(version);
        return damaged(op, "a document has another id than its record", err);
    }
    record = take_record(table, op);
    index_update(record, record->now ? record->now->data : NULL, version->data);
    free(record->now);
    record->now = version;
    return 0;
}

static int load_remove(struct load *load, const struct op *op, struct err *err)
{
    struct table *table;
    struct record *record;

    if (!find_table(load, op, &table))
        return 0;
    record = map_get(&table->by_id, op->id);
    if (record && record->created == op->number)
        drop(record);
    return 0;
}

static int load_op(void *cookie, const struct op *op, struct err *err)
{
    switch (op->kind) {
    case OP_NAME:
        return load_name(cookie, op, err);
    case OP_WORLD:
        return load_world(cookie, op, err);
    case OP_WORLD_END:
        return end_world(cookie, op, err);
    case OP_PUT:
        return load_put(cookie, op, err);
    case OP_REMOVE:
        return load_remove(cookie, op, err);
    }
    return -1;
}

/* What had been written and is not there: said, and its numbers are not given again. */
static void check_loss(struct store *store, const struct db *db)
{
    char text[TIME_ISO_SIZE];
    int64_t ms;
    uint64_t written = db_written(db, &ms);

    if (written <= store->last)
        return;
    log_error("state.db has lost changes: those from number %llu on, up to %llu, which was written %s; its WAL is "
              "damaged, or "
              "it was put back from an older copy, or the host has lost power",
              (unsigned long long)store->last + 1, (unsigned long long)written, time_iso(ms, text).p);
    store->last = written;
    store->lost = true;
}

int load_store(struct store *store, struct db *db, struct names *names, size_t *ret_names, struct err *err)
{
    struct load load = {.store = store, .names = names};
    int r;

    for (size_t i = 0; i < store->kind_count; i++)
        map_put(&load.kinds, str_of(store->kinds[i].name), (void *)&store->kinds[i]);
    r = db_load(db, load_op, &load, &store->last, err);
    if (r == 0 && load.unknown)
        log_warning("state.db holds %zu records of kinds that this version does not know: they are kept there",
                    load.unknown);
    if (r == 0)
        check_loss(store, db);
    *ret_names = load.name_count;
    map_free(&load.kinds);
    map_free(&load.worlds);
    return r;
}
