#include "store/store.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/db.h"
#include "store/test_model.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * A disk that fails: SQLite's own file functions with ours in front of writing and syncing.
 */

static atomic_int disk_stuck;   /* writes wait while it is set */
static atomic_int disk_full;    /* every write fails */
static atomic_int fail_at = -1; /* the n-th from now fails, once */
static sqlite3_vfs failing_vfs, *real_vfs;
static struct {
    const sqlite3_io_methods *real;
    sqlite3_io_methods failing;
} methods[4];

static bool has_to_fail(void)
{
    return disk_full || (fail_at >= 0 && atomic_fetch_sub(&fail_at, 1) == 0);
}

static const sqlite3_io_methods *real_methods(sqlite3_file *file)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (file->pMethods == &methods[i].failing)
            return methods[i].real;
    abort();
}

static int failing_write(sqlite3_file *file, const void *p, int size, sqlite3_int64 at)
{
    while (disk_stuck)
        usleep(1000);
    if (has_to_fail())
        return SQLITE_FULL;
    return real_methods(file)->xWrite(file, p, size, at);
}

static int failing_sync(sqlite3_file *file, int flags)
{
    return has_to_fail() ? SQLITE_IOERR_FSYNC : real_methods(file)->xSync(file, flags);
}

static int failing_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *ret_flags)
{
    int r = real_vfs->xOpen(real_vfs, name, file, flags, ret_flags);

    for (size_t i = 0; r == SQLITE_OK && i < ARRAY_LEN(methods); i++) {
        if (methods[i].real && methods[i].real != file->pMethods)
            continue;
        methods[i].real = file->pMethods;
        methods[i].failing = *file->pMethods;
        methods[i].failing.xWrite = failing_write;
        methods[i].failing.xSync = failing_sync;
        file->pMethods = &methods[i].failing;
        break;
    }
    return r;
}

static void install_failing_disk(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    failing_vfs = *real_vfs;
    failing_vfs.zName = "failing";
    failing_vfs.xOpen = failing_open;
    sqlite3_vfs_register(&failing_vfs, 1);
}

struct fixture {
    uv_loop_t loop;
    char folder[32], path[64];
    const struct store_kind *kinds;
    size_t kind_count;
    struct store *store;
    struct world *world;
    struct arena arena;
    struct tx *tx;
    size_t changes;
    uint64_t newest_change;
};

static void on_change(void *cookie, const struct change *change)
{
    struct fixture *f = cookie;

    assert_true(change->number <= store_durable(f->store));
    assert_true(change->number >= f->newest_change);
    f->newest_change = change->number;
    f->changes++;
}

static int try_open(struct fixture *f, struct err *err)
{
    struct store_options options = {f->kinds, f->kind_count, f->folder, &f->loop};
    int r = store_open(&options, &f->store, err);

    if (r < 0) {
        f->store = NULL;
        return r;
    }
    store_subscribe(f->store, on_change, f);
    f->world = store_world(f->store, S("111111111111"), S("eu-west-1"));
    f->changes = 0;
    f->newest_change = 0;
    return 0;
}

static void open_store(struct fixture *f)
{
    struct err err = ERR_INIT;

    if (try_open(f, &err) < 0)
        fail_msg("%s", err.text);
}

static void close_store(struct fixture *f)
{
    if (f->store)
        store_close(f->store);
    f->store = NULL;
    uv_run(&f->loop, UV_RUN_DEFAULT);
}

static void reopen(struct fixture *f)
{
    close_store(f);
    open_store(f);
}

static int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof *f);

    uv_loop_init(&f->loop);
    memcpy(f->folder, "/tmp/haar-store-XXXXXX", 23);
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/state.db", f->folder);
    f->kinds = model_kinds();
    f->kind_count = KIND_COUNT;
    open_store(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    disk_full = 0;
    fail_at = -1;
    close_store(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    assert_int_equal(tree_remove(AT_FDCWD, f->folder, &err), 0);
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

    if (tx_commit(f->tx, &err) < 0)
        fail_msg("%s", err.text);
}

static int create_thing(struct fixture *f, int n, struct err *err)
{
    struct thing *thing;
    char id[16];

    snprintf(id, sizeof id, "t-%d", n);
    begin(f);
    thing = tx_create(f->tx, THING, str_of(id));
    thing->owner = S("ann");
    thing->size = INT(n);
    return tx_commit(f->tx, err);
}

static void create_things(struct fixture *f, int first, int count)
{
    struct err err = ERR_INIT;

    for (int i = first; i < first + count; i++)
        if (create_thing(f, i, &err) < 0)
            fail_msg("%s", err.text);
}

static const struct thing *get_thing(struct fixture *f, int n)
{
    const struct thing *thing;
    char id[16];

    snprintf(id, sizeof id, "t-%d", n);
    begin(f);
    thing = tx_get(f->tx, THING, str_of(id));
    tx_rollback(f->tx);
    return thing;
}

static size_t count_things(struct fixture *f)
{
    size_t count;

    begin(f);
    count = tx_count(f->tx, THING);
    tx_rollback(f->tx);
    return count;
}

static void set_flag(void *cookie)
{
    *(bool *)cookie = true;
}

/* Runs the loop until everything is durable, but not for ever. */
static bool settle(struct fixture *f)
{
    uint64_t until = uv_hrtime() + 20000000000u;

    while (store_durable(f->store) < store_last(f->store) && uv_hrtime() < until) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(100);
    }
    return store_durable(f->store) == store_last(f->store);
}

static int64_t query(struct fixture *f, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    int64_t n;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    n = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return n;
}

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

static void a_full_disk_stops_answers_and_heals_by_itself(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    bool done = false;

    create_things(f, 0, 1);
    assert_true(settle(f));
    f->changes = 0;
    disk_full = 1;
    create_things(f, 1, 1);
    store_when_durable(f->store, store_last(f->store), set_flag, &done);
    for (int i = 0; i < 200 && store_healthy(f->store); i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_false(store_healthy(f->store));
    assert_true(create_thing(f, 2, &err) < 0);
    assert_true(err.text[0] && !err.aws);
    assert_null(get_thing(f, 2));
    assert_false(done);
    assert_int_equal(f->changes, 0);

    disk_full = 0;
    assert_true(settle(f));
    assert_true(done);
    assert_true(store_healthy(f->store));
    assert_int_equal(f->changes, 1);
    create_things(f, 2, 1);
    reopen(f);
    assert_int_equal(count_things(f), 3);
}

static void closing_on_a_full_disk_ends(void **state)
{
    struct fixture *f = *state;
    uint64_t start = uv_hrtime();

    create_things(f, 0, 1);
    disk_full = 1;
    close_store(f);
    assert_true(uv_hrtime() - start < 8000000000u);
    disk_full = 0;
    open_store(f);
    assert_int_equal(count_things(f), 0);
}

static void a_stuck_disk_takes_no_more_than_the_cap(void **state)
{
    struct fixture *f = *state;
    struct str megabyte = {mem_alloc(1 << 20), 1 << 20};
    struct err err = ERR_INIT;
    size_t accepted = 0;
    int r = 0;

    create_things(f, 0, 1);
    assert_true(settle(f));
    disk_stuck = 1;
    for (int n = 1; n < 200 && r == 0; n++) {
        begin(f);
        ((struct thing *)tx_create(f->tx, THING, arena_printf(&f->arena, "t-%d", n)))->bytes = megabyte;
        r = tx_commit(f->tx, &err);
        accepted += r == 0;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    disk_stuck = 0;
    assert_true(r < 0 && strstr(err.text, "behind"));
    assert_true(accepted >= 60 && accepted <= 68);
    assert_true(settle(f));
    assert_int_equal(count_things(f), 1 + accepted);
    free((char *)megabyte.p);
}

/* Every write and sync of a short life, the n-th failing: nothing that was accepted is lost, nothing else is there. */
static void a_failure_of_the_nth_write_loses_nothing(void **state)
{
    struct fixture *f = *state;

    for (int n = 0; n < 60; n++) {
        bool accepted[20];
        int r;

        f->world = store_world(f->store, arena_printf(&f->arena, "%012d", n), S("eu-west-1"));
        fail_at = n;
        for (int i = 0; i < 20; i++) {
            struct err err = ERR_INIT;
            accepted[i] = create_thing(f, i, &err) == 0;
            r = i % 3 ? uv_run(&f->loop, UV_RUN_NOWAIT) : settle(f);
            (void)r;
        }
        usleep(n % 10 == 0 ? 80000 : 0); /* folding and its checkpoint fail too */
        assert_true(settle(f));
        reopen(f);
        fail_at = -1;
        f->world = store_world(f->store, arena_printf(&f->arena, "%012d", n), S("eu-west-1"));
        for (int i = 0; i < 20; i++)
            assert_int_equal(get_thing(f, i) != NULL, accepted[i]);
    }
}

static void refuses(struct fixture *f, const char *why)
{
    struct err err = ERR_INIT;

    assert_true(try_open(f, &err) < 0);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    if (!strstr(err.text, why))
        fail_msg("'%s' does not say '%s'", err.text, why);
}

static void a_file_that_is_not_ours_or_newer_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    create_things(f, 0, 1);
    close_store(f);
    query(f, "PRAGMA user_version = 7");
    refuses(f, "has format 7");
    query(f, "PRAGMA user_version = 1");
    query(f, "PRAGMA application_id = 1");
    refuses(f, "is not haar's");
    assert_int_equal(
        file_write(AT_FDCWD, f->path, S("no database at all, but long enough to be looked at"), 0600, &err), 0);
    refuses(f, "damaged");
}

static void a_store_that_another_has_open_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store *first = f->store;

    refuses(f, "in use");
    f->store = first;
}

static void a_damaged_file_is_an_error_or_harmless_but_never_a_crash(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_BUF good = BUF_INIT;
    size_t refused = 0;

    create_things(f, 0, 400);
    assert_true(settle(f));
    usleep(150000);
    create_things(f, 400, 50);
    close_store(f);
    assert_int_equal(file_read(AT_FDCWD, f->path, &good, 1 << 26, &err), 0);
    for (size_t at = 100; at < good.len; at += 211) {
        char kept = good.p[at];

        good.p[at] = (char)~kept;
        assert_int_equal(file_write(AT_FDCWD, f->path, buf_str(&good), 0600, &err), 0);
        good.p[at] = kept;
        err = ERR_INIT;
        if (try_open(f, &err) < 0) {
            assert_true(err.text[0]);
            refused++;
        }
        close_store(f);
    }
    assert_true(refused > 10);
    assert_int_equal(file_write(AT_FDCWD, f->path, str_first(buf_str(&good), good.len / 2), 0600, &err), 0);
    refuses(f, "damaged");
}

/* The child: each commit adds t-n and moves box b's label to n; says n on the pipe when that is durable. */

struct writing {
    struct fixture *f;
    int out, next;
};

static void say_durable(void *cookie)
{
    struct writing *w = cookie;
    uint64_t durable = store_durable(w->f->store);

    if (write(w->out, &durable, sizeof durable) != sizeof durable)
        _exit(1);
}

static void child(struct fixture *f, int out)
{
    struct writing w = {f, out, 0};
    struct err err;
    char text[16];

    open_store(f);
    w.next = (int)store_last(f->store);
    for (;;) {
        for (int i = 0; i < 1 + w.next % 7; i++) {
            struct thing *thing;
            struct box *box;

            w.next++;
            snprintf(text, sizeof text, "t-%d", w.next);
            begin(f);
            thing = tx_create(f->tx, THING, str_of(text));
            thing->size = INT(w.next);
            box = w.next == 1 ? tx_create(f->tx, BOX, S("b")) : tx_edit(f->tx, BOX, S("b"));
            box->label = str_of(text + 2);
            if (tx_commit(f->tx, &err) < 0 || store_last(f->store) != (uint64_t)w.next)
                _exit(2);
        }
        store_when_durable(f->store, store_last(f->store), say_durable, &w);
        uv_run(&f->loop, UV_RUN_NOWAIT);
        if (w.next % 97 == 0)
            usleep(60000); /* long enough for the writer to start folding */
        arena_reset(&f->arena);
    }
}

/* All commits up to some one, and at least those that the child said. */
static void check_after_kill(struct fixture *f, uint64_t said)
{
    const struct box *box;
    uint64_t last;
    int64_t label = 0;

    open_store(f);
    last = store_last(f->store);
    assert_true(last >= said);
    assert_int_equal(count_things(f), last);
    begin(f);
    box = tx_get(f->tx, BOX, S("b"));
    assert_true(last == 0 || str_to_int(box->label, &label));
    assert_int_equal(label, last);
    tx_rollback(f->tx);
    for (uint64_t n = 1; n <= last; n++)
        assert_int_equal(get_thing(f, (int)n)->size.value, n);
    close_store(f);
}

static void kill_9_at_any_time_loses_nothing_that_was_said_durable(void **state)
{
    struct fixture *f = *state;
    uint64_t said = 0;

    close_store(f);
    for (int round = 0; round < 50; round++) {
        int ends[2], status;
        uint64_t durable;
        pid_t pid;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            uv_loop_init(&f->loop);
            child(f, ends[1]);
        }
        close(ends[1]);
        usleep((useconds_t)(5000 + round * 1709 % 60000));
        kill(pid, SIGKILL);
        while (read(ends[0], &durable, sizeof durable) == sizeof durable)
            said = durable;
        close(ends[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        check_after_kill(f, said);
    }
    assert_true(said > 100);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_committed_is_there_after_a_restart_in_order),
        TEST(nobody_hears_of_a_commit_before_it_is_durable),
        TEST(an_idle_writer_folds_the_log_into_records),
        TEST(a_fold_that_was_interrupted_is_done_again),
        TEST(worlds_and_a_reset_survive_a_restart),
        TEST(seeds_are_stored_with_the_first_commit_and_not_made_again),
        TEST(a_refreshed_model_opens_an_old_journal_and_loses_nothing),
        TEST(records_of_an_unknown_kind_stay_in_the_file),
        TEST(a_full_disk_stops_answers_and_heals_by_itself),
        TEST(a_stuck_disk_takes_no_more_than_the_cap),
        TEST(closing_on_a_full_disk_ends),
        TEST(a_failure_of_the_nth_write_loses_nothing),
        TEST(a_file_that_is_not_ours_or_newer_is_refused),
        TEST(a_store_that_another_has_open_is_refused),
        TEST(a_damaged_file_is_an_error_or_harmless_but_never_a_crash),
        TEST(kill_9_at_any_time_loses_nothing_that_was_said_durable),
    };

    install_failing_disk();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
