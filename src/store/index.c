/*
 * Indexes: value → the records that reach it. Each value's records are an intrusive list, so that a record
 * leaves in constant time however many share the value; lists are in order of insertion, which tx_find
 * sorts where it is not that of creation.
 */
#include "store/records.h"

#include "base/mem.h"

struct index_key {
    struct link *first, *last;
    uint32_t count, len; /* of the links; of the text */
    char text[];
};

static struct str key_text(const struct index_key *key)
{
    return (struct str){key->text, key->len};
}

struct link *index_first(struct table *table, unsigned index, struct str value)
{
    struct index_key *key = map_get(&table->indexes[index], value);

    return key ? key->first : NULL;
}

struct link *link_next(const struct link *link)
{
    return link->next;
}

struct record *link_record(const struct link *link)
{
    return link->record;
}

size_t link_siblings(const struct link *link)
{
    return link->key->count;
}

static struct index_key *key_get(struct map *index, struct str text)
{
    struct index_key *key = map_get(index, text);

    if (key)
        return key;
    key = mem_alloc(sizeof *key + text.len + 1);
    if (text.len)
        memcpy(key->text, text.p, text.len);
    key->len = (uint32_t)text.len;
    map_put(index, key_text(key), key);
    return key;
}

/* Of one record in one index. */
static void unlink_all(struct map *index, struct link *first)
{
    for (struct link *link = first->key ? first : NULL, *sibling; link; link = sibling) {
        struct index_key *key = link->key;

        sibling = link->sibling;
        *(link->previous ? &link->previous->next : &key->first) = link->next;
        *(link->next ? &link->next->previous : &key->last) = link->previous;
        if (--key->count == 0) {
            map_remove(index, key_text(key));
            free(key);
        }
        if (link != first)
            free(link);
    }
    *first = (struct link){0};
}

struct linking {
    unsigned number;
    struct record *record;
    struct link *last; /* made so far; NULL: none */
};

static bool link_value(void *cookie, const struct shape *shape, const void *value)
{
    struct linking *linking = cookie;
    char text[SHAPE_TEXT_SIZE];
    struct index_key *key = key_get(&linking->record->table->indexes[linking->number], shape_text(shape, value, text));
    struct link *link;

    /* A record's links are made in one go: if it has this value already, its link is the key's last. */
    if (key->last && key->last->record == linking->record)
        return false;
    link = linking->last ? mem_alloc(sizeof *link) : &linking->record->links[linking->number];
    *link = (struct link){.previous = key->last, .key = key, .record = linking->record};
    *(key->last ? &key->last->next : &key->first) = link;
    key->last = link;
    key->count++;
    if (linking->last)
        linking->last->sibling = link;
    linking->last = link;
    return false;
}

/* A few values of an index's path, in its order. */
struct values {
    struct str items[16];
    size_t count;
    bool more; /* too many, or not stored as text */
};

static bool keep_value(void *cookie, const struct shape *shape, const void *value)
{
    struct values *values = cookie;
    char text[SHAPE_TEXT_SIZE];
    struct str s = shape_text(shape, value, text);

    values->more = values->count == ARRAY_LEN(values->items) || s.p == text;
    if (!values->more)
        values->items[values->count++] = s;
    return values->more;
}

/*
 * Are the values known to be the same? Most edits change none that is indexed. It looks at the two versions,
 * which are in the cache already, and not at links, which among 100,000 records are not.
 */
static bool values_same(const struct store_kind *kind, unsigned index, const void *old, const void *new)
{
    struct values before, after;

    before.count = after.count = 0; /* the rest is not read */
    before.more = after.more = false;
    shape_walk(kind->service, old, kind->indexes[index], keep_value, &before);
    shape_walk(kind->service, new, kind->indexes[index], keep_value, &after);
    if (before.more || after.more || before.count != after.count)
        return false;
    for (size_t i = 0; i < before.count; i++)
        if (!str_equal(before.items[i], after.items[i]))
            return false;
    return true;
}

void index_update(struct record *record, const void *old, const void *new)
{
    const struct store_kind *kind = record->table->kind;

    for (unsigned i = 0; i < kind->index_count; i++) {
        struct linking linking = {i, record, NULL};

        if (old && values_same(kind, i, old, new))
            continue;
        unlink_all(&record->table->indexes[i], &record->links[i]);
        shape_walk(kind->service, new, kind->indexes[i], link_value, &linking);
    }
}

void index_remove(struct record *record)
{
    for (unsigned i = 0; i < record->table->kind->index_count; i++)
        unlink_all(&record->table->indexes[i], &record->links[i]);
}

void index_free(struct map *index)
{
    map_free(index);
}

static bool matches(void *cookie, const struct shape *shape, const void *value)
{
    const struct str *wanted = cookie;
    char text[SHAPE_TEXT_SIZE];

    return str_equal(*wanted, shape_text(shape, value, text));
}

bool data_reaches(const struct store_kind *kind, unsigned index, const void *data, struct str value)
{
    return shape_walk(kind->service, data, kind->indexes[index], matches, &value);
}
