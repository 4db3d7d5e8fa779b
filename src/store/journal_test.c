/* What a restart finds: everything, in order, also after a fold that was cut short and with another model. */
#include "store/journal_fixture.h"
#include "store/db.h"

#include <sqlite3.h>
#include <unistd.h>

static void what_was_committed_is_there_after_a_restart_in_order(void **state)
{
    struct fixture *f = *state;
    uint64_t position = 0, last;
    const struct thing *thing;

    create_things(f, 0, 100);
    begin(f);
    ((struct thing *)tx_edit(f->tx, THING, S("t-3")))->owner = S("bob");
    tx_remove(f->tx, THING, S("t-5"));
    tx_create(f->tx, BOX, S("b-1"));
    commit(f);
    last = store_last(f->store);
    reopen(f);

    assert_int_equal(store_last(f->store), last);
    assert_int_equal(store_durable(f->store), last);
    assert_int_equal(count_things(f), 99);
    begin(f);
    for (int n = 0; n < 100; n++) {
        if (n == 5)
            continue;
        thing = tx_next(f->tx, THING, &position);
        assert_int_equal(thing->size.value, n);
    }
    assert_null(tx_next(f->tx, THING, &position));
    assert_non_null(tx_find_any(f->tx, THING, THING_BY_OWNER, S("bob")));
    assert_non_null(tx_get(f->tx, BOX, S("b-1")));
    tx_rollback(f->tx);
    assert_int_equal(f->changes, 0);
    create_things(f, 100, 1);
    begin(f);
    assert_int_equal(((const struct thing *)tx_next(f->tx, THING, &position))->size.value, 100);
    tx_rollback(f->tx);
}

static void nobody_hears_of_a_commit_before_it_is_durable(void **state)
{
    struct fixture *f = *state;
    bool done = false, cancelled = false;
    struct store_wait *wait;

    create_things(f, 0, 1);
    assert_non_null(store_when_durable(f->store, 1, set_flag, &done));
    wait = store_when_durable(f->store, 1, set_flag, &cancelled);
    store_wait_cancel(wait);
    assert_false(done);
    assert_int_equal(store_durable(f->store), 0);
    assert_int_equal(f->changes, 0);
    uv_run(&f->loop, UV_RUN_DEFAULT); /* ends: nothing keeps it alive once all is durable */
    assert_true(done);
    assert_false(cancelled);
    assert_int_equal(store_durable(f->store), 1);
    assert_int_equal(f->changes, 1);
}

static void an_idle_writer_folds_the_log_into_records(void **state)
{
    struct fixture *f = *state;

    create_things(f, 0, 3000);
    begin(f);
    for (int n = 0; n < 1000; n++)
        tx_remove(f->tx, THING, arena_printf(&f->arena, "t-%d", n));
    commit(f);
    assert_true(settle(f));
    usleep(700000);
    close_store(f);
    assert_int_equal(query(f, "SELECT count(*) FROM log"), 0);
    assert_int_equal(query(f, "SELECT count(*) FROM record"), 2000);
    assert_int_equal(query(f, "SELECT folded FROM progress"), 3001);
    open_store(f);
    assert_int_equal(store_last(f->store), 3001);
    assert_int_equal(count_things(f), 2000);
    assert_int_equal(get_thing(f, 1500)->size.value, 1500);
}

static void fold_slices(struct fixture *f, int slices)
{
    struct err err = ERR_INIT;
    struct db *db;

    assert_int_equal(db_open(f->folder, &db, &err), 0);
    for (int i = 0; i < slices; i++)
        assert_int_equal(db_fold(db, 8192, &err), 0);
    db_close(db);
}

/* What slices have done is replayed over by the log, also in a world that ended and began again. */
static void a_fold_that_was_interrupted_is_done_again(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    size_t halfway = 0;

    /* 0, 1, 3 … 31 slices; again while the idle writer was quicker than the interruption. */
    for (int round = 0; round < 6 || (halfway < 2 && round < 60); round++) {
        int slices = (1 << round % 6) - 1;

        create_things(f, 0, 1000);
        assert_int_equal(store_reset(f->store, S("111111111111"), &err), 0);
        create_things(f, 0, 4000);
        begin(f);
        for (int n = 0; n < 4000; n += 2)
            tx_remove(f->tx, THING, arena_printf(&f->arena, "t-%d", n));
        commit(f);
        create_things(f, 0, 1);
        close_store(f);
        fold_slices(f, slices);
        halfway += query(f, "SELECT count(*) FROM log") > 0 && query(f, "SELECT count(*) FROM record") > 0;
        open_store(f);
        assert_int_equal(count_things(f), 2001);
        assert_null(get_thing(f, 2));
        assert_int_equal(get_thing(f, 3999)->size.value, 3999);
        assert_int_equal(store_reset(f->store, (struct str){0}, &err), 0);
        close_store(f);
        fold_slices(f, 1000); /* all, for the next round */
        open_store(f);
        assert_int_equal(count_things(f), 0);
    }
    assert_true(halfway > 1);
}

static void worlds_and_a_reset_survive_a_restart(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    assert_int_equal(store_reset(f->store, (struct str){0}, &err), 0);
    assert_true(settle(f)); /* nothing to forget is no commit */
    create_things(f, 0, 10);
    f->world = store_world(f->store, S("222222222222"), S("eu-west-1"));
    create_things(f, 0, 20);
    reopen(f);
    assert_int_equal(count_things(f), 10);
    assert_int_equal(store_reset(f->store, S("111111111111"), &err), 0);
    reopen(f);
    assert_int_equal(count_things(f), 0);
    f->world = store_world(f->store, S("222222222222"), S("eu-west-1"));
    assert_int_equal(count_things(f), 20);
}

static uint64_t version_of(struct fixture *f, int n)
{
    return record_version(get_thing(f, n));
}

/* One count for both: what comes later has a higher number than all before. */
static void loaded_versions_and_new_ones_never_have_the_same_number(void **state)
{
    struct fixture *f = *state;
    uint64_t newest;

    create_things(f, 0, 40);
    newest = version_of(f, 39);
    reopen(f);
    for (int n = 0; n < 40; n++)
        assert_true(version_of(f, n) > newest);
    for (int n = 0; n < 40; n++)
        newest = version_of(f, n) > newest ? version_of(f, n) : newest;
    begin(f);
    ((struct thing *)tx_edit(f->tx, THING, S("t-0")))->size = INT(7);
    commit(f);
    assert_true(version_of(f, 0) > newest);
}

static int seed_boxes(void *cookie, struct tx *tx, struct err *err)
{
    ++*(int *)cookie;
    tx_create(tx, BOX, S("b-z"));
    tx_create(tx, BOX, S("b-a"));
    return 0;
}

static void seeds_are_stored_with_the_first_commit_and_not_made_again(void **state)
{
    struct fixture *f = *state;
    int seeded = 0;
    uint64_t position = 0;

    store_set_seed(f->store, seed_boxes, &seeded);
    assert_int_equal(count_things(f), 0);
    reopen(f);
    store_set_seed(f->store, seed_boxes, &seeded);
    create_things(f, 0, 1);
    assert_int_equal(seeded, 2);
    reopen(f);
    store_set_seed(f->store, seed_boxes, &seeded);
    begin(f);
    assert_true(str_equal(((const struct box *)tx_next(f->tx, BOX, &position))->id, S("b-z")));
    assert_true(str_equal(((const struct box *)tx_next(f->tx, BOX, &position))->id, S("b-a")));
    assert_null(tx_next(f->tx, BOX, &position));
    tx_rollback(f->tx);
    assert_int_equal(seeded, 2);
}

static void a_refreshed_model_opens_an_old_journal_and_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct place place = {.zone = S("a"), .rack = INT(4)};
    struct tag tag = {S("Name"), S("web")};
    const struct thing *back;
    struct later_thing *later;
    struct thing *thing;

    begin(f);
    thing = tx_create(f->tx, THING, S("t-1"));
    thing->ratio = DOUBLE(0.5);
    thing->place = &place;
    thing->tags = (struct tag_list){&tag, 1};
    commit(f);
    close_store(f);
    f->kinds = model_later_kinds();
    open_store(f);
    begin(f);
    later = tx_edit(f->tx, THING, S("t-1"));
    later->owner = S("bob");
    later->colour = S("red");
    tx_create(f->tx, THING, S("t-2"));
    commit(f);
    begin(f); /* twice: the second edit starts from the version that the first made */
    later = tx_edit(f->tx, THING, S("t-1"));
    later->name = S("late");
    commit(f);
    close_store(f);
    f->kinds = model_kinds();
    open_store(f);
    begin(f);
    back = tx_get(f->tx, THING, S("t-1"));
    assert_true(back->ratio.value == 0.5);
    assert_true(str_equal(back->place->zone, S("a")));
    assert_true(str_equal(back->tags.items[0].value, S("web")));
    assert_true(str_equal(back->owner, S("bob")) && str_equal(back->name, S("late")));
    assert_non_null(tx_find_any(f->tx, THING, THING_BY_ZONE, S("a")));
    ((struct thing *)tx_edit(f->tx, THING, S("t-1")))->owner = S("eve");
    commit(f);
    close_store(f);
    f->kinds = model_later_kinds();
    open_store(f);
    begin(f);
    assert_true(str_equal(((const struct later_thing *)tx_get(f->tx, THING, S("t-1")))->colour, S("red")));
    tx_rollback(f->tx);
}

static void records_of_an_unknown_kind_stay_in_the_file(void **state)
{
    struct fixture *f = *state;

    create_things(f, 0, 1);
    begin(f);
    tx_create(f->tx, BOX, S("b-1"));
    commit(f);
    close_store(f);
    f->kind_count = 1; /* a version without boxes */
    open_store(f);
    create_things(f, 1, 1);
    assert_true(settle(f));
    usleep(200000);
    close_store(f);
    f->kind_count = KIND_COUNT;
    open_store(f);
    begin(f);
    assert_non_null(tx_get(f->tx, BOX, S("b-1")));
    assert_int_equal(tx_count(f->tx, THING), 2);
    tx_rollback(f->tx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_committed_is_there_after_a_restart_in_order),
        TEST(nobody_hears_of_a_commit_before_it_is_durable),
        TEST(an_idle_writer_folds_the_log_into_records),
        TEST(a_fold_that_was_interrupted_is_done_again),
        TEST(worlds_and_a_reset_survive_a_restart),
        TEST(loaded_versions_and_new_ones_never_have_the_same_number),
        TEST(seeds_are_stored_with_the_first_commit_and_not_made_again),
        TEST(a_refreshed_model_opens_an_old_journal_and_loses_nothing),
        TEST(records_of_an_unknown_kind_stay_in_the_file),
    };

    install_failing_disk();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
