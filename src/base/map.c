#include "base/map.h"

#include "base/mem.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 4 }; /* most maps stay small: an index of a world that has one VPC */

static struct map_slot *find(const struct map *map, struct str key, uint64_t hash)
{
    size_t mask = map->capacity - 1;

    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_slot *slot = &map->slots[i];
        if (!slot->key.p || (slot->hash == hash && str_equal(slot->key, key)))
            return slot;
    }
}

void *map_get(const struct map *map, struct str key)
{
    return map->capacity ? find(map, key, str_hash(key))->value : NULL;
}

static void grow(struct map *map)
{
    struct map old = *map;

    map->capacity = old.capacity ? old.capacity * 2 : FIRST_CAPACITY;
    map->slots = mem_alloc(map->capacity * sizeof *map->slots);
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key.p)
            *find(map, old.slots[i].key, old.slots[i].hash) = old.slots[i];
    free(old.slots);
}

void *map_put(struct map *map, struct str key, void *value)
{
    uint64_t hash = str_hash(key);
    struct map_slot *slot;
    void *old;

    if (map->count * 4 >= map->capacity * 3)
        grow(map);
    slot = find(map, key, hash);
    old = slot->value;
    if (!slot->key.p)
        map->count++;
    *slot = (struct map_slot){key, value, hash};
    return old;
}

void *map_remove(struct map *map, struct str key)
{
    size_t mask = map->capacity - 1, hole;
    struct map_slot *slot;
    void *old;

    if (!map->capacity)
        return NULL;
    slot = find(map, key, str_hash(key));
    if (!slot->key.p)
        return NULL;
    old = slot->value;
    hole = (size_t)(slot - map->slots);
    for (size_t i = (hole + 1) & mask; map->slots[i].key.p; i = (i + 1) & mask) {
        size_t home = map->slots[i].hash & mask;
        /* May the entry at i live in the hole? Yes unless its home lies cyclically in (hole, i]. */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = (struct map_slot){0};
    map->count--;
    return old;
}

void map_free(struct map *map)
{
    free(map->slots);
    *map = (struct map){0};
}

struct map_slot *map_next(const struct map *map, struct map_slot *at)
{
    for (at = at ? at + 1 : map->slots; map->slots && at < map->slots + map->capacity; at++)
        if (at->key.p)
            return at;
    return NULL;
}
