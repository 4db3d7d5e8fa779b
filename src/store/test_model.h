/*
 * A small model for the store's tests: things with everything that a shape can be, and boxes. Its tables
 * are made at run time from a few lines, in two editions, as if AWS had refreshed the model in between.
 */
#pragma once

#include "aws/shape.h"
#include "store/store.h"

struct tag {
    struct str key, value;
};

struct place {
    struct str zone;
    struct opt_int rack;
};

struct tag_list {
    struct tag *items;
    size_t count;
};
struct str_list {
    struct str *items;
    size_t count;
};

struct thing {
    struct str id, name, owner;
    struct opt_int size;
    struct opt_double ratio;
    struct opt_bool on;
    struct opt_time made;
    struct tag_list tags;
    struct str_list groups;
    struct place *place;
    struct str bytes;
};

struct box {
    struct str id, label;
};

/* The later edition: members moved; ratio, place, bytes and a tag's value are gone; colour and weight are new; size
 * became a text. */
struct later_tag {
    struct str colour, key;
};
struct later_tag_list {
    struct later_tag *items;
    size_t count;
};
struct later_thing {
    struct opt_int weight;
    struct str_list groups;
    struct later_tag_list tags;
    struct opt_time made;
    struct str size, owner, name, colour;
    struct opt_bool on;
    struct str id;
};

enum { THING, BOX, KIND_COUNT };
enum { THING_BY_OWNER, THING_BY_TAG_KEY, THING_BY_GROUP, THING_BY_ZONE };

const struct store_kind *model_kinds(void);       /* KIND_COUNT of them */
const struct store_kind *model_later_kinds(void); /* the same */
