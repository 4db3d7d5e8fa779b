#include "store/doc.h"

#include "store/wire.h"

enum doc_wire { WIRE_INT, WIRE_DOUBLE, WIRE_BOOL, WIRE_BYTES, WIRE_STRUCT, WIRE_LIST };

struct doc {
    struct names *names;
    const struct service *service;
    uint32_t *numbers;
    bool foreign;
    struct buf *out; /* encoding */
    char *at;        /* decoding: where the next piece goes; NULL while measuring */
    size_t size;     /* measuring */
};

static enum doc_wire wire_of(const struct shape *shape)
{
    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRUCT:
        return WIRE_STRUCT;
    case SHAPE_LIST:
        return WIRE_LIST;
    case SHAPE_STRING:
    case SHAPE_BLOB:
        return WIRE_BYTES;
    case SHAPE_INT:
    case SHAPE_LONG:
    case SHAPE_TIME:
        return WIRE_INT;
    case SHAPE_DOUBLE:
        return WIRE_DOUBLE;
    case SHAPE_BOOL:
        return WIRE_BOOL;
    }
    abort();
}

static bool skip_value(struct str *at, uint64_t wire, unsigned depth);

/* One member from the front of a struct: 1, its key in *ret_key and its value in front of *at; 0: the end; -1: damaged.
 */
static int take_key(struct str *at, uint64_t *ret_key)
{
    if (!take_number(at, ret_key))
        return -1;
    return *ret_key != 0;
}

static bool skip_struct(struct str *at, unsigned depth)
{
    uint64_t key;
    int r;

    while ((r = take_key(at, &key)) > 0)
        if (!skip_value(at, key & 7, depth))
            return false;
    return r == 0;
}

static bool skip_list(struct str *at, unsigned depth)
{
    uint64_t count, wire;

    if (!take_number(at, &count) || count > at->len)
        return false;
    if (count == 0)
        return true;
    if (!take_number(at, &wire))
        return false;
    while (count-- > 0)
        if (!skip_value(at, wire, depth))
            return false;
    return true;
}

static bool skip_fixed(struct str *at, size_t size)
{
    if (at->len < size)
        return false;
    *at = str_skip(*at, size);
    return true;
}

static bool skip_value(struct str *at, uint64_t wire, unsigned depth)
{
    struct str bytes;
    uint64_t n;

    if (depth > DOC_MAX_DEPTH)
        return false;
    switch (wire) {
    case WIRE_INT:
        return take_number(at, &n);
    case WIRE_DOUBLE:
        return skip_fixed(at, 8);
    case WIRE_BOOL:
        return skip_fixed(at, 1);
    case WIRE_BYTES:
        return take_bytes(at, &bytes);
    case WIRE_STRUCT:
        return skip_struct(at, depth + 1);
    case WIRE_LIST:
        return skip_list(at, depth + 1);
    }
    return false;
}

/* The value of the member with that key in a struct's bytes, cut to its end; absent when it has none. */
static struct str find_member(struct str members, uint64_t wanted)
{
    uint64_t key;

    while (members.p && take_key(&members, &key) > 0) {
        struct str value = members;
        if (!skip_value(&members, key & 7, 0))
            break;
        if (key == wanted)
            return str_first(value, (size_t)(members.p - value.p));
    }
    return (struct str){0};
}

static void put_struct(struct doc *doc, const struct shape *shape, const void *data, struct str old);

/* Of an item: its first text, by which an item of an old list is known to be the same one. */
static bool same_item(const struct doc *doc, const struct shape *shape, const char *item, struct str old)
{
    const struct member *members = doc->service->members + shape->first;

    for (size_t i = 0; i < shape->count; i++) {
        const struct shape *inner = &doc->service->shapes[members[i].shape];
        struct str value, text;

        if (wire_of(inner) != WIRE_BYTES || !shape_present(inner, item + members[i].offset))
            continue;
        value = find_member(old, (uint64_t)doc->numbers[shape->first + i] << 3 | WIRE_BYTES);
        return value.p && take_bytes(&value, &text) && str_equal(text, *(const struct str *)(item + members[i].offset));
    }
    return false;
}

/* The old list's items behind *old that are left; takes up to and including the one that is `item`. */
static struct str take_old_item(const struct doc *doc, const struct shape *shape, const char *item, struct str *old)
{
    struct str at = *old;

    if (shape->kind != SHAPE_STRUCT)
        return (struct str){0};
    name_members(doc->names, doc->numbers, doc->service, shape);
    while (at.len) {
        struct str one = at;
        if (!skip_value(&at, WIRE_STRUCT, 0))
            break;
        one = str_first(one, (size_t)(at.p - one.p));
        if (!same_item(doc, shape, item, one))
            continue;
        *old = at;
        return one;
    }
    return (struct str){0};
}

static void put_value(struct doc *doc, const struct shape *shape, const void *p, struct str old);

static void put_list(struct doc *doc, const struct shape *shape, const struct any_list *list, struct str old)
{
    const struct shape *element = &doc->service->shapes[shape->element];
    enum doc_wire wire = wire_of(element);
    uint64_t old_count, old_wire = WIRE_LIST;

    put_number(doc->out, list->count);
    if (list->count == 0)
        return;
    put_number(doc->out, wire);
    if (!old.p || !take_number(&old, &old_count) || !old_count || !take_number(&old, &old_wire) || old_wire != wire)
        old = (struct str){0};
    for (size_t i = 0; i < list->count; i++) {
        const char *item = (const char *)list->items + i * element->size;
        put_value(doc, element, item, old.p ? take_old_item(doc, element, item, &old) : old);
    }
}

/* A structure: `p` is the struct itself. */
static void put_value(struct doc *doc, const struct shape *shape, const void *p, struct str old)
{
    int64_t n;

    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRUCT:
        put_struct(doc, shape, p, old);
        break;
    case SHAPE_LIST:
        put_list(doc, shape, p, old);
        break;
    case SHAPE_STRING:
    case SHAPE_BLOB:
        put_bytes(doc->out, *(const struct str *)p);
        break;
    case SHAPE_INT:
    case SHAPE_LONG:
    case SHAPE_TIME: /* struct opt_int and struct opt_time begin alike */
        n = *(const int64_t *)p;
        put_number(doc->out, ((uint64_t)n << 1) ^ (uint64_t)(n >> 63));
        break;
    case SHAPE_DOUBLE:
        buf_append(doc->out, (struct str){p, 8});
        break;
    case SHAPE_BOOL:
        buf_byte(doc->out, ((const struct opt_bool *)p)->value);
        break;
    }
}

/* Does the model's own member stand for what the old document has under this key? */
static bool member_covers(const struct doc *doc, const struct shape *shape, const char *data, uint64_t key)
{
    const struct member *members = doc->service->members + shape->first;

    for (size_t i = 0; i < shape->count; i++) {
        const struct shape *inner = &doc->service->shapes[members[i].shape];
        if (doc->numbers[shape->first + i] == key >> 3)
            return wire_of(inner) == (key & 7) || shape_present(inner, data + members[i].offset);
    }
    return false;
}

static void put_foreign(struct doc *doc, const struct shape *shape, const char *data, struct str old)
{
    uint64_t key;

    for (struct str start = old; take_key(&old, &key) > 0; start = old) {
        if (!skip_value(&old, key & 7, 0))
            return;
        if (member_covers(doc, shape, data, key))
            continue;
        buf_append(doc->out, str_first(start, (size_t)(old.p - start.p)));
        doc->foreign = true;
    }
}

static void put_struct(struct doc *doc, const struct shape *shape, const void *data, struct str old)
{
    const struct member *members = doc->service->members + shape->first;

    name_members(doc->names, doc->numbers, doc->service, shape);
    for (size_t i = 0; i < shape->count; i++) {
        const struct shape *inner = &doc->service->shapes[members[i].shape];
        const char *p = (const char *)data + members[i].offset;
        uint64_t key = (uint64_t)doc->numbers[shape->first + i] << 3 | wire_of(inner);

        if (!shape_present(inner, p))
            continue;
        put_number(doc->out, key);
        if (inner->kind == SHAPE_STRUCT)
            p = *(const char *const *)p;
        put_value(doc, inner, p, old.p ? find_member(old, key) : old);
    }
    if (old.p)
        put_foreign(doc, shape, data, old);
    buf_byte(doc->out, 0);
}

bool doc_encode(struct names *names, const struct service *service, const struct shape *shape, const void *data,
                struct str foreign, struct buf *out)
{
    struct doc doc = {.names = names, .service = service, .numbers = names_model(names, service), .out = out};

    put_struct(&doc, shape, data, foreign);
    return doc.foreign;
}

/* Room for a piece: NULL while measuring. */
static void *room(struct doc *doc, size_t size)
{
    void *p = doc->at;

    size = (size + 7) & ~(size_t)7;
    doc->size += size;
    if (doc->at)
        doc->at += size;
    return p;
}

static bool read_struct(struct doc *doc, const struct shape *shape, struct str *at, char *to, unsigned depth);
static bool read_value(struct doc *doc, const struct shape *shape, struct str *at, char *to, unsigned depth);

static bool read_list(struct doc *doc, const struct shape *shape, struct str *at, struct any_list *to, unsigned depth)
{
    const struct shape *element = &doc->service->shapes[shape->element];
    uint64_t count, wire;
    char *items;

    if (!take_number(at, &count) || count > at->len) /* an item takes a byte at least */
        return false;
    items = room(doc, element->size * (count ? count : 1));
    if (to)
        *to = (struct any_list){items, count};
    if (count == 0)
        return true;
    if (!take_number(at, &wire) || doc->size > DOC_MAX_SIZE)
        return false;
    if (wire != wire_of(element)) { /* the model's items are of another kind now: to it the list is empty */
        doc->foreign = true;
        if (to)
            to->count = 0;
        while (count-- > 0)
            if (!skip_value(at, wire, depth))
                return false;
        return true;
    }
    for (uint64_t i = 0; i < count; i++)
        if (!read_value(doc, element, at, items ? items + i * element->size : NULL, depth))
            return false;
    return true;
}

static bool read_text(struct doc *doc, struct str *at, struct str *to)
{
    struct str bytes;
    char *copy;

    if (!take_bytes(at, &bytes))
        return false;
    copy = room(doc, bytes.len + 1);
    if (!to)
        return true;
    if (bytes.len)
        memcpy(copy, bytes.p, bytes.len);
    copy[bytes.len] = '\0';
    *to = (struct str){copy, bytes.len};
    return true;
}

static bool read_int(struct str *at, void *to)
{
    uint64_t n;

    if (!take_number(at, &n))
        return false;
    if (to) /* struct opt_time looks the same */
        *(struct opt_int *)to = INT((int64_t)(n >> 1) ^ -(int64_t)(n & 1));
    return true;
}

static bool read_double(struct str *at, struct opt_double *to)
{
    if (at->len < 8)
        return false;
    if (to) {
        memcpy(&to->value, at->p, 8);
        to->set = true;
    }
    *at = str_skip(*at, 8);
    return true;
}

static bool read_bool(struct str *at, struct opt_bool *to)
{
    if (at->len < 1)
        return false;
    if (to)
        *to = BOOL(*at->p != 0);
    *at = str_skip(*at, 1);
    return true;
}

/* A structure: `to` is the struct itself. */
static bool read_value(struct doc *doc, const struct shape *shape, struct str *at, char *to, unsigned depth)
{
    if (depth > DOC_MAX_DEPTH)
        return false;
    switch (wire_of(shape)) {
    case WIRE_INT:
        return read_int(at, to);
    case WIRE_DOUBLE:
        return read_double(at, (struct opt_double *)to);
    case WIRE_BOOL:
        return read_bool(at, (struct opt_bool *)to);
    case WIRE_BYTES:
        return read_text(doc, at, (struct str *)to);
    case WIRE_STRUCT:
        return read_struct(doc, shape, at, to, depth + 1);
    case WIRE_LIST:
        return read_list(doc, shape, at, (struct any_list *)to, depth + 1);
    }
    return false;
}

static bool read_member(struct doc *doc, const struct shape *shape, struct str *at, char *to, unsigned depth)
{
    char *inner;

    if (shape->kind != SHAPE_STRUCT)
        return read_value(doc, shape, at, to, depth);
    inner = room(doc, shape->size);
    if (to)
        *(char **)to = inner;
    return read_value(doc, shape, at, inner, depth);
}

/* Members come in the order of the model that wrote them, mostly this one: the search goes on from the last one found.
 */
static const struct member *find_by_number(const struct doc *doc, const struct shape *shape, uint64_t number,
                                           size_t *next)
{
    for (size_t tried = 0; tried < shape->count; tried++) {
        size_t i = *next;
        *next = i + 1 < shape->count ? i + 1 : 0;
        if (doc->numbers[shape->first + i] == number)
            return &doc->service->members[shape->first + i];
    }
    return NULL;
}

static bool read_struct(struct doc *doc, const struct shape *shape, struct str *at, char *to, unsigned depth)
{
    size_t next = 0;
    uint64_t key;
    int r;

    name_members(doc->names, doc->numbers, doc->service, shape);
    while ((r = take_key(at, &key)) > 0) {
        const struct member *member = find_by_number(doc, shape, key >> 3, &next);
        const struct shape *inner = member ? &doc->service->shapes[member->shape] : NULL;
        bool known = inner && wire_of(inner) == (key & 7);

        doc->foreign |= !known;
        if (known ? !read_member(doc, inner, at, to ? to + member->offset : NULL, depth)
                  : !skip_value(at, key & 7, depth))
            return false;
    }
    return r == 0;
}

bool doc_measure(struct names *names, const struct service *service, const struct shape *shape, struct str doc,
                 size_t *ret_size, bool *ret_foreign)
{
    struct doc measure = {.names = names, .service = service, .numbers = names_model(names, service)};

    room(&measure, shape->size);
    if (!read_struct(&measure, shape, &doc, NULL, 0) || doc.len || measure.size > DOC_MAX_SIZE)
        return false;
    *ret_size = measure.size;
    *ret_foreign = measure.foreign;
    return true;
}

void doc_decode(struct names *names, const struct service *service, const struct shape *shape, struct str doc, void *to)
{
    struct doc decode = {.names = names, .service = service, .numbers = names_model(names, service), .at = to};

    room(&decode, shape->size);
    read_struct(&decode, shape, &doc, to, 0);
}
