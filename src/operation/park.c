#include "operation/park.h"

#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

/* One record that a parked answer waits for. */
struct watch {
    struct watch *next; /* of the same record */
    struct parked *parked;
    uint16_t kind;
    struct str id;
    bool (*settled)(const void *record);
};

struct parking {
    struct engine *engine;
    struct map watches; /* id → first watch */
    bool (*behind)(void *cookie, uint64_t number);
    void *behind_cookie;
    struct parked *following; /* those that ask it */
};

struct parked {
    struct parking *parking;
    uint64_t number; /* the commit that must be durable: the newest that the call could have seen */
    struct watch *watches;
    size_t watch_count, left;
    struct parked *previous, *next; /* in parking.following */
    bool follows, delivered, timed, settled;
    uv_timer_t timer;
    struct store_wait *durable; /* NULL: it is */
    struct parked **at;         /* where its caller knows it by */
    void (*ready)(void *cookie, bool durable);
    void *cookie;
};

static void on_timer_closed(uv_handle_t *handle)
{
    struct parked *parked = handle->data;

    free(parked->watches);
    free(parked);
}

static void unwatch(struct watch *watch)
{
    struct map *map = &watch->parked->parking->watches;
    struct watch *first = map_get(map, watch->id), **at = &first;

    while (*at && *at != watch)
        at = &(*at)->next;
    if (*at)
        *at = watch->next;
    if (first)
        map_put(map, first->id, first);
    else
        map_remove(map, watch->id);
}

static void follow(struct parked *parked)
{
    struct parking *parking = parked->parking;

    parked->follows = true;
    parked->next = parking->following;
    if (parked->next)
        parked->next->previous = parked;
    parking->following = parked;
}

static void unfollow(struct parked *parked)
{
    if (!parked->follows)
        return;
    *(parked->previous ? &parked->previous->next : &parked->parking->following) = parked->next;
    if (parked->next)
        parked->next->previous = parked->previous;
    parked->follows = false;
}

static void end(struct parked *parked)
{
    unfollow(parked);
    for (size_t i = 0; i < parked->watch_count; i++)
        if (parked->watches[i].settled)
            unwatch(&parked->watches[i]);
    if (!parked->timed) {
        free(parked);
        return;
    }
    uv_close((uv_handle_t *)&parked->timer, on_timer_closed);
}

static void answer(struct parked *parked, bool durable)
{
    void (*ready)(void *cookie, bool durable) = parked->ready;
    void *of = parked->cookie;

    *parked->at = NULL;
    end(parked); /* first: the ids that it watches are the call's, which the answer frees */
    ready(of, durable);
}

static void on_durable(void *cookie, bool durable)
{
    struct parked *parked = cookie;

    parked->durable = NULL;
    if (parked->settled || !durable)
        answer(parked, durable);
}

/* Nothing is left to settle, or time is up: now only durability counts. */
static void settle(struct parked *parked)
{
    parked->settled = true;
    if (!parked->durable)
        answer(parked, true);
}

static void on_timer(uv_timer_t *timer)
{
    settle(timer->data);
}

static void settle_one(struct parked *parked)
{
    if (--parked->left > 0 || parked->settled)
        return;
    uv_timer_stop(&parked->timer);
    settle(parked);
}

void parking_look(struct parking *parking)
{
    struct parked *next;

    for (struct parked *parked = parking->following; parked; parked = next) {
        next = parked->next;
        if (!parked->delivered || parking->behind(parking->behind_cookie, parked->number))
            continue;
        unfollow(parked);
        settle_one(parked);
    }
}

static void delivered(struct parking *parking, uint64_t number)
{
    for (struct parked *parked = parking->following; parked; parked = parked->next)
        parked->delivered = parked->delivered || parked->number <= number;
    parking_look(parking);
}

static void on_change(void *cookie, const struct change *change)
{
    struct parking *parking = cookie;
    struct watch *next;

    for (struct watch *watch = map_get(&parking->watches, change->id); watch; watch = next) {
        struct parked *parked = watch->parked;

        next = watch->next;
        if (watch->kind != change->kind || change->number < parked->number ||
            (change->new && !watch->settled(change->new)))
            continue;
        unwatch(watch);
        watch->settled = NULL;
        settle_one(parked);
    }
    if (change->last && parking->following)
        delivered(parking, change->number);
}

void parking_follow(struct parking *parking, bool (*behind)(void *cookie, uint64_t number), void *cookie)
{
    parking->behind = behind;
    parking->behind_cookie = cookie;
}

struct parking *parking_new(struct engine *engine)
{
    struct parking *parking = mem_alloc(sizeof *parking);

    parking->engine = engine;
    store_subscribe(engine->store, on_change, parking);
    return parking;
}

void parking_free(struct parking *parking)
{
    map_free(&parking->watches);
    free(parking);
}

static void add_watches(struct parked *parked, const struct call *call)
{
    size_t count = 0;

    if (!call->waits)
        return;
    for (const struct call_wait *wait = call->waits; wait; wait = wait->next)
        count++;
    parked->watches = mem_alloc(count * sizeof *parked->watches);
    for (const struct call_wait *wait = call->waits; wait; wait = wait->next) {
        struct watch *watch = &parked->watches[parked->watch_count++];
        *watch = (struct watch){map_get(&parked->parking->watches, wait->id), parked, wait->kind, wait->id,
                                wait->settled};
        map_put(&parked->parking->watches, watch->id, watch);
    }
    parked->left = count;
}

void park(struct call *call, struct parked **at, void (*ready)(void *cookie, bool durable), void *cookie)
{
    struct store *store = call->engine->store;
    uint64_t number = call->saw;
    struct parked *parked;
    bool follows = call->wrote && call->engine->parking->behind;

    *at = NULL;
    if (!call->waits && !follows && store_durable(store) >= number) {
        ready(cookie, true);
        return;
    }
    *at = parked = mem_alloc(sizeof *parked);
    *parked = (struct parked){
        .parking = call->engine->parking, .number = number, .at = at, .ready = ready, .cookie = cookie};
    /* From here on, not only once it is settled: afterwards nobody could say whether it was taken back. */
    if (store_durable(store) < number)
        parked->durable = store_when_durable(store, number, on_durable, parked);
    parked->settled = !call->waits && !follows;
    if (parked->settled)
        return;
    add_watches(parked, call);
    if (follows) {
        parked->left++;
        follow(parked);
    }
    parked->timed = true;
    uv_timer_init(call->engine->loop, &parked->timer);
    parked->timer.data = parked;
    uv_timer_start(&parked->timer, on_timer, PARK_LIMIT_MS, 0);
}

void parked_cancel(struct parked *parked)
{
    if (parked->durable)
        store_wait_cancel(parked->durable);
    end(parked);
}

void call_wait_for(struct call *call, uint16_t kind, struct str id, bool (*settled)(const void *record))
{
    struct call_wait *wait = arena_new(call->arena, struct call_wait);

    *wait = (struct call_wait){call->waits, kind, arena_str(call->arena, id), settled};
    call->waits = wait;
}
