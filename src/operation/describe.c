/* The generic Describe: ids, filters, pages, order and errors, from a kind's row. */
#include "base/map.h"
#include "base/mem.h"
#include "ec2.h"
#include "errors.h"
#include "operation/call.h"
#include "operation/filter.h"
#include "operation/page.h"

#include <stdint.h>

struct describe {
    struct call *call;
    const struct resource *resource;
    uint16_t kind;
    size_t size; /* of a record's struct */
    struct filter_set filters;
    char *views; /* what matched, inline */
    size_t count, capacity, limit;
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
        size_t capacity = d->capacity ? d->capacity * 2 : 4;
        char *views = arena_alloc_array(d->call->arena, d->size, capacity);
        if (d->count)
            memcpy(views, d->views, d->count * d->size);
        d->views = views;
        d->capacity = capacity;
    }
    return d->views + d->count * d->size;
}

/* Adds the record if it matches. */
static int consider(struct describe *d, const void *record)
{
    void *view;
    int r;

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

/* By ids: every one must exist, or nothing is answered. A repeated id is shown once. */
static int by_ids(struct describe *d, const struct any_list *ids)
{
    const struct str *items = ids->items;
    struct str *missing = arena_array(d->call->arena, struct str, ids->count);
    const void **records = arena_array(d->call->arena, const void *, ids->count);
    struct map seen = {0};
    size_t missing_count = 0, count = 0;
    int r = 0;

    for (size_t i = 0; i < ids->count && r == 0; i++) {
        const void *record;
        if (!resource_id_well_formed(d->resource, items[i])) {
            r = resource_malformed(d->resource, items[i], d->err);
            break;
        }
        if (map_put(&seen, items[i], (void *)&items[i]))
            continue;
        record = tx_get(d->call->tx, d->kind, items[i]);
        if (record)
            records[count++] = record;
        else
            missing[missing_count++] = items[i];
    }
    map_free(&seen);
    if (r == 0 && missing_count)
        r = resource_not_found(d->resource, missing, missing_count, d->err);
    for (size_t i = 0; i < count && r == 0; i++)
        r = consider(d, records[i]);
    return r;
}

/* A page: up to the limit, and one more look to know whether another page follows. */
static int by_page(struct describe *d, struct str token, struct str *ret_token)
{
    uint64_t position, last;
    const void *record;
    int r = page_start(d->call, token, &position, d->err);

    for (last = position; r == 0 && (record = tx_next(d->call->tx, d->kind, &position)); last = position) {
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

int resource_describe(struct call *call, uint16_t kind, const void *in, void *out, struct err *err)
{
    const struct resource *row = &ec2_resources[kind];
    struct describe d = {.call = call, .resource = row, .kind = kind, .err = err,
                         .size = row->service->shapes[row->record].size, .limit = SIZE_MAX};
    const struct any_list *ids = member_at(in, row->ids);
    const struct opt_int *max = member_at(in, row->max_results);
    struct str next = {0};
    int r = filter_compile(call->arena, row, member_at(in, row->request_filters), &d.filters, err);

    if (r < 0)
        return r;
    if (max->set)
        d.limit = (size_t)max->value;
    r = ids->count ? by_ids(&d, ids) : by_page(&d, *(const struct str *)member_at(in, row->next_token), &next);
    if (r < 0)
        return r;
    *(struct any_list *)((char *)out + row->list) = (struct any_list){next_view(&d), d.count};
    if (row->answer_next_token != NO_MEMBER)
        *(struct str *)((char *)out + row->answer_next_token) = next;
    return 0;
}
