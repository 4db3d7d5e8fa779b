/* What a full disk does not take: it is refused, taken back in memory as if it had never been, and not written later.
 */
#include "store/journal_fixture.h"
#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <unistd.h>

enum outcome { WAITING, KEPT, REFUSED };

static void note(void *cookie, bool durable)
{
    *(enum outcome *)cookie = durable ? KEPT : REFUSED;
}

static void wait_until_healthy(struct fixture *f)
{
    for (uint64_t until = uv_hrtime() + 20000000000u; !store_healthy(f->store) && uv_hrtime() < until; usleep(100))
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_true(store_healthy(f->store));
}

static void put(struct fixture *f, const char *id, const char *owner)
{
    struct thing *thing;

    begin(f);
    thing = tx_edit(f->tx, THING, str_of(id));
    if (!thing)
        thing = tx_create(f->tx, THING, str_of(id));
    thing->owner = arena_str(&f->arena, str_of(owner));
    commit(f);
}

static void take(struct fixture *f, const char *id)
{
    begin(f);
    tx_remove(f->tx, THING, str_of(id));
    commit(f);
}

/* The ids of an owner's things, in order of creation; absent owner: of all. */
static const char *ids_of(struct fixture *f, const char *owner)
{
    AUTO_BUF ids = BUF_INIT;
    const struct thing *thing;
    struct str copy;

    begin(f);
    if (owner) {
        const void *const *items;
        size_t count = tx_find(f->tx, THING, THING_BY_OWNER, str_of(owner), &items);

        for (size_t i = 0; i < count; i++)
            buf_printf(&ids, STR_FMT " ", STR_ARG(((const struct thing *)items[i])->id));
    }
    for (uint64_t position = 0; !owner && (thing = tx_next(f->tx, THING, &position));)
        buf_printf(&ids, STR_FMT " ", STR_ARG(thing->id));
    tx_rollback(f->tx);
    copy = arena_str(&f->arena, buf_str(&ids));
    return arena_printf(&f->arena, STR_FMT, STR_ARG(copy)).p;
}

static void put_box(struct fixture *f, const char *id)
{
    begin(f);
    ((struct box *)tx_create(f->tx, BOX, str_of(id)))->label = S("a label");
    commit(f);
}

static const char *boxes(struct fixture *f)
{
    struct str ids = S("");
    const struct box *box;

    begin(f);
    for (uint64_t position = 0; (box = tx_next(f->tx, BOX, &position));)
        ids = arena_printf(&f->arena, STR_FMT STR_FMT " ", STR_ARG(ids), STR_ARG(box->id));
    tx_rollback(f->tx);
    return arena_printf(&f->arena, STR_FMT, STR_ARG(ids)).p;
}

static void what_a_full_disk_does_not_take_is_refused_and_was_never_there(void **state)
{
    struct fixture *f = *state;
    enum outcome first = WAITING, last = WAITING;
    struct err err = ERR_INIT;
    uint64_t version;

    put(f, "t-1", "ann");
    put(f, "t-2", "ann");
    put(f, "t-3", "bob");
    assert_true(settle(f));
    begin(f);
    version = record_version(tx_get(f->tx, THING, S("t-1")));
    tx_rollback(f->tx);

    disk_full = 1;
    put(f, "t-1", "bob");
    store_when_durable(f->store, store_last(f->store), note, &first);
    take(f, "t-2");
    put(f, "t-1", "eve");
    put(f, "t-4", "ann");
    put(f, "t-2", "eve"); /* another of the same name */
    put_box(f, "b-1");    /* the journal has no names for boxes yet */
    store_when_durable(f->store, store_last(f->store), note, &last);
    assert_string_equal(ids_of(f, "eve"), "t-1 t-2 ");
    assert_true(settle(f));

    assert_true(first == REFUSED && last == REFUSED);
    assert_string_equal(ids_of(f, NULL), "t-1 t-2 t-3 ");
    assert_string_equal(ids_of(f, "ann"), "t-1 t-2 ");
    assert_string_equal(ids_of(f, "bob"), "t-3 ");
    assert_string_equal(ids_of(f, "eve"), "");
    begin(f);
    assert_int_equal(record_version(tx_get(f->tx, THING, S("t-1"))), version);
    tx_rollback(f->tx);
    assert_false(store_healthy(f->store));
    assert_int_equal(create_thing(f, 9, &err), -EAGAIN);

    disk_full = 0;
    wait_until_healthy(f);
    put(f, "t-5", "bob");
    put_box(f, "b-2");
    reopen(f);
    assert_string_equal(ids_of(f, NULL), "t-1 t-2 t-3 t-5 ");
    assert_string_equal(boxes(f), "b-2 ");
    assert_string_equal(ids_of(f, "bob"), "t-3 t-5 ");
}

/* Of what has been refused nothing is in the file, also if nothing has been written over it. */
static void what_was_refused_is_not_there_for_a_server_that_starts_after_it(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    put(f, "t-1", "ann");
    assert_true(settle(f));
    disk_full = 1;
    for (int n = 10; n < 40; n++)
        put(f, arena_printf(&f->arena, "t-%d", n).p, "bob");
    assert_true(settle(f));
    assert_int_equal(create_thing(f, 2, &err), -EAGAIN);
    close_store(f);
    disk_full = 0;
    open_store(f);
    assert_string_equal(ids_of(f, NULL), "t-1 ");
    put(f, "t-3", "bob"); /* names that came with what was refused are known all the same */
    reopen(f);
    assert_string_equal(ids_of(f, "bob"), "t-3 ");
}

static void a_hiccup_of_the_disk_refuses_nothing(void **state)
{
    struct fixture *f = *state;
    enum outcome outcome = WAITING;

    disk_full = 1;
    put(f, "t-1", "ann");
    store_when_durable(f->store, store_last(f->store), note, &outcome);
    for (int i = 0; i < 1000 && store_healthy(f->store); i++, usleep(1000))
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(store_healthy(f->store));
    disk_full = 0;
    assert_true(settle(f));
    assert_true(outcome == KEPT);
    reopen(f);
    assert_string_equal(ids_of(f, NULL), "t-1 ");
}

static int seed_a_box(void *cookie, struct tx *tx, struct err *err)
{
    tx_create(tx, BOX, S("b-default"));
    return 0;
}

/* A world that began, with its defaults; one that ended, and was looked at since. */
static void worlds_are_as_before_what_was_refused(void **state)
{
    struct fixture *f = *state;
    struct world *ours = f->world, *theirs = store_world(f->store, S("222222222222"), S("eu-west-1"));
    struct err err = ERR_INIT;

    store_set_seed(f->store, seed_a_box, NULL);
    put(f, "t-1", "ann");
    begin(f);
    tx_remove(f->tx, BOX, S("b-default"));
    commit(f);
    assert_true(settle(f));

    disk_full = 1;
    f->world = theirs;
    put(f, "t-7", "bob");
    assert_int_equal(store_reset(f->store, S("111111111111"), &err), 0);
    f->world = ours;
    assert_string_equal(ids_of(f, NULL), ""); /* makes its defaults anew */
    put(f, "t-2", "eve");
    assert_int_equal(store_reset(f->store, S("111111111111"), &err), 0);
    assert_string_equal(ids_of(f, NULL), "");
    assert_true(settle(f));

    for (int round = 0; round < 2; round++) {
        f->world = store_world(f->store, S("111111111111"), S("eu-west-1"));
        assert_string_equal(ids_of(f, NULL), "t-1 ");
        assert_string_equal(boxes(f), ""); /* it has been removed there */
        f->world = store_world(f->store, S("222222222222"), S("eu-west-1"));
        assert_string_equal(ids_of(f, NULL), round ? "t-8 " : "");
        assert_string_equal(boxes(f), "b-default ");
        if (round)
            break;
        disk_full = 0;
        wait_until_healthy(f);
        put(f, "t-8", "bob");
        reopen(f);
        store_set_seed(f->store, seed_a_box, NULL);
    }
}

/* Everything at random, compared with what it has to be: by reading, by index, by the feed, and after a restart. */

enum { THINGS = 24, OWNERS = 3 };

struct state {
    int owner[THINGS]; /* 0: there is none */
    uint64_t order[THINGS];
};

static struct state heard; /* from the feed; order is not told there */

static void hear(void *cookie, const struct change *change)
{
    const struct thing *thing = change->new;
    int64_t n, owner = 0;

    assert_true(str_to_int(str_skip(change->id, 2), &n));
    if (thing)
        assert_true(str_to_int(thing->owner, &owner));
    heard.owner[n] = (int)owner;
}

static uint32_t dice(uint32_t sides)
{
    static uint32_t seed = 11;

    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % sides;
}

static void change_something(struct fixture *f, struct state *now)
{
    static uint64_t order;
    int n = (int)dice(THINGS), owner = (int)dice(OWNERS + 1);
    struct str id = arena_printf(&f->arena, "t-%d", n), text = arena_printf(&f->arena, "%d", owner);
    struct err err = ERR_INIT;

    if (dice(30) == 0) {
        assert_int_equal(store_reset(f->store, S("111111111111"), &err), 0);
        memset(now, 0, sizeof *now);
        return;
    }
    if (!owner) {
        take(f, id.p);
    } else {
        put(f, id.p, text.p);
        now->order[n] = now->owner[n] ? now->order[n] : ++order;
    }
    now->owner[n] = owner;
}

static void has_to_be(struct fixture *f, const struct state *wanted)
{
    uint64_t position = 0, before = 0;
    const struct thing *thing;
    size_t count = 0;

    for (int owner = 0; owner <= OWNERS; owner++) {
        size_t owned = 0;

        for (int n = 0; n < THINGS; n++)
            owned += wanted->owner[n] == owner;
        count += owner ? owned : 0;
        begin(f);
        if (owner)
            assert_int_equal(tx_find_count(f->tx, THING, THING_BY_OWNER, arena_printf(&f->arena, "%d", owner)), owned);
        tx_rollback(f->tx);
    }
    begin(f);
    assert_int_equal(tx_count(f->tx, THING), count);
    while ((thing = tx_next(f->tx, THING, &position))) {
        int64_t n = 0, owner = 0;

        assert_true(str_to_int(str_skip(thing->id, 2), &n));
        assert_true(str_to_int(thing->owner, &owner));
        assert_int_equal(owner, wanted->owner[n]);
        assert_true(wanted->order[n] > before);
        before = wanted->order[n];
        count--;
    }
    assert_int_equal(count, 0);
    tx_rollback(f->tx);
}

static void whatever_is_refused_leaves_all_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct state now = {0}, durable;

    store_subscribe(f->store, hear, NULL);
    for (int round = 0; round < 40; round++) {
        enum outcome outcome = WAITING;
        int changes = 1 + (int)dice(30);

        if (round % 20 == 0) { /* else the disk fails again before any commit has been written: nothing waits for it */
            for (int i = 0; i < 30; i++)
                change_something(f, &now);
            assert_true(settle(f));
        }
        durable = now;
        disk_full = 1;
        for (int i = 0; i < changes; i++)
            change_something(f, &now);
        store_when_durable(f->store, store_last(f->store), note, &outcome);
        assert_true(settle(f));
        assert_true(outcome != WAITING);
        now = durable;
        has_to_be(f, &now);
        assert_memory_equal(heard.owner, now.owner, sizeof now.owner);
        disk_full = 0;
        wait_until_healthy(f);
        arena_reset(&f->arena);
    }
    for (int i = 0; i < 10; i++)
        change_something(f, &now);
    reopen(f);
    has_to_be(f, &now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_a_full_disk_does_not_take_is_refused_and_was_never_there),
        TEST(what_was_refused_is_not_there_for_a_server_that_starts_after_it),
        TEST(a_hiccup_of_the_disk_refuses_nothing),
        TEST(worlds_are_as_before_what_was_refused),
        TEST(whatever_is_refused_leaves_all_as_it_was),
    };

    install_failing_disk();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
