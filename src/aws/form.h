/*
 * application/x-www-form-urlencoded: the wire form of the ec2 and query protocols, in a body or a query
 * string. Names and values are decoded views into the arena.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

enum { FORM_MAX_PAIRS = 32768 };

struct form_pair {
    struct str name, value;
};

struct form {
    struct form_pair *pairs;
    size_t count, capacity;
};

/* Adds the pairs of `text`. Raises MalformedQueryString: a bad escape, invalid UTF-8, too many pairs. */
int form_parse(struct arena *arena, struct str text, struct form *form, struct err *err);
struct str form_get(const struct form *form, struct str name); /* the first; absent if none */
