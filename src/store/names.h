/*
 * The journal's dictionary: names of members and kinds, numbered from 1 in the order of their first use. It
 * is one for all kinds: a name means its text, whoever uses it, and most numbers stay short.
 */
#pragma once

#include "aws/shape.h"
#include "base/map.h"

struct names {
    struct map by_text; /* to its struct name */
    struct name **list; /* [number - 1] */
    size_t count, capacity;
    struct named_model *models;
    size_t model_count, model_capacity;
};

void names_free(struct names *names);
uint32_t names_number(struct names *names, struct str text);       /* of a new one: the next */
struct str names_text(const struct names *names, uint64_t number); /* absent: no such name */

/* The numbers of a model's members, by their index in service->members; 0 where name_members has not been. */
uint32_t *names_model(struct names *names, const struct service *service);
void name_members(struct names *names, uint32_t *numbers, const struct service *service, const struct shape *shape);
