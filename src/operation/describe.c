/* The generic Describe: ids, filters, pages, order and errors, from a kind's row. */
#include "base/map.h"
#include "ec2.h"
#include "errors.h"
#include "operation/call.h"
#include "operation/filter.h"
#include "operation/kept.h"
#include "operation/page.h"

#include <stdint.h>
#include <string.h>

struct describe {
    struct call *call;
    const struct resource *resource;
    uint16_t kind;
    size_t size; /* of a record's struct */
    struct filter_set filters;
    char *views; /* what matched, inline */
    size_t count, capacity, limit;
    size_t expected; /* how many there may be, at first */
    void *scratch;   /* a source's view before it is known to match */
    struct err *err;
};

static const void *member_at(const void *structure, uint16_t offset)
{
    static const char nothing[64]; /* an absent member of any kind */

    return offset == NO_MEMBER ? (const void *)nothing : (const char *)structure + offset;
}

static void *next_view(struct describe *d)
{
    if (d->count == d->capacity) {
        size_t capacity = d->capacity ? d->capacity * 2 : d->expected;
        char *views = arena_alloc_array(d->call->arena, d->size, capacity);
        if (d->count)
            memcpy(views, d->views, d->count * d->size);
        d->views = views;
        d->capacity = capacity;
    }
    return d->views + d->count * d->size;
}

/* Adds a view whose encoding is kept, made now if need be: its other members are the record's own only. */
static int add_kept(struct describe *d, const void *record)
{
    struct str text = kept_find(d->call, d->kind, record);
    void *view = next_view(d);
    int r = 0;

    if (text.p) {
        memcpy(view, record, d->size);
    } else {
        r = resource_view(d->call, d->kind, record, view, d->err);
        if (r == 0)
            text = kept_add(d->call, d->kind, record, view);
    }
    *(struct str *)((char *)view + d->resource->encoded) = text;
    d->count++;
    return r;
}

/* Adds the record if it matches. */
static int consider(struct describe *d, const void *record)
{
    void *view;
    int r;

    if (d->resource->kept_while && !d->filters.count)
        return add_kept(d, record);
    if (!d->resource->derive && !filter_matches(&d->filters, record))
        return 0;
    view = next_view(d);
    r = resource_view(d->call, d->kind, record, view, d->err);
    if (r < 0)
        return r;
    if (!d->resource->derive || filter_matches(&d->filters, view))
        d->count++;
    return 0;
}

struct wanted {
    const struct str *ids;
    size_t count;
    const void **found; /* by position in ids; NULL: none */
};

static int note_missing(struct describe *d, const struct wanted *wanted)
{
    struct str *missing = arena_array(d->call->arena, struct str, wanted->count);
    size_t count = 0;

    for (size_t i = 0; i < wanted->count; i++)
        if (!wanted->found[i] &&
            (d->resource->hidden_of == NO_KIND || !tx_get(d->call->tx, d->resource->hidden_of, wanted->ids[i])))
            missing[count++] = wanted->ids[i];
    return count ? resource_not_found(d->resource, missing, count, d->err) : 0;
}

/* From a source: one pass over what it computes, keeping what is asked for. */
static void look_in_source(struct describe *d, struct map *places, struct wanted *wanted)
{
    uint64_t position = 0;
    void *view = arena_alloc(d->call->arena, d->size);

    for (size_t i = 0; d->resource->source_by_id && i < wanted->count; i++)
        if (d->resource->source_by_id(d->call, wanted->ids[i], view)) {
            wanted->found[i] = view;
            view = arena_alloc(d->call->arena, d->size);
        }
    while (!d->resource->source_by_id && d->resource->source(d->call, &position, view)) {
        const void **place = map_get(places, resource_id(d->kind, view));

        if (place) {
            *place = view;
            view = arena_alloc(d->call->arena, d->size);
        } else {
            memset(view, 0, d->size);
        }
    }
}

/* By ids: every one must exist, or nothing is answered. A repeated id is shown once. */
static int by_ids(struct describe *d, const struct any_list *ids)
{
    struct wanted wanted = {.found = arena_array(d->call->arena, const void *, ids->count)};
    struct str *unique = arena_array(d->call->arena, struct str, ids->count);
    struct map places = {0};
    int r = 0;

    wanted.ids = unique;
    for (size_t i = 0; i < ids->count && r == 0; i++) {
        struct str id = ((const struct str *)ids->items)[i];
        if (!resource_id_well_formed(d->resource, id)) {
            r = resource_malformed(d->resource, id, d->err);
        } else if (!map_get(&places, id)) {
            unique[wanted.count] = id;
            map_put(&places, unique[wanted.count], &wanted.found[wanted.count]);
            if (!d->resource->source)
                wanted.found[wanted.count] = tx_get(d->call->tx, d->kind, id);
            wanted.count++;
        }
    }
    if (r == 0 && d->resource->source)
        look_in_source(d, &places, &wanted);
    map_free(&places);
    if (r == 0)
        r = note_missing(d, &wanted);
    for (size_t i = 0; i < wanted.count && r == 0; i++)
        if (wanted.found[i])
            r = consider(d, wanted.found[i]);
    return r;
}

/* The next record at *position, stored or computed (then in a view of its own). */
static const void *next_record(struct describe *d, uint64_t *position)
{
    void *view;

    if (!d->resource->source)
        return tx_next(d->call->tx, d->kind, position);
    view = d->scratch ? d->scratch : (d->scratch = arena_alloc(d->call->arena, d->size));
    memset(view, 0, d->size);
    return d->resource->source(d->call, position, view) ? view : NULL;
}

/* A page: up to the limit, and one more look to know whether another page follows. */
static int by_page(struct describe *d, struct str token, struct str *ret_token)
{
    uint64_t position, last;
    const void *record;
    int r = page_start(d->call, token, &position, d->err);

    for (last = position; r == 0 && (record = next_record(d, &position)); last = position) {
        size_t before = d->count;
        r = consider(d, record);
        if (r == 0 && before == d->limit && d->count > before) {
            d->count = before;
            *ret_token = page_token(d->call, last);
            break;
        }
    }
    return r;
}

int resource_select(struct call *call, uint16_t kind, const void *in, struct any_list *ret, struct str *ret_next,
                    struct err *err)
{
    const struct resource *row = &ec2_resources[kind];
    struct describe d = {.call = call,
                         .resource = row,
                         .kind = kind,
                         .err = err,
                         .size = row->service->shapes[row->record].size,
                         .limit = row->page ? row->page : SIZE_MAX};
    const struct any_list *ids = member_at(in, row->ids);
    const struct opt_int *max = member_at(in, row->max_results);
    int r = filter_compile(call->arena, row, member_at(in, row->request_filters), &d.filters, err);

    if (r < 0)
        return r;
    d.expected = row->kept_while && !d.filters.count && !max->set && !ids->count ? tx_count(call->tx, kind) + 1 : 4;
    if (ids->count && max->set && row->ids_exclude_pages)
        return err_aws(err, &AWS_INVALID_PARAMETER_COMBINATION,
                       "The parameter maxResults cannot be used with ids of a %s in the same request", row->name);
    if (max->set)
        d.limit = (size_t)max->value;
    r = ids->count ? by_ids(&d, ids) : by_page(&d, *(const struct str *)member_at(in, row->next_token), ret_next);
    if (r == 0)
        *ret = (struct any_list){d.views ? d.views : arena_alloc(call->arena, 1), d.count};
    return r;
}

int resource_describe(struct call *call, uint16_t kind, const void *in, void *out, struct err *err)
{
    const struct resource *row = &ec2_resources[kind];
    struct str next = {0};
    int r = resource_select(call, kind, in, (struct any_list *)((char *)out + row->list), &next, err);

    if (r == 0 && row->answer_next_token != NO_MEMBER)
        *(struct str *)((char *)out + row->answer_next_token) = next;
    return r;
}
