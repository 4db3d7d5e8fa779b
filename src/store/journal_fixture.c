#include "store/journal_fixture.h"
#include "base/fd.h"
#include "base/mem.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

/*
 * A disk that fails: SQLite's own file functions with ours in front of writing and syncing.
 */

atomic_int disk_stuck;
atomic_int disk_full;
atomic_int fail_at = -1;
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
    if (has_to_fail()) {
        real_methods(file)->xWrite(file, p, size / 2, at); /* what there was room for */
        return SQLITE_FULL;
    }
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

void install_failing_disk(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    failing_vfs = *real_vfs;
    failing_vfs.zName = "failing";
    failing_vfs.xOpen = failing_open;
    sqlite3_vfs_register(&failing_vfs, 1);
}

static void on_change(void *cookie, const struct change *change)
{
    struct fixture *f = cookie;

    assert_true(change->number <= store_durable(f->store));
    assert_true(change->number >= f->newest_change);
    f->newest_change = change->number;
    f->changes++;
}

int try_open(struct fixture *f, struct err *err)
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

void open_store(struct fixture *f)
{
    struct err err = ERR_INIT;

    if (try_open(f, &err) < 0)
        fail_msg("%s", err.text);
}

void close_store(struct fixture *f)
{
    if (f->store)
        store_close(f->store);
    f->store = NULL;
    uv_run(&f->loop, UV_RUN_DEFAULT);
}

void reopen(struct fixture *f)
{
    close_store(f);
    open_store(f);
}

int setup(void **state)
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

int teardown(void **state)
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

struct tx *begin(struct fixture *f)
{
    return f->tx = tx_begin(f->store, f->world, &f->arena, S("Test"));
}

void commit(struct fixture *f)
{
    struct err err = ERR_INIT;

    if (tx_commit(f->tx, &err) < 0)
        fail_msg("%s", err.text);
}

int create_thing(struct fixture *f, int n, struct err *err)
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

void create_things(struct fixture *f, int first, int count)
{
    struct err err = ERR_INIT;

    for (int i = first; i < first + count; i++)
        if (create_thing(f, i, &err) < 0)
            fail_msg("%s", err.text);
}

const struct thing *get_thing(struct fixture *f, int n)
{
    const struct thing *thing;
    char id[16];

    snprintf(id, sizeof id, "t-%d", n);
    begin(f);
    thing = tx_get(f->tx, THING, str_of(id));
    tx_rollback(f->tx);
    return thing;
}

size_t count_things(struct fixture *f)
{
    size_t count;

    begin(f);
    count = tx_count(f->tx, THING);
    tx_rollback(f->tx);
    return count;
}

void set_flag(void *cookie, bool durable)
{
    *(bool *)cookie = durable;
}

/* Runs the loop until everything is durable, but not for ever. */
bool settle(struct fixture *f)
{
    uint64_t until = uv_hrtime() + 20000000000u;

    while (store_durable(f->store) < store_last(f->store) && uv_hrtime() < until) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(100);
    }
    return store_durable(f->store) == store_last(f->store);
}

int64_t query(struct fixture *f, const char *sql)
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
