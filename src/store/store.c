/* The store as a whole: opening, closing, worlds. */
#include "store/records.h"

#include "base/mem.h"
#include "store/db.h"
#include "store/journal.h"

#include <assert.h>

enum { FRESH_WORLDS = 256 };

int store_open(const struct store_options *options, struct store **ret, struct err *err)
{
    struct store *store = mem_alloc(sizeof *store);
    int r = 0;

    assert(options->kind_count <= UINT8_MAX); /* world->table_at */
    *store = (struct store){.kinds = options->kinds, .kind_count = options->kind_count, .loop = options->loop};
    store->feed = feed_new(store);
    if (options->folder)
        r = journal_open(store, options->folder, &store->journal, err);
    if (r < 0) {
        store_close(store);
        return r;
    }
    store->durable = store->delivered = store->last;
    *ret = store;
    return 0;
}

int store_make(const char *folder, struct err *err)
{
    return db_make(folder, err);
}

static void list_remove(struct world_list *list, struct world *world)
{
    *(world->previous ? &world->previous->next : &list->first) = world->next;
    *(world->next ? &world->next->previous : &list->last) = world->previous;
}

static void list_add(struct world_list *list, struct world *world)
{
    world->previous = list->last;
    world->next = NULL;
    *(list->last ? &list->last->next : &list->first) = world;
    list->last = world;
}

static void world_free(struct world *world)
{
    for (size_t i = 0; i < world->table_count; i++)
        table_free(world->tables[i]);
    free(world->tables);
    free(world->seeds);
    free((char *)world->key.p);
    free(world);
}

void store_close(struct store *store)
{
    if (store->journal) {
        journal_hand_over(store->journal, store->last);
        journal_close(store->journal);
    }
    feed_close(store);
    for (struct world *world = NULL, *next = store_next_world(store, NULL); (world = next);) {
        next = store_next_world(store, world);
        world_free(world);
    }
    map_free(&store->worlds);
    buf_free(&store->key);
    free(store);
}

uint64_t store_last(const struct store *store)
{
    return store->last;
}

uint64_t store_durable(const struct store *store)
{
    return store->durable;
}

bool store_has_lost(const struct store *store)
{
    return store->lost;
}

bool store_healthy(const struct store *store)
{
    return !store->journal || journal_healthy(store->journal);
}

void store_set_seed(struct store *store, int (*seed)(void *cookie, struct tx *tx, struct err *err), void *cookie)
{
    store->seed = seed;
    store->seed_cookie = cookie;
}

/* Account, NUL, region; good until the next look-up. */
static struct str world_key(struct store *store, struct str account, struct str region)
{
    store->key.len = 0;
    buf_append(&store->key, account);
    buf_byte(&store->key, '\0');
    buf_append(&store->key, region);
    return buf_str(&store->key);
}

struct world *world_new(struct store *store, struct str account, struct str region)
{
    struct world *world = mem_alloc(sizeof *world + store->kind_count);
    struct str key = world_key(store, account, region);

    world->store = store;
    world->key = (struct str){mem_copy(key.p, key.len), key.len};
    world->account = str_first(world->key, account.len);
    world->region = str_skip(world->key, account.len + 1);
    map_put(&store->worlds, world->key, world);
    list_add(&store->fresh, world);
    if (++store->fresh_count > FRESH_WORLDS)
        feed_wake(store); /* to trim them: whoever only reads makes no commit that would */
    return world;
}

struct world *store_world(struct store *store, struct str account, struct str region)
{
    struct world *world = map_get(&store->worlds, world_key(store, account, region));

    if (!world)
        return world_new(store, account, region);
    if (!world->number && world->next) {
        list_remove(&store->fresh, world);
        list_add(&store->fresh, world);
    }
    return world;
}

void world_keep(struct world **place, struct world *world)
{
    if (world)
        world->kept++;
    if (*place)
        (*place)->kept--;
    *place = world;
}

struct str world_account(const struct world *world)
{
    return world->account;
}

struct str world_region(const struct world *world)
{
    return world->region;
}

struct world *store_next_world(struct store *store, struct world *after)
{
    if (!after)
        return store->written.first ? store->written.first : store->fresh.first;
    return !after->next && after->number ? store->fresh.first : after->next;
}

void world_written(struct world *world)
{
    struct store *store = world->store;

    list_remove(&store->fresh, world);
    list_add(&store->written, world);
    store->fresh_count--;
    world->number = ++store->world_number;
}

void world_fresh(struct world *world)
{
    struct store *store = world->store;

    list_remove(world->number ? &store->written : &store->fresh, world);
    list_add(&store->fresh, world);
    store->fresh_count += world->number ? 1 : 0;
    world->number = 0;
    world->seeded = false;
    world->seed_count = 0;
}

void worlds_trim(struct store *store)
{
    struct world *world = store->fresh.first;

    assert(!store->tx);
    while (world && store->fresh_count > FRESH_WORLDS) {
        struct world *next = world->next;
        if (!world->kept && world->last_change <= store->delivered) { /* else the feed still names it */
            list_remove(&store->fresh, world);
            store->fresh_count--;
            map_remove(&store->worlds, world->key);
            world_free(world);
        }
        world = next;
    }
}
