#include "store/store.h"

#include "base/mem.h"
#include "store/test_model.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MAX_EVENTS 64

struct fixture {
    uv_loop_t loop;
    struct store *store;
    struct world *world;
    struct arena arena;
    struct tx *tx;
    char events[MAX_EVENTS][64]; /* "number +id", "number ~id", "number -id", with what */
    size_t event_count;
};

static void on_change(void *cookie, const struct change *change)
{
    struct fixture *f = cookie;
    char sign = !change->old ? '+' : change->new ? '~' : '-';

    assert_true(f->event_count < MAX_EVENTS);
    snprintf(f->events[f->event_count++], 64, "%d %c" STR_FMT " " STR_FMT, (int)change->number, sign,
             STR_ARG(change->id), STR_ARG(change->what));
}

static int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof *f);
    struct store_options options = {.kinds = model_kinds(), .kind_count = KIND_COUNT, .loop = &f->loop};
    struct err err = ERR_INIT;

    uv_loop_init(&f->loop);
    assert_int_equal(store_open(&options, &f->store, &err), 0);
    store_subscribe(f->store, on_change, f);
    f->world = store_world(f->store, S("111111111111"), S("eu-west-1"));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->store);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    arena_free(&f->arena);
    free(f);
    return 0;
}

static struct tx *begin(struct fixture *f)
{
    return f->tx = tx_begin(f->store, f->world, &f->arena, S("Test"));
}

static void commit(struct fixture *f)
{
    struct err err = ERR_INIT;

    assert_int_equal(tx_commit(f->tx, &err), 0);
}

static void turn(struct fixture *f)
{
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static struct thing *create(struct fixture *f, const char *id, const char *owner)
{
    struct thing *thing = tx_create(f->tx, THING, str_of(id));

    thing->owner = str_of(owner);
    return thing;
}

static void create_committed(struct fixture *f, const char *id, const char *owner)
{
    begin(f);
    create(f, id, owner);
    commit(f);
}

/* The ids that an index gives, one string. */
static const char *found(struct fixture *f, unsigned index, const char *value)
{
    static char text[256];
    const void *const *items;
    size_t count = tx_find(f->tx, THING, index, str_of(value), &items), used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s" STR_FMT, i ? " " : "",
                                 STR_ARG(((const struct thing *)items[i])->id));
    assert_int_equal(count > 0, tx_find_any(f->tx, THING, index, str_of(value)) != NULL);
    return text;
}

static void a_transaction_reads_its_own_writes(void **state)
{
    struct fixture *f = *state;
    uint64_t position = 0;

    create_committed(f, "t-1", "ann");
    create_committed(f, "t-2", "ann");
    begin(f);
    create(f, "t-3", "ann");
    ((struct thing *)tx_edit(f->tx, THING, S("t-1")))->owner = S("bob");
    tx_remove(f->tx, THING, S("t-2"));

    assert_null(tx_get(f->tx, THING, S("t-2")));
    assert_null(tx_edit(f->tx, THING, S("t-2")));
    assert_int_equal(tx_count(f->tx, THING), 2);
    assert_string_equal(found(f, THING_BY_OWNER, "ann"), "t-3");
    assert_string_equal(found(f, THING_BY_OWNER, "bob"), "t-1");
    assert_true(str_equal(((const struct thing *)tx_next(f->tx, THING, &position))->id, S("t-1")));
    assert_true(str_equal(((const struct thing *)tx_next(f->tx, THING, &position))->id, S("t-3")));
    assert_null(tx_next(f->tx, THING, &position));
    commit(f);
}

static void a_rollback_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    const struct thing *thing;

    create_committed(f, "t-1", "ann");
    turn(f);
    f->event_count = 0;
    begin(f);
    create(f, "t-2", "bob");
    ((struct thing *)tx_edit(f->tx, THING, S("t-1")))->owner = S("bob");
    tx_create(f->tx, BOX, S("b-1"));
    tx_remove(f->tx, BOX, S("b-1"));
    tx_rollback(f->tx);
    turn(f);

    begin(f);
    thing = tx_get(f->tx, THING, S("t-1"));
    assert_true(str_equal(thing->owner, S("ann")));
    assert_null(tx_get(f->tx, THING, S("t-2")));
    assert_null(tx_get(f->tx, BOX, S("b-1")));
    assert_string_equal(found(f, THING_BY_OWNER, "bob"), "");
    assert_int_equal(tx_count(f->tx, THING), 1);
    assert_int_equal(store_last(f->store), 1);
    assert_int_equal(f->event_count, 0);
    tx_rollback(f->tx);
}

static void an_edit_leaves_the_old_version_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct place place = {.zone = S("a"), .rack = INT(1)};
    const struct thing *before;
    struct thing *edited;

    begin(f);
    create(f, "t-1", "ann")->place = &place;
    commit(f);
    place.zone = S("spoiled"); /* the commit has copied it */
    begin(f);
    before = tx_get(f->tx, THING, S("t-1"));
    edited = tx_edit(f->tx, THING, S("t-1"));
    edited->place->zone = S("b");
    assert_ptr_equal(edited, tx_edit(f->tx, THING, S("t-1")));
    assert_true(str_equal(before->place->zone, S("a")));
    assert_string_equal(found(f, THING_BY_ZONE, "a"), "");
    assert_string_equal(found(f, THING_BY_ZONE, "b"), "t-1");
    commit(f);
    assert_true(str_equal(before->place->zone, S("a"))); /* until control returns to the loop */
}

static void an_index_follows_every_value_of_a_list(void **state)
{
    struct fixture *f = *state;
    struct str groups[] = {S("g1"), S("g2"), S("g1")};
    struct thing *thing;

    begin(f);
    create(f, "t-1", "ann")->groups = (struct str_list){groups, 3};
    create(f, "t-2", "ann")->groups = (struct str_list){groups, 1};
    commit(f);
    begin(f);
    assert_string_equal(found(f, THING_BY_GROUP, "g1"), "t-1 t-2");
    assert_string_equal(found(f, THING_BY_GROUP, "g2"), "t-1");
    thing = tx_edit(f->tx, THING, S("t-1"));
    thing->groups.count = 0;
    commit(f);
    begin(f);
    assert_string_equal(found(f, THING_BY_GROUP, "g1"), "t-2");
    assert_string_equal(found(f, THING_BY_GROUP, "g2"), "");
    thing = tx_edit(f->tx, THING, S("t-1")); /* comes back behind t-2, is found before it */
    thing->groups = (struct str_list){groups, 2};
    commit(f);
    begin(f);
    assert_string_equal(found(f, THING_BY_GROUP, "g1"), "t-1 t-2");
    tx_rollback(f->tx);
}

static void positions_are_stable_over_removals(void **state)
{
    struct fixture *f = *state;
    uint64_t position = 0, page;
    const struct thing *thing;
    char id[16];

    begin(f);
    for (int i = 0; i < 1000; i++) {
        snprintf(id, sizeof id, "t-%d", i);
        create(f, id, "ann");
    }
    commit(f);
    begin(f);
    for (int i = 0; i < 500; i++)
        thing = tx_next(f->tx, THING, &position);
    assert_true(str_equal(thing->id, S("t-499")));
    page = position;
    for (int i = 0; i < 900; i++) {
        snprintf(id, sizeof id, "t-%d", i);
        tx_remove(f->tx, THING, str_of(id));
    }
    commit(f);
    begin(f);
    thing = tx_next(f->tx, THING, &page);
    assert_true(str_equal(thing->id, S("t-900")));
    assert_int_equal(tx_count(f->tx, THING), 100);
    tx_rollback(f->tx);
}

static void the_feed_is_in_order_and_never_inside_a_commit(void **state)
{
    static const char *const wanted[] = {"1 +t-1 Test", "2 ~t-1 Test", "2 +b-1 Test", "3 -t-1 Test"};
    struct fixture *f = *state;

    create_committed(f, "t-1", "ann");
    assert_int_equal(store_durable(f->store), 1);
    begin(f);
    ((struct thing *)tx_edit(f->tx, THING, S("t-1")))->owner = S("bob");
    tx_create(f->tx, BOX, S("b-1"));
    commit(f);
    begin(f);
    tx_remove(f->tx, THING, S("t-1"));
    commit(f);
    assert_int_equal(f->event_count, 0);
    turn(f);
    assert_int_equal(f->event_count, ARRAY_LEN(wanted));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        assert_string_equal(f->events[i], wanted[i]);
}

/* A reader of the feed that writes. */
static void edit_once(void *cookie, const struct change *change)
{
    struct fixture *f = cookie;
    const struct thing *old = change->old;

    if (old) {
        assert_true(str_equal(old->id, S("t-1")) && str_equal(old->owner, S("ann")) && old->size.value == 7);
    } else if (str_equal(change->id, S("t-1"))) {
        begin(f);
        ((struct thing *)tx_edit(f->tx, THING, S("t-1")))->owner = S("bob");
        commit(f);
    }
}

/* What a reader commits is told in a later turn. What it replaced lies there until then, though the loop has turned. */
static void what_was_replaced_is_good_until_it_has_been_told(void **state)
{
    struct fixture *f = *state;

    store_subscribe(f->store, edit_once, f);
    begin(f);
    create(f, "t-1", "ann")->size = INT(7);
    commit(f);
    turn(f);
    assert_int_equal(f->event_count, 1);
    for (int i = 2; i < 6; i++) { /* of its size: where it lies, if that were free */
        char id[] = {'t', '-', (char)('0' + i), '\0'};
        create_committed(f, id, "eve");
    }
    turn(f);
    assert_int_equal(f->event_count, 6);
}

static void what_nobody_changed_is_no_commit(void **state)
{
    struct fixture *f = *state;

    begin(f);
    create(f, "t-1", "ann");
    tx_remove(f->tx, THING, S("t-1"));
    tx_remove(f->tx, THING, S("t-unknown"));
    commit(f);
    assert_int_equal(store_last(f->store), 0);
}

static void an_id_may_come_back_in_the_transaction_that_removed_it(void **state)
{
    struct fixture *f = *state;

    create_committed(f, "t-1", "ann");
    begin(f);
    tx_remove(f->tx, THING, S("t-1"));
    create(f, "t-1", "bob");
    assert_int_equal(tx_count(f->tx, THING), 1);
    commit(f);
    begin(f);
    assert_string_equal(found(f, THING_BY_OWNER, "ann"), "");
    assert_string_equal(found(f, THING_BY_OWNER, "bob"), "t-1");
    tx_rollback(f->tx);
}

static void two_worlds_are_separate(void **state)
{
    struct fixture *f = *state;
    struct world *other = store_world(f->store, S("222222222222"), S("eu-west-1"));

    create_committed(f, "t-1", "ann");
    begin(f);
    tx_enter(f->tx, other);
    assert_null(tx_get(f->tx, THING, S("t-1")));
    create(f, "t-1", "bob");
    assert_string_equal(found(f, THING_BY_OWNER, "ann"), "");
    tx_enter(f->tx, f->world);
    assert_string_equal(found(f, THING_BY_OWNER, "ann"), "t-1");
    tx_remove(f->tx, THING, S("t-1"));
    commit(f);
    f->world = other;
    begin(f);
    assert_string_equal(found(f, THING_BY_OWNER, "bob"), "t-1");
    tx_rollback(f->tx);
    assert_true(str_equal(world_account(other), S("222222222222")) && str_equal(world_region(other), S("eu-west-1")));
}

static int seed_one_box(void *cookie, struct tx *tx, struct err *err)
{
    int *fail = cookie;
    struct box *box = tx_create(tx, BOX, S("b-default"));

    box->label = S("default");
    return *fail ? err_plain(err, "no defaults today") : 0;
}

static void a_seed_is_delivered_with_the_first_commit_of_its_world(void **state)
{
    struct fixture *f = *state;
    int fail = 0;

    store_set_seed(f->store, seed_one_box, &fail);
    begin(f);
    assert_non_null(tx_get(f->tx, BOX, S("b-default")));
    tx_rollback(f->tx);
    turn(f);
    assert_int_equal(f->event_count, 0);
    begin(f);
    ((struct box *)tx_edit(f->tx, BOX, S("b-default")))->label = S("mine");
    commit(f);
    turn(f);
    assert_int_equal(f->event_count, 2);
    assert_string_equal(f->events[0], "1 +b-default Test");
    assert_string_equal(f->events[1], "1 ~b-default Test");
}

static void a_failed_seed_fails_the_commit_and_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    int fail = 1;

    store_set_seed(f->store, seed_one_box, &fail);
    begin(f);
    create(f, "t-1", "ann");
    assert_true(tx_commit(f->tx, &err) < 0);
    assert_non_null(strstr(err.text, "no defaults today"));
    fail = 0;
    create_committed(f, "t-1", "ann");
    turn(f);
    assert_int_equal(f->event_count, 2);
}

static void unwritten_worlds_are_dropped_beyond_256_and_written_ones_stay(void **state)
{
    struct fixture *f = *state;
    size_t count = 0;
    char account[16];

    create_committed(f, "t-1", "ann");
    turn(f);
    for (int i = 0; i < 1000; i++) {
        snprintf(account, sizeof account, "%012d", i);
        store_world(f->store, str_of(account), S("eu-west-1"));
    }
    turn(f);
    for (struct world *world = NULL; (world = store_next_world(f->store, world));)
        count++;
    assert_int_equal(count, 257);
    assert_ptr_equal(store_world(f->store, S("111111111111"), S("eu-west-1")), f->world);
}

static void a_world_that_is_kept_is_dropped_when_it_is_let_go(void **state)
{
    struct fixture *f = *state;
    struct world *kept = NULL;
    char account[16];
    bool there = false;

    world_keep(&kept, store_world(f->store, S("222222222222"), S("eu-west-1")));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 300; i++) {
            snprintf(account, sizeof account, "%012d", i);
            store_world(f->store, str_of(account), S("eu-west-1"));
        }
        turn(f);
        there = false;
        for (struct world *world = NULL; (world = store_next_world(f->store, world));)
            there = there || str_equal(world_account(world), S("222222222222"));
        assert_int_equal(there, round == 0);
        if (round == 0)
            world_keep(&kept, NULL);
    }
}

static void a_reset_forgets_one_account_and_tells_the_feed(void **state)
{
    struct fixture *f = *state;
    struct world *mine = f->world, *other = store_world(f->store, S("222222222222"), S("eu-west-1"));
    struct err err = ERR_INIT;

    create_committed(f, "t-1", "ann");
    f->world = other;
    create_committed(f, "t-2", "ann");
    turn(f);
    f->event_count = 0;
    assert_int_equal(store_reset(f->store, S("111111111111"), &err), 0);
    begin(f);
    assert_non_null(tx_get(f->tx, THING, S("t-2")));
    tx_rollback(f->tx);
    f->world = mine;
    begin(f);
    assert_int_equal(tx_count(f->tx, THING), 0);
    assert_string_equal(found(f, THING_BY_OWNER, "ann"), "");
    tx_rollback(f->tx);
    turn(f);
    assert_int_equal(f->event_count, 1);
    assert_string_equal(f->events[0], "3 -t-1 reset");
}

static void count_calls(void *cookie, bool durable)
{
    ++*(int *)cookie;
}

static void in_memory_every_commit_is_durable_at_once(void **state)
{
    struct fixture *f = *state;
    int calls = 0;

    create_committed(f, "t-1", "ann");
    assert_null(store_when_durable(f->store, store_last(f->store), count_calls, &calls));
    assert_int_equal(calls, 1);
    assert_true(store_healthy(f->store));
}

enum { NAIVE = 200 };
struct naive {
    bool there;
    int owner, group;
    uint64_t order;
};

static uint32_t dice(uint32_t *seed, uint32_t sides)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % sides;
}

static void check_owner(struct fixture *f, const struct naive *naive, int owner)
{
    uint64_t previous = 0;
    char text[16];
    const void *const *items;
    size_t count, wanted = 0;

    snprintf(text, sizeof text, "o%d", owner);
    count = tx_find(f->tx, THING, THING_BY_OWNER, str_of(text), &items);
    for (size_t i = 0; i < NAIVE; i++)
        wanted += naive[i].there && naive[i].owner == owner;
    assert_int_equal(count, wanted);
    for (size_t i = 0; i < count; i++) {
        const struct naive *model = &naive[atoi(((const struct thing *)items[i])->id.p + 2)];
        assert_true(model->there && model->owner == owner && model->order > previous);
        previous = model->order;
    }
}

static void random_change(struct fixture *f, struct naive *naive, uint32_t *seed, uint64_t *order)
{
    int n = (int)dice(seed, NAIVE), owner = (int)dice(seed, 5);
    bool existed = naive[n].there;
    struct thing *thing;
    char id[16], text[16];

    snprintf(id, sizeof id, "t-%d", n);
    snprintf(text, sizeof text, "o%d", owner);
    if (existed && dice(seed, 3) == 0) {
        tx_remove(f->tx, THING, str_of(id));
        naive[n].there = false;
        return;
    }
    thing = existed ? tx_edit(f->tx, THING, str_of(id)) : tx_create(f->tx, THING, str_of(id));
    thing->owner = arena_str(&f->arena, str_of(text));
    if (!existed)
        naive[n].order = ++*order;
    naive[n].there = true;
    naive[n].owner = owner;
}

/* An id removed and created again in one transaction keeps its place: the naive model avoids that by one change a
 * record a transaction. */
static void indexes_agree_with_a_naive_model_over_random_operations(void **state)
{
    struct fixture *f = *state;
    struct naive naive[NAIVE] = {0}, before[NAIVE];
    uint64_t order = 0;
    uint32_t seed = 7;
    struct err err = ERR_INIT;

    f->event_count = 0;
    for (int i = 0; i < 10000; i++) {
        memcpy(before, naive, sizeof naive);
        begin(f);
        random_change(f, naive, &seed, &order);
        check_owner(f, naive, (int)dice(&seed, 5));
        if (dice(&seed, 4) == 0) {
            tx_rollback(f->tx);
            memcpy(naive, before, sizeof naive);
        } else {
            assert_int_equal(tx_commit(f->tx, &err), 0);
        }
        if (i % 50 == 49) {
            turn(f);
            f->event_count = 0;
            arena_reset(&f->arena);
        }
        begin(f);
        for (int owner = 0; owner < 5; owner++)
            check_owner(f, naive, owner);
        tx_rollback(f->tx);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_transaction_reads_its_own_writes),
        TEST(a_rollback_leaves_nothing),
        TEST(an_edit_leaves_the_old_version_as_it_was),
        TEST(an_index_follows_every_value_of_a_list),
        TEST(positions_are_stable_over_removals),
        TEST(the_feed_is_in_order_and_never_inside_a_commit),
        TEST(what_was_replaced_is_good_until_it_has_been_told),
        TEST(what_nobody_changed_is_no_commit),
        TEST(an_id_may_come_back_in_the_transaction_that_removed_it),
        TEST(two_worlds_are_separate),
        TEST(a_seed_is_delivered_with_the_first_commit_of_its_world),
        TEST(a_failed_seed_fails_the_commit_and_is_tried_again),
        TEST(unwritten_worlds_are_dropped_beyond_256_and_written_ones_stay),
        TEST(a_world_that_is_kept_is_dropped_when_it_is_let_go),
        TEST(a_reset_forgets_one_account_and_tells_the_feed),
        TEST(in_memory_every_commit_is_durable_at_once),
        TEST(indexes_agree_with_a_naive_model_over_random_operations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
