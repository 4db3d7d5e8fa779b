/*
 * Sorts the form's names, numbers in them by value, so that whatever belongs to one structure or list lies
 * together; then walks descriptor and names side by side. Linear after the sort, whatever order the
 * names came in and however sparse a list's numbers are.
 */
#include "aws/base64.h"
#include "aws/query.h"
#include "base/time.h"
#include "errors.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 16 };

struct decoder {
    const struct service *service;
    struct arena *arena;
    struct err *err;
    unsigned depth;
};

/* Pairs whose names begin alike: [at, end), the common part being the first `skip` bytes. */
struct span {
    const struct form_pair *at, *end;
    size_t skip;
};

static struct str segment(const struct form_pair *pair, size_t skip)
{
    struct str rest = str_skip(pair->name, skip);

    return str_cut(&rest, '.');
}

static bool is_number(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.len > 0;
}

static int compare_numbers(struct str a, struct str b)
{
    while (a.len > 1 && a.p[0] == '0')
        a = str_skip(a, 1);
    while (b.len > 1 && b.p[0] == '0')
        b = str_skip(b, 1);
    if (a.len != b.len)
        return a.len < b.len ? -1 : 1;
    return str_compare(a, b);
}

static int compare_names(const void *left, const void *right)
{
    struct str a = ((const struct form_pair *)left)->name, b = ((const struct form_pair *)right)->name;

    for (;;) {
        struct str x = str_cut(&a, '.'), y = str_cut(&b, '.');
        int order = is_number(x) && is_number(y) ? compare_numbers(x, y) : str_compare(x, y);
        if (order)
            return order;
        if (!a.p || !b.p)
            return (a.p != NULL) - (b.p != NULL);
    }
}

/* Equal names keep the order in which they came: qsort is a merge sort in glibc only until 2.37, so say it by address.
 */
static int compare_pairs(const void *left, const void *right)
{
    const struct form_pair *a = left, *b = right;
    int order = compare_names(a, b);

    return order ? order : (a->value.p > b->value.p) - (a->value.p < b->value.p);
}

/* Cuts the first group off the span: the pairs with one next segment. Its skip lies behind that segment and its dot. */
static struct span next_group(struct span *span, struct str *ret_segment)
{
    struct span group = {span->at, span->at, span->skip};
    struct str name = segment(span->at, span->skip);

    while (group.end < span->end && str_equal(segment(group.end, span->skip), name))
        group.end++;
    span->at = group.end;
    group.skip += name.len + 1;
    *ret_segment = name;
    return group;
}

/* A group that is one value: its name ends here. */
static bool ends_here(const struct span *group)
{
    return group->at->name.len < group->skip;
}

static const struct member *find_member(const struct service *service, const struct shape *shape, struct str name)
{
    const struct member *members = service->members + shape->first;
    size_t low = 0, high = shape->count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct member *member = &members[members[mid].by_in];
        int order = str_compare(name, service_name(service, member->in));
        if (order == 0)
            return member->flags & MEMBER_PRIVATE ? NULL : member;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

static int unknown(struct decoder *d, struct str name)
{
    return err_aws(d->err, &AWS_UNKNOWN_PARAMETER, "The parameter " STR_FMT " is not recognized", STR_ARG(name));
}

static int invalid(struct decoder *d, const struct form_pair *pair, const char *expected)
{
    return err_aws(d->err, &AWS_INVALID_PARAMETER_VALUE, "Value (" STR_FMT ") for parameter " STR_FMT " is invalid. %s",
                   STR_ARG(str_first(pair->value, 200)), STR_ARG(str_first(pair->name, 200)), expected);
}

static int decode_number(struct decoder *d, const struct shape *shape, const struct form_pair *pair, void *p)
{
    int64_t value;

    if (!str_to_int(str_trim(pair->value), &value) || (shape->kind == SHAPE_INT && value != (int32_t)value))
        return invalid(d, pair, "Expecting an integer.");
    *(struct opt_int *)p = INT(value);
    return 0;
}

static int decode_double(struct decoder *d, const struct form_pair *pair, void *p)
{
    char text[64], *end;
    double value;

    if (pair->value.len == 0 || !str_to_z(pair->value, text, sizeof text))
        return invalid(d, pair, "Expecting a number.");
    value = strtod(text, &end);
    if (*end || !__builtin_isfinite(value))
        return invalid(d, pair, "Expecting a number.");
    *(struct opt_double *)p = DOUBLE(value);
    return 0;
}

static int decode_scalar(struct decoder *d, const struct shape *shape, const struct form_pair *pair, void *p)
{
    int64_t ms;

    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRING:
        *(struct str *)p = pair->value;
        return 0;
    case SHAPE_BLOB:
        return base64_decode(d->arena, pair->value, p) ? 0 : invalid(d, pair, "Expecting base64.");
    case SHAPE_INT:
    case SHAPE_LONG:
        return decode_number(d, shape, pair, p);
    case SHAPE_DOUBLE:
        return decode_double(d, pair, p);
    case SHAPE_BOOL:
        if (!str_equal_nocase(pair->value, S("true")) && !str_equal_nocase(pair->value, S("false")))
            return invalid(d, pair, "Expecting true or false.");
        *(struct opt_bool *)p = BOOL(str_equal_nocase(pair->value, S("true")));
        return 0;
    case SHAPE_TIME:
        if (!time_parse(pair->value, &ms))
            return invalid(d, pair, "Expecting a timestamp.");
        *(struct opt_time *)p = TIME(ms);
        return 0;
    case SHAPE_STRUCT:
    case SHAPE_LIST:
        break;
    }
    return unknown(d, pair->name);
}

static int decode_struct(struct decoder *d, const struct shape *shape, struct span span, void *p);
static int decode_list(struct decoder *d, const struct shape *shape, struct span span, struct any_list *list);

/* p: where the value lies; for a structure, the struct itself. */
static int decode_value(struct decoder *d, const struct shape *shape, struct span group, void *p)
{
    int r;

    if (d->depth == MAX_DEPTH)
        return unknown(d, group.at->name);
    d->depth++;
    if (shape->kind == SHAPE_STRUCT && !ends_here(&group))
        r = decode_struct(d, shape, group, p);
    else if (shape->kind == SHAPE_LIST)
        r = decode_list(d, shape, group, p);
    else if (shape->kind != SHAPE_STRUCT && ends_here(&group) &&
             ends_here(&(struct span){group.end - 1, group.end, group.skip}))
        r = decode_scalar(d, shape, group.end - 1, p); /* given twice: the last counts */
    else
        r = unknown(d, group.at->name);
    d->depth--;
    return r;
}

static size_t count_groups(struct span span)
{
    size_t n = 0;

    for (struct str name; span.at < span.end; n++)
        next_group(&span, &name);
    return n;
}

static int decode_list(struct decoder *d, const struct shape *shape, struct span span, struct any_list *list)
{
    const struct shape *element = &d->service->shapes[shape->element];
    struct str name;

    if (ends_here(&span)) { /* "Names=": an empty list, as the query protocol writes it */
        if (span.end - span.at != 1 || span.at->value.len)
            return unknown(d, span.at->name);
        list->items = arena_alloc(d->arena, 1);
        return 0;
    }
    if (d->service->protocol == PROTOCOL_QUERY && !(shape->flags & SHAPE_FLATTENED)) {
        span = next_group(&(struct span){span.at, span.end, span.skip}, &name);
        if (!str_equal(name, service_name(d->service, shape->item)) || ends_here(&span))
            return unknown(d, span.at->name);
    }
    list->items = arena_alloc_array(d->arena, element->size, count_groups(span));
    while (span.at < span.end) {
        struct span group = next_group(&span, &name);
        int64_t number;
        int r;

        if (!str_to_int(name, &number) || number < 1)
            return unknown(d, group.at->name);
        r = decode_value(d, element, group, (char *)list->items + list->count * element->size);
        if (r < 0)
            return r;
        list->count++;
    }
    return 0;
}

static int decode_struct(struct decoder *d, const struct shape *shape, struct span span, void *p)
{
    while (span.at < span.end) {
        struct str name;
        struct span group = next_group(&span, &name);
        const struct member *member = find_member(d->service, shape, name);
        const struct shape *inner;
        char *at;
        int r;

        if (!member)
            return unknown(d, group.at->name);
        inner = &d->service->shapes[member->shape];
        at = (char *)p + member->offset;
        if (inner->kind == SHAPE_STRUCT)
            at = *(char **)at = arena_alloc(d->arena, inner->size);
        r = decode_value(d, inner, group, at);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What names and signs a request is no parameter of it. */
static bool is_envelope(struct str name)
{
    static const char *const names[] = {"Action",    "Version", "AWSAccessKeyId",   "Signature",    "SignatureMethod",
                                        "Timestamp", "Expires", "SignatureVersion", "SecurityToken"};

    if (str_starts(name, S("X-Amz-")))
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_equal(name, str_of(names[i])))
            return true;
    return false;
}

int query_decode(const struct service *service, const struct operation *operation, struct form *form,
                 struct arena *arena, void *in, struct err *err)
{
    struct decoder d = {service, arena, err, 0};
    size_t kept = 0;

    for (size_t i = 0; i < form->count; i++)
        if (!is_envelope(form->pairs[i].name))
            form->pairs[kept++] = form->pairs[i];
    form->count = kept;
    if (kept == 0)
        return 0;
    if (operation->input == NO_SHAPE)
        return unknown(&d, form->pairs[0].name);
    if (kept > 1)
        qsort(form->pairs, kept, sizeof *form->pairs, compare_pairs);
    return decode_struct(&d, &service->shapes[operation->input], (struct span){form->pairs, form->pairs + kept, 0}, in);
}
