/* What a damaged or lost file has cost is said at start, and never passed over. */
#include "store/journal_fixture.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "store/db.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 40 };

/* Two folders: what a server has open, and what is found of it after kill -9. */
struct ground {
    char live[32], found[64];
    struct db *db;
};

static int make_ground(void **state)
{
    struct ground *ground = calloc(1, sizeof *ground);
    struct err err = ERR_INIT;

    snprintf(ground->live, sizeof ground->live, "/tmp/haar-loss-XXXXXX");
    assert_non_null(mkdtemp(ground->live));
    snprintf(ground->found, sizeof ground->found, "%s-found", ground->live);
    assert_int_equal(mkdir(ground->found, 0700), 0);
    assert_int_equal(db_open(ground->live, &ground->db, &err), 0);
    *state = ground;
    return 0;
}

static int remove_ground(void **state)
{
    struct ground *ground = *state;
    struct err err = ERR_INIT;

    disk_full = 0;
    fail_at = -1;
    db_close(ground->db);
    assert_int_equal(tree_remove(AT_FDCWD, ground->live, &err), 0);
    assert_int_equal(tree_remove(AT_FDCWD, ground->found, &err), 0);
    free(ground);
    return 0;
}

static const char *path_of(const char *folder, const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void append_rows(struct ground *ground, uint64_t first, uint64_t last)
{
    static const char doc[300];

    for (uint64_t seq = first; seq <= last; seq++) {
        struct op op = {OP_PUT, seq, .world = 1, .name = 1, .id = S("x"), .doc = {doc, sizeof doc}};
        struct err err = ERR_INIT;
        AUTO_BUF batch = BUF_INIT;

        batch_add(&batch, &op);
        assert_int_equal(db_append(ground->db, seq, (struct str){0}, buf_str(&batch), &err), 0);
    }
}

static void copy_now(struct ground *ground, const char *name)
{
    AUTO_BUF bytes = BUF_INIT;
    struct err err = ERR_INIT;

    assert_int_equal(file_read(AT_FDCWD, path_of(ground->live, name), &bytes, 1 << 26, &err), 0);
    assert_int_equal(file_write(AT_FDCWD, path_of(ground->found, name), buf_str(&bytes), 0600, &err), 0);
}

/* The state that kill -9 would leave now. At `flip` of the WAL a bit is the other; -1: none. */
static void kill_now(struct ground *ground, long flip)
{
    static const char *const names[] = {"state.db", "state.db-wal", "state.mark"};
    struct err err = ERR_INIT;

    unlink(path_of(ground->found, "state.db-wal.damaged"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        AUTO_BUF bytes = BUF_INIT;

        assert_int_equal(file_read(AT_FDCWD, path_of(ground->live, names[i]), &bytes, 1 << 26, &err), 0);
        if (i == 1 && flip >= 0)
            bytes.p[flip] ^= 0x10;
        assert_int_equal(file_write(AT_FDCWD, path_of(ground->found, names[i]), buf_str(&bytes), 0600, &err), 0);
    }
}

static long wal_size(const struct ground *ground)
{
    struct stat st;

    assert_int_equal(stat(path_of(ground->live, "state.db-wal"), &st), 0);
    return (long)st.st_size;
}

/* They come in order, and none is left out. */
static int next_row(void *cookie, const struct op *op, struct err *err)
{
    assert_int_equal(op->number, ++*(uint64_t *)cookie);
    return 0;
}

/* The newest commit that is found, and what the mark says that there was. */
static int start(struct ground *ground, uint64_t *ret_last, uint64_t *ret_written, struct err *err)
{
    uint64_t rows = 0;
    struct db *db;
    int64_t ms;
    int r = db_open(ground->found, &db, err);

    if (r < 0)
        return r;
    *ret_written = db_written(db, &ms);
    r = db_load(db, next_row, &rows, ret_last, err);
    assert_true(r < 0 || rows == *ret_last);
    db_close(db);
    return r;
}

static bool is_aside(const struct ground *ground)
{
    return access(path_of(ground->found, "state.db-wal.damaged"), F_OK) == 0;
}

static void a_flipped_bit_in_the_wal_loses_nothing_in_silence(void **state)
{
    struct ground *ground = *state;
    struct err err = ERR_INIT;
    uint64_t last, written;
    size_t lost = 0, whole = 0;

    append_rows(ground, 1, ROWS);
    for (long at = 0; at < wal_size(ground); at += 1009) {
        kill_now(ground, at);
        assert_int_equal(start(ground, &last, &written, &err), 0);
        assert_int_equal(written, ROWS);
        lost += last < ROWS;
        whole += last == ROWS;
    }
    assert_true(lost > 100);
    assert_int_equal(whole, 0);
    kill_now(ground, -1);
    assert_int_equal(start(ground, &last, &written, &err), 0);
    assert_int_equal(last, ROWS);
    kill_now(ground, -1);
    unlink(path_of(ground->found, "state.db-wal"));
    assert_int_equal(start(ground, &last, &written, &err), 0);
    assert_true(last < ROWS && written == ROWS);
}

static void a_damaged_wal_whose_frames_are_in_the_database_costs_nothing(void **state)
{
    struct ground *ground = *state;
    struct err err = ERR_INIT;
    uint64_t last, written;

    append_rows(ground, 1, ROWS);
    assert_int_equal(db_checkpoint(ground->db, &err), 0);
    for (long at = 0; at < wal_size(ground); at += 4099) {
        kill_now(ground, at);
        assert_int_equal(start(ground, &last, &written, &err), 0);
        assert_int_equal(last, ROWS);
        assert_true(is_aside(ground));
    }
    append_rows(ground, ROWS + 1, ROWS + 2); /* the WAL begins anew, over the old one */
    kill_now(ground, wal_size(ground) - 100);
    assert_int_equal(start(ground, &last, &written, &err), 0);
    assert_int_equal(last, ROWS + 2);
    kill_now(ground, 200);
    assert_int_equal(start(ground, &last, &written, &err), 0);
    assert_int_equal(last, ROWS);
    assert_int_equal(written, ROWS + 2);
}

/* Pages of the database are newer than what is left of the WAL, and nobody knows which. */
static void a_wal_damaged_while_it_was_copied_is_refused(void **state)
{
    struct ground *ground = *state;
    struct err err = ERR_INIT;
    uint64_t last, written;

    append_rows(ground, 1, ROWS);
    fail_at = 6;
    assert_int_equal(db_checkpoint(ground->db, &err), -1);
    kill_now(ground, -1);
    assert_int_equal(start(ground, &last, &written, &err), 0);
    assert_int_equal(last, ROWS);
    kill_now(ground, wal_size(ground) / 2);
    assert_int_equal(start(ground, &last, &written, &err), -1);
    assert_non_null(strstr(err.text, "is damaged at frame"));
    assert_int_equal(db_checkpoint(ground->db, &err), 0); /* the live one goes on */
    kill_now(ground, wal_size(ground) / 2);
    assert_int_equal(start(ground, &last, &written, &err), 0);
    assert_int_equal(last, ROWS);
}

/* As kill -9 leaves it the moment that SQLite has removed the WAL. */
static struct ground *closing;

static int remove_and_look(const char *path)
{
    static const char *const kept[] = {"state.db", "state.mark"};
    int r = unlink(path);

    if (str_ends(str_of(path), S("-wal")))
        for (size_t i = 0; i < ARRAY_LEN(kept); i++)
            copy_now(closing, kept[i]);
    return r;
}

static void who_is_killed_while_it_closes_has_lost_nothing(void **state)
{
    sqlite3_vfs *disk = sqlite3_vfs_find("unix");
    struct err err = ERR_INIT;
    uint64_t last, written;

    closing = *state;
    append_rows(closing, 1, ROWS);
    disk->xSetSystemCall(disk, "unlink", (sqlite3_syscall_ptr)remove_and_look);
    db_close(closing->db);
    disk->xSetSystemCall(disk, "unlink", NULL);
    assert_int_equal(access(path_of(closing->found, "state.db"), F_OK), 0);
    assert_int_equal(start(closing, &last, &written, &err), 0);
    assert_int_equal(last, ROWS);
    assert_int_equal(written, ROWS);
    assert_false(is_aside(closing));
    assert_int_equal(db_open(closing->live, &closing->db, &err), 0); /* for the teardown */
}

static void a_database_that_is_gone_is_not_taken_for_one_that_never_was(void **state)
{
    static const char *const witnesses[] = {"state.db-wal", "state.mark", "owner"};
    struct ground *ground = *state;
    struct err err = ERR_INIT;
    uint64_t last, written;

    for (size_t i = 0; i < 2 * ARRAY_LEN(witnesses); i++) {
        append_rows(ground, i + 1, i + 1);
        kill_now(ground, -1);
        assert_int_equal(file_write(AT_FDCWD, path_of(ground->found, "owner"), S("abcdefgh"), 0600, &err), 0);
        for (size_t k = 0; k < ARRAY_LEN(witnesses); k++)
            if (k != i / 2)
                unlink(path_of(ground->found, witnesses[k]));
        if (i % 2)
            assert_int_equal(truncate(path_of(ground->found, "state.db"), 0), 0);
        else
            unlink(path_of(ground->found, "state.db"));
        assert_int_equal(start(ground, &last, &written, &err), -1);
        assert_non_null(strstr(err.text, "missing or empty"));
        assert_non_null(strstr(err.text, witnesses[i / 2]));
        assert_int_equal(access(path_of(ground->found, witnesses[i / 2]), F_OK), 0);
    }
    unlink(path_of(ground->found, "owner"));
    unlink(path_of(ground->found, "state.mark"));
    assert_int_equal(start(ground, &last, &written, &err), 0); /* an empty file alone: a start that was cut short */
    assert_int_equal(last, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_flipped_bit_in_the_wal_loses_nothing_in_silence, make_ground, remove_ground),
        cmocka_unit_test_setup_teardown(a_damaged_wal_whose_frames_are_in_the_database_costs_nothing, make_ground,
                                        remove_ground),
        cmocka_unit_test_setup_teardown(a_wal_damaged_while_it_was_copied_is_refused, make_ground, remove_ground),
        cmocka_unit_test_setup_teardown(who_is_killed_while_it_closes_has_lost_nothing, make_ground, remove_ground),
        cmocka_unit_test_setup_teardown(a_database_that_is_gone_is_not_taken_for_one_that_never_was, make_ground,
                                        remove_ground),
    };

    install_failing_disk();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
