#include "store/test_model.h"

#include <stddef.h>

enum { SHAPES = 16, MEMBERS = 64 };

struct model {
    char pool[1024];
    size_t pool_used;
    struct shape shapes[SHAPES];
    struct member members[MEMBERS];
    uint16_t shape_count, member_count;
    struct service service;
    path_step paths[8][4];
    size_t path_count;
    struct store_kind kinds[KIND_COUNT];
};

static name_ref add_name(struct model *model, const char *name)
{
    size_t at = model->pool_used, len = strlen(name);

    model->pool[at] = (char)len;
    memcpy(model->pool + at + 1, name, len + 1);
    model->pool_used = at + len + 2;
    return (name_ref)at;
}

static uint16_t add_shape(struct model *model, enum shape_kind kind, size_t size)
{
    model->shapes[model->shape_count] = (struct shape){.kind = (uint8_t)kind, .size = (uint16_t)size};
    return model->shape_count++;
}

static uint16_t add_list(struct model *model, uint16_t element)
{
    uint16_t list = add_shape(model, SHAPE_LIST, sizeof(struct any_list));

    model->shapes[list].element = element;
    return list;
}

/* Members of the struct that was added last. */
static uint16_t add_struct(struct model *model, size_t size)
{
    uint16_t shape = add_shape(model, SHAPE_STRUCT, size);

    model->shapes[shape].first = model->member_count;
    return shape;
}

static uint16_t add_member(struct model *model, uint16_t of, const char *name, uint16_t shape, size_t offset)
{
    model->members[model->member_count] = (struct member){
        .name = add_name(model, name), .shape = shape, .offset = (uint16_t)offset};
    model->shapes[of].count++;
    return model->member_count++;
}

static const path_step *add_path(struct model *model, uint16_t first, uint16_t second)
{
    path_step *path = model->paths[model->path_count++];

    path[0] = first;
    path[1] = second;
    path[2] = NO_MEMBER;
    return path;
}

static uint16_t add_box(struct model *model, uint16_t text)
{
    uint16_t box = add_struct(model, sizeof(struct box));

    add_member(model, box, "BoxId", text, offsetof(struct box, id));
    add_member(model, box, "Label", text, offsetof(struct box, label));
    return box;
}

static void finish(struct model *model, uint16_t box)
{
    model->service = (struct service){
        .id = "test",
        .pool = model->pool,
        .shapes = model->shapes,
        .members = model->members,
        .shape_count = model->shape_count,
        .member_count = model->member_count,
    };
    model->kinds[BOX] = (struct store_kind){"box", &model->service, box, offsetof(struct box, id), 0, {0}};
}

const struct store_kind *model_kinds(void)
{
    static struct model model;
    struct model *m = &model;
    uint16_t text, integer, tag, place, thing, groups, group, key, zone, owner, box;

    if (m->shape_count)
        return m->kinds;
    text = add_shape(m, SHAPE_STRING, sizeof(struct str));
    integer = add_shape(m, SHAPE_INT, sizeof(struct opt_int));
    tag = add_struct(m, sizeof(struct tag));
    key = add_member(m, tag, "Key", text, offsetof(struct tag, key));
    add_member(m, tag, "Value", text, offsetof(struct tag, value));
    place = add_struct(m, sizeof(struct place));
    zone = add_member(m, place, "Zone", text, offsetof(struct place, zone));
    add_member(m, place, "Rack", integer, offsetof(struct place, rack));
    box = add_box(m, text);
    groups = add_list(m, text);
    thing = add_struct(m, sizeof(struct thing));
    add_member(m, thing, "ThingId", text, offsetof(struct thing, id));
    add_member(m, thing, "Name", text, offsetof(struct thing, name));
    owner = add_member(m, thing, "Owner", text, offsetof(struct thing, owner));
    add_member(m, thing, "Size", integer, offsetof(struct thing, size));
    add_member(m, thing, "Ratio", add_shape(m, SHAPE_DOUBLE, sizeof(struct opt_double)), offsetof(struct thing, ratio));
    add_member(m, thing, "On", add_shape(m, SHAPE_BOOL, sizeof(struct opt_bool)), offsetof(struct thing, on));
    add_member(m, thing, "Made", add_shape(m, SHAPE_TIME, sizeof(struct opt_time)), offsetof(struct thing, made));
    uint16_t tags = add_member(m, thing, "Tags", add_list(m, tag), offsetof(struct thing, tags));
    group = add_member(m, thing, "Groups", groups, offsetof(struct thing, groups));
    uint16_t in_place = add_member(m, thing, "Place", place, offsetof(struct thing, place));
    add_member(m, thing, "Bytes", add_shape(m, SHAPE_BLOB, sizeof(struct str)), offsetof(struct thing, bytes));
    finish(m, box);
    m->kinds[THING] = (struct store_kind){
        .name = "thing",
        .service = &m->service,
        .shape = thing,
        .id_offset = offsetof(struct thing, id),
        .index_count = 4,
        .indexes = {add_path(m, owner, NO_MEMBER), add_path(m, tags, key), add_path(m, group, NO_MEMBER),
                    add_path(m, in_place, zone)},
    };
    return m->kinds;
}

const struct store_kind *model_later_kinds(void)
{
    static struct model model;
    struct model *m = &model;
    uint16_t text, tag, thing, box, owner;

    if (m->shape_count)
        return m->kinds;
    box = add_box(m, add_shape(m, SHAPE_STRING, sizeof(struct str)));
    text = add_shape(m, SHAPE_STRING, sizeof(struct str));
    tag = add_struct(m, sizeof(struct later_tag));
    add_member(m, tag, "Colour", text, offsetof(struct later_tag, colour));
    add_member(m, tag, "Key", text, offsetof(struct later_tag, key));
    thing = add_struct(m, sizeof(struct later_thing));
    add_member(m, thing, "Weight", add_shape(m, SHAPE_LONG, sizeof(struct opt_int)),
               offsetof(struct later_thing, weight));
    add_member(m, thing, "Groups", add_list(m, text), offsetof(struct later_thing, groups));
    add_member(m, thing, "Tags", add_list(m, tag), offsetof(struct later_thing, tags));
    add_member(m, thing, "Made", add_shape(m, SHAPE_TIME, sizeof(struct opt_time)), offsetof(struct later_thing, made));
    add_member(m, thing, "Size", text, offsetof(struct later_thing, size));
    owner = add_member(m, thing, "Owner", text, offsetof(struct later_thing, owner));
    add_member(m, thing, "Name", text, offsetof(struct later_thing, name));
    add_member(m, thing, "Colour", text, offsetof(struct later_thing, colour));
    add_member(m, thing, "On", add_shape(m, SHAPE_BOOL, sizeof(struct opt_bool)), offsetof(struct later_thing, on));
    add_member(m, thing, "ThingId", text, offsetof(struct later_thing, id));
    finish(m, box);
    m->kinds[THING] = (struct store_kind){
        .name = "thing",
        .service = &m->service,
        .shape = thing,
        .id_offset = offsetof(struct later_thing, id),
        .index_count = 1,
        .indexes = {add_path(m, owner, NO_MEMBER)},
    };
    return m->kinds;
}
