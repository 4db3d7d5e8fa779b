#include "base/map.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

enum { FIRST_CAPACITY = 2 }; /* most maps stay small: an index of a world that has one VPC */

static uint32_t hash_of(struct str key)
{
    return (uint32_t)str_hash(key);
}

static struct map_slot *find(const struct map *map, struct str key, uint32_t hash)
{
    size_t mask = map->capacity - 1;

    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_slot *slot = &map->slots[i];
        if (!slot->key || (slot->hash == hash && str_equal(map_key(slot), key)))
            return slot;
    }
}

void *map_get(const struct map *map, struct str key)
{
    return map->capacity ? find(map, key, hash_of(key))->value : NULL;
}

static void grow(struct map *map)
{
    struct map old = *map;

    map->capacity = old.capacity ? old.capacity * 2 : FIRST_CAPACITY;
    map->slots = mem_alloc(map->capacity * sizeof *map->slots);
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key)
            *find(map, map_key(&old.slots[i]), old.slots[i].hash) = old.slots[i];
    free(old.slots);
}

void *map_put(struct map *map, struct str key, void *value)
{
    uint32_t hash = hash_of(key);
    struct map_slot *slot;
    void *old;

    assert(key.p && key.len <= UINT32_MAX);
    if (map->count * 4 >= map->capacity * 3 || map->count + 1 == map->capacity) /* one place stays free */
        grow(map);
    slot = find(map, key, hash);
    old = slot->value;
    if (!slot->key)
        map->count++;
    *slot = (struct map_slot){key.p, value, hash, (uint32_t)key.len};
    return old;
}

void *map_remove(struct map *map, struct str key)
{
    size_t mask = map->capacity - 1, hole;
    struct map_slot *slot;
    void *old;

    if (!map->capacity)
        return NULL;
    slot = find(map, key, hash_of(key));
    if (!slot->key)
        return NULL;
    old = slot->value;
    hole = (size_t)(slot - map->slots);
    for (size_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
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
        if (at->key)
            return at;
    return NULL;
}
