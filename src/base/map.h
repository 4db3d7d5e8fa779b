/*
 * A hash map from bytes to pointers. Keys are views: whoever puts them in keeps them alive while they are
 * in. Owns neither keys nor values. Open addressing; removal shifts back, so there are no tombstones.
 */
#pragma once

#include "base/str.h"

struct map_slot {
    const char *key; /* NULL: free */
    void *value;
    uint32_t hash, len; /* of the key */
};

struct map {
    struct map_slot *slots;
    size_t count, capacity; /* capacity: 0 or a power of two */
};

void *map_get(const struct map *map, struct str key);        /* NULL when it has none */
void *map_put(struct map *map, struct str key, void *value); /* replaces key and value; the old value or NULL */
void *map_remove(struct map *map, struct str key);
void map_free(struct map *map);

/* In no order: for (struct map_slot *at = NULL; (at = map_next(map, at));) */
struct map_slot *map_next(const struct map *map, struct map_slot *at);

static inline struct str map_key(const struct map_slot *at)
{
    return (struct str){at->key, at->len};
}
