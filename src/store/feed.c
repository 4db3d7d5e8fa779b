/*
 * What follows a commit, on the loop: who waited for it is called, its changes are delivered, what it
 * replaced is freed. An idle handle runs while something waits to be delivered, which also keeps the loop
 * from blocking meanwhile; with a journal, the journal's wake-up does (feed_advance).
 */
#include "store/records.h"

#include "base/mem.h"
#include "store/journal.h"

struct store_wait {
    struct store_wait *previous, *next;
    struct store *store;
    uint64_t number;
    void (*done)(void *cookie, bool durable);
    void *cookie;
};

struct feed {
    uv_idle_t idle; /* first: freed by its close callback */
    bool delivering;
    struct feed_batch *first, *last;
    struct version *garbage_first, *garbage_last;
    struct store_wait *wait_first, *wait_last; /* by number */
    struct subscriber *subscribers;
    size_t subscriber_count, subscriber_capacity;
};

static void on_idle(uv_idle_t *idle)
{
    struct store *store = idle->data;

    uv_idle_stop(idle);
    if (store->journal)
        journal_hand_over(store->journal, store->last);
    feed_advance(store, store->journal ? journal_durable(store->journal) : store->last);
}

struct feed *feed_new(struct store *store)
{
    struct feed *feed = mem_alloc(sizeof *feed);

    uv_idle_init(store->loop, &feed->idle);
    feed->idle.data = store;
    return feed;
}

struct feed_batch *feed_batch_new(uint64_t number, size_t room, struct str what)
{
    size_t changes = room * sizeof(struct feed_change);
    struct feed_batch *batch = mem_resize(NULL, sizeof *batch + changes + what.len);
    char *copy = (char *)batch + sizeof *batch + changes;

    if (what.len)
        memcpy(copy, what.p, what.len);
    *batch = (struct feed_batch){.number = number, .what = {copy, what.len}};
    return batch;
}

void feed_batch_add(struct feed_batch *batch, const struct table *table, uint64_t created, struct version *old,
                    struct version *new)
{
    batch->changes[batch->count++] = (struct feed_change){table->world, table->number, created, old, new};
}

void feed_batch_add_world(struct feed_batch *batch, enum world_change change, struct world *world)
{
    batch->changes[batch->count++] = (struct feed_change){world, (uint16_t)change, world->number, NULL, NULL};
}

void feed_push(struct store *store, struct feed_batch *batch)
{
    struct feed *feed = store->feed;

    *(feed->last ? &feed->last->next : &feed->first) = batch;
    feed->last = batch;
    feed_wake(store);
}

void feed_wake(struct store *store)
{
    uv_idle_start(&store->feed->idle, on_idle);
}

void feed_discard(struct store *store, struct version *version, uint64_t replaced)
{
    struct feed *feed = store->feed;

    version->replaced = replaced;
    version->next = NULL;
    *(feed->garbage_last ? &feed->garbage_last->next : &feed->garbage_first) = version;
    feed->garbage_last = version;
}

static void batch_deliver(const struct feed *feed, const struct store *store, const struct feed_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct feed_change *at = &batch->changes[i];
        const void *old = at->old ? at->old->data : NULL, *new = at->new ? at->new->data : NULL;
        struct change change = {
            .number = batch->number,
            .world = at->world,
            .kind = at->kind,
            .old = old,
            .new = new,
            .what = batch->what,
            .last = i + 1 == batch->count,
        };

        if (!old && !new)
            continue; /* a world's */
        change.id = data_id(&store->kinds[at->kind], new ? new : old);
        for (size_t k = 0; k < feed->subscriber_count; k++)
            feed->subscribers[k].each(feed->subscribers[k].cookie, &change);
    }
}

static void deliver(struct store *store)
{
    struct feed *feed = store->feed;
    uint64_t until = store->durable; /* what subscribers commit meanwhile waits for the next turn of the loop */

    while (feed->first && feed->first->number <= until) {
        struct feed_batch *batch = feed->first;

        batch_deliver(feed, store, batch);
        store->delivered = batch->number;
        feed->first = batch->next;
        if (!feed->first)
            feed->last = NULL;
        free(batch);
    }
}

static void wait_unlink(struct store_wait *wait)
{
    struct feed *feed = wait->store->feed;

    *(wait->previous ? &wait->previous->next : &feed->wait_first) = wait->next;
    *(wait->next ? &wait->next->previous : &feed->wait_last) = wait->previous;
    free(wait);
}

static void call_first(struct feed *feed, bool durable)
{
    void (*done)(void *cookie, bool durable) = feed->wait_first->done;
    void *cookie = feed->wait_first->cookie;

    wait_unlink(feed->wait_first);
    done(cookie, durable);
}

static void call_waiting(struct store *store)
{
    struct feed *feed = store->feed;

    while (feed->wait_first && feed->wait_first->number <= store->durable)
        call_first(feed, true);
}

/* Nobody waits for less than what is taken back, nor, since commits are refused meanwhile, for more. */
void feed_refuse(struct store *store)
{
    while (store->feed->wait_first)
        call_first(store->feed, false);
}

void feed_advance(struct store *store, uint64_t durable)
{
    struct feed *feed = store->feed;

    store->durable = durable;
    if (feed->delivering)
        return;
    feed->delivering = true;
    call_waiting(store);
    deliver(store);
    feed->delivering = false;
    store_collect(store);
}

/* The garbage without what has been marked as replaced by nothing. */
static void garbage_spare(struct feed *feed)
{
    struct version **at = &feed->garbage_first;

    feed->garbage_last = NULL;
    while (*at) {
        if ((*at)->replaced == 0) {
            *at = (*at)->next;
            continue;
        }
        feed->garbage_last = *at;
        at = &(*at)->next;
    }
}

struct feed_batch *feed_cut(struct store *store)
{
    struct feed *feed = store->feed;
    struct feed_batch **at = &feed->first, *rest, *newest = NULL;

    feed->last = NULL;
    for (; *at && (*at)->number <= store->durable; at = &(*at)->next)
        feed->last = *at;
    rest = *at;
    *at = NULL;
    while (rest) {
        struct feed_batch *batch = rest;

        rest = batch->next;
        batch->next = newest;
        newest = batch;
        for (size_t i = 0; i < batch->count; i++)
            if (batch->changes[i].old)
                batch->changes[i].old->replaced = 0;
    }
    garbage_spare(feed);
    return newest;
}

void store_collect(struct store *store)
{
    struct feed *feed = store->feed;

    while (feed->garbage_first && feed->garbage_first->replaced <= store->delivered) {
        struct version *version = feed->garbage_first;

        feed->garbage_first = version->next;
        free(version);
    }
    if (!feed->garbage_first)
        feed->garbage_last = NULL;
    worlds_trim(store);
}

void store_subscribe(struct store *store, void (*each)(void *cookie, const struct change *change), void *cookie)
{
    struct feed *feed = store->feed;

    mem_grow(feed->subscribers, feed->subscriber_count, &feed->subscriber_capacity);
    feed->subscribers[feed->subscriber_count++] = (struct subscriber){each, cookie};
}

struct store_wait *store_when_durable(struct store *store, uint64_t number, void (*done)(void *cookie, bool durable),
                                      void *cookie)
{
    struct feed *feed = store->feed;
    struct store_wait *wait, *after = feed->wait_last;

    if (number <= store->durable) {
        done(cookie, true);
        return NULL;
    }
    wait = mem_alloc(sizeof *wait);
    while (after && after->number > number)
        after = after->previous;
    *wait = (struct store_wait){
        .previous = after,
        .next = after ? after->next : feed->wait_first,
        .store = store,
        .number = number,
        .done = done,
        .cookie = cookie,
    };
    *(wait->next ? &wait->next->previous : &feed->wait_last) = wait;
    *(after ? &after->next : &feed->wait_first) = wait;
    return wait;
}

void store_wait_cancel(struct store_wait *wait)
{
    wait_unlink(wait);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

void feed_close(struct store *store)
{
    struct feed *feed = store->feed;

    while (feed->wait_first)
        wait_unlink(feed->wait_first);
    while (feed->first) {
        struct feed_batch *next = feed->first->next;
        free(feed->first);
        feed->first = next;
    }
    store->delivered = UINT64_MAX;
    store_collect(store);
    free(feed->subscribers);
    uv_close((uv_handle_t *)&feed->idle, on_closed);
}
