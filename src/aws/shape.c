#include "aws/shape.h"

#include "base/time.h"

#include <stdio.h>
#include <string.h>

const struct operation *service_operation(const struct service *service, struct str name)
{
    size_t low = 0, high = service->operation_count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = str_compare(name, service_name(service, service->operations[mid].name));
        if (order == 0)
            return &service->operations[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const struct member *shape_member(const struct service *service, const struct shape *shape, struct str name)
{
    const struct member *members = service->members + shape->first;

    for (size_t i = 0; i < shape->count; i++)
        if (str_equal(service_name(service, members[i].name), name))
            return &members[i];
    return NULL;
}

bool shape_has_value(const struct service *service, const struct shape *shape, struct str value)
{
    size_t low = 0, high = shape->count;

    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = str_compare(value, service_name(service, service->enums[shape->first + mid]));
        if (order == 0)
            return true;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return false;
}

bool shape_present(const struct shape *shape, const void *p)
{
    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRUCT:
        return *(void *const *)p != NULL;
    case SHAPE_LIST:
        return ((const struct any_list *)p)->items != NULL;
    case SHAPE_STRING:
    case SHAPE_BLOB:
        return ((const struct str *)p)->p != NULL;
    case SHAPE_INT:
    case SHAPE_LONG:
        return ((const struct opt_int *)p)->set;
    case SHAPE_DOUBLE:
        return ((const struct opt_double *)p)->set;
    case SHAPE_BOOL:
        return ((const struct opt_bool *)p)->set;
    case SHAPE_TIME:
        return ((const struct opt_time *)p)->set;
    }
    return false;
}

static size_t aligned(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

/* Bytes that hang on the value at p. A structure as a member is a pointer, as an item it lies inline: `p` is the struct
 * itself. */
static size_t value_size(const struct service *service, const struct shape *shape, const void *p)
{
    const struct any_list *list = p;
    const struct shape *element;
    size_t size;

    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRUCT:
        return shape_copy_size(service, shape, p);
    case SHAPE_LIST:
        if (!list->items)
            return 0;
        element = &service->shapes[shape->element];
        size = aligned(element->size * (list->count ? list->count : 1));
        for (size_t i = 0; i < list->count; i++)
            size += value_size(service, element, (const char *)list->items + i * element->size);
        return size;
    case SHAPE_STRING:
    case SHAPE_BLOB:
        return ((const struct str *)p)->p ? aligned(((const struct str *)p)->len + 1) : 0;
    case SHAPE_INT:
    case SHAPE_LONG:
    case SHAPE_DOUBLE:
    case SHAPE_BOOL:
    case SHAPE_TIME:
        return 0;
    }
    return 0;
}

size_t shape_copy_size(const struct service *service, const struct shape *shape, const void *from)
{
    const struct member *members = service->members + shape->first;
    size_t size = 0;

    for (size_t i = 0; i < shape->count; i++) {
        const struct shape *inner = &service->shapes[members[i].shape];
        const char *p = (const char *)from + members[i].offset;

        if (!shape_present(inner, p))
            continue;
        if (inner->kind == SHAPE_STRUCT) {
            p = *(const char *const *)p;
            size += aligned(inner->size);
        }
        size += value_size(service, inner, p);
    }
    return size;
}

static void *take(char **at, size_t size)
{
    void *p = *at;

    *at += aligned(size);
    return p;
}

/* `to` already holds the bytes of `from`: moves what hangs on it. */
static void value_move(const struct service *service, const struct shape *shape, void *to, char **at)
{
    struct any_list *list = to;
    struct str *text = to;
    const struct shape *element;
    char *copy;

    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRUCT:
        shape_copy(service, shape, to, to, at);
        break;
    case SHAPE_LIST:
        if (!list->items)
            break;
        element = &service->shapes[shape->element];
        copy = take(at, element->size * (list->count ? list->count : 1));
        memcpy(copy, list->items, element->size * list->count);
        list->items = copy;
        for (size_t i = 0; i < list->count; i++)
            value_move(service, element, copy + i * element->size, at);
        break;
    case SHAPE_STRING:
    case SHAPE_BLOB:
        if (!text->p)
            break;
        copy = take(at, text->len + 1);
        memcpy(copy, text->p, text->len);
        copy[text->len] = '\0';
        text->p = copy;
        break;
    case SHAPE_INT:
    case SHAPE_LONG:
    case SHAPE_DOUBLE:
    case SHAPE_BOOL:
    case SHAPE_TIME:
        break;
    }
}

void shape_copy(const struct service *service, const struct shape *shape, const void *from, void *to, char **at)
{
    const struct member *members = service->members + shape->first;

    if (to != from)
        memcpy(to, from, shape->size);
    for (size_t i = 0; i < shape->count; i++) {
        const struct shape *inner = &service->shapes[members[i].shape];
        char *p = (char *)to + members[i].offset;

        if (inner->kind == SHAPE_STRUCT && shape_present(inner, p)) {
            const void *original = *(void **)p;
            void *copy = take(at, inner->size);
            *(void **)p = copy;
            shape_copy(service, inner, original, copy, at);
        } else if (inner->kind != SHAPE_STRUCT) {
            value_move(service, inner, p, at);
        }
    }
}

void *shape_copy_to_arena(const struct service *service, const struct shape *shape, const void *from,
                          struct arena *arena)
{
    char *block = arena_alloc(arena, aligned(shape->size) + shape_copy_size(service, shape, from));
    char *at = block + aligned(shape->size);

    shape_copy(service, shape, from, block, &at);
    return block;
}

struct str shape_text(const struct shape *shape, const void *p, char out[SHAPE_TEXT_SIZE])
{
    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRING:
    case SHAPE_BLOB:
        return *(const struct str *)p;
    case SHAPE_INT:
    case SHAPE_LONG:
        return (struct str){
            out, (size_t)snprintf(out, SHAPE_TEXT_SIZE, "%lld", (long long)((const struct opt_int *)p)->value)};
    case SHAPE_DOUBLE:
        return (struct str){out,
                            (size_t)snprintf(out, SHAPE_TEXT_SIZE, "%.17g", ((const struct opt_double *)p)->value)};
    case SHAPE_BOOL:
        return ((const struct opt_bool *)p)->value ? S("true") : S("false");
    case SHAPE_TIME:
        return time_iso(((const struct opt_time *)p)->ms, out);
    case SHAPE_STRUCT:
    case SHAPE_LIST:
        break;
    }
    return (struct str){0};
}

struct walk {
    const struct service *service;
    bool (*each)(void *cookie, const struct shape *shape, const void *value);
    void *cookie;
};

static bool walk_value(const struct walk *walk, const struct shape *shape, const void *p, const path_step *path)
{
    const struct any_list *list = p;
    const struct shape *element;

    if (shape->kind == SHAPE_LIST) {
        element = &walk->service->shapes[shape->element];
        for (size_t i = 0; i < list->count; i++)
            if (walk_value(walk, element, (const char *)list->items + i * element->size, path))
                return true;
        return false;
    }
    if (shape->kind == SHAPE_STRUCT && *path != NO_MEMBER)
        return shape_walk(walk->service, p, path, walk->each, walk->cookie);
    return walk->each(walk->cookie, shape, p);
}

bool shape_walk(const struct service *service, const void *structure, const path_step *path,
                bool (*each)(void *cookie, const struct shape *shape, const void *value), void *cookie)
{
    struct walk walk = {service, each, cookie};
    const struct member *member = &service->members[*path];
    const struct shape *shape = &service->shapes[member->shape];
    const char *p = (const char *)structure + member->offset;

    if (!shape_present(shape, p))
        return false;
    if (shape->kind == SHAPE_STRUCT)
        p = *(const char *const *)p;
    return walk_value(&walk, shape, p, path + 1);
}
