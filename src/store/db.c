#include "store/db_inside.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum {
    APPLICATION = 0x68616172, /* "haar", in the file's header */
    CHECKPOINT_PAGES = 4000,  /* 16 MiB of WAL when the writer is never idle */
};

static const char *const statement_text[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [APPEND] = "INSERT INTO log VALUES(?1, ?2, ?3)",
    [OLDEST] = "SELECT seq, batch, sum FROM log ORDER BY seq",
    [DROP] = "DELETE FROM log WHERE seq <= ?1",
    [PROGRESS] = "UPDATE progress SET folded = ?1",
    [PUT_NAME] = "INSERT OR REPLACE INTO name VALUES(?1, ?4)",
    [PUT_WORLD] = "INSERT OR REPLACE INTO world VALUES(?1, ?4, ?5)",
    [END_WORLD] = "DELETE FROM world WHERE number = ?1",
    [PUT_RECORD] = "INSERT OR REPLACE INTO record VALUES(?1, ?2, ?3, ?5, ?6, ?7)",
    [REMOVE_RECORD] = "DELETE FROM record WHERE created = ?1",
};

static const char schema[] =
    "BEGIN;"
    "CREATE TABLE name(number INTEGER PRIMARY KEY, text TEXT NOT NULL);"
    "CREATE TABLE world(number INTEGER PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL);"
    "CREATE TABLE record(created INTEGER PRIMARY KEY, world INTEGER NOT NULL, kind INTEGER NOT NULL, id TEXT NOT NULL,"
    " doc BLOB NOT NULL, sum INTEGER NOT NULL);"
    "CREATE TABLE log(seq INTEGER PRIMARY KEY, batch BLOB NOT NULL, sum INTEGER NOT NULL);"
    "CREATE TABLE progress(one INTEGER PRIMARY KEY CHECK(one = 1), folded INTEGER NOT NULL);"
    "INSERT INTO progress VALUES(1, 0);"
    "PRAGMA application_id = 0x68616172;"
    "PRAGMA user_version = 1;"
    "COMMIT";

int db_fail(const struct db *db, const char *what, struct err *err)
{
    int code = sqlite3_extended_errcode(db->sqlite);

    if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB)
        return err_plain(err, "%s is damaged (%s)", db->path, sqlite3_errmsg(db->sqlite));
    if ((code & 0xff) == SQLITE_BUSY)
        return err_plain(err, "%s is in use by another process", db->path);
    return err_plain(err, "%s %s: %s", what, db->path, sqlite3_errmsg(db->sqlite));
}

int db_damaged(const struct db *db, const char *what, uint64_t number, struct err *err)
{
    return err_plain(err, "%s is damaged: %s %llu", db->path, what, (unsigned long long)number);
}

static int execute(struct db *db, const char *sql, struct err *err)
{
    return sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(db, "open", err);
}

int db_number(struct db *db, const char *sql, int64_t *ret, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int r = sqlite3_prepare_v2(db->sqlite, sql, -1, &statement, NULL);

    if (r == SQLITE_OK)
        r = sqlite3_step(statement);
    if (r == SQLITE_ROW)
        *ret = sqlite3_column_int64(statement, 0);
    else
        db_fail(db, "read", err);
    sqlite3_finalize(statement);
    return r == SQLITE_ROW ? 0 : -1;
}

/* Makes the tables of an empty file; refuses one that is not ours or that a later version wrote. */
static int check_format(struct db *db, struct err *err)
{
    int64_t application, format, tables;

    if (db_number(db, "PRAGMA application_id", &application, err) < 0 ||
        db_number(db, "PRAGMA user_version", &format, err) < 0 ||
        db_number(db, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
        return -1;
    if (tables == 0 && application == 0)
        return execute(db, schema, err);
    if (application != APPLICATION)
        return err_plain(err, "%s is not haar's: another program made it", db->path);
    if (format != DB_FORMAT)
        return err_plain(err, "%s has format %lld, and this haar reads %d", db->path, (long long)format, DB_FORMAT);
    return 0;
}

static int prepare(struct db *db, struct err *err)
{
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(db->sqlite, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[i], NULL))
            return db_fail(db, "open", err);
    return 0;
}

static int set_up(struct db *db, struct err *err)
{
    int r = execute(db,
                    "PRAGMA locking_mode = EXCLUSIVE;"
                    "PRAGMA journal_mode = WAL;"
                    "PRAGMA synchronous = NORMAL;"
                    "PRAGMA journal_size_limit = 16777216;"
                    "PRAGMA temp_store = MEMORY;"
                    "PRAGMA cell_size_check = ON",
                    err);

    db_mark_commits(db); /* instead of SQLite's own checkpoints: db_written_up_to */
    if (r == 0)
        r = check_format(db, err);
    return r == 0 ? prepare(db, err) : r;
}

/* An empty file is none. */
static bool is_there(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_size > 0;
}

/* Who has lost it must not find an empty cloud, whose machines would be taken for nobody's. */
static int check_lost(const struct db *db, const char *folder, struct err *err)
{
    static const char *const companions[] = {"state.db-wal", "state.mark", "owner"};

    for (size_t i = 0; i < ARRAY_LEN(companions) && !is_there(db->path); i++) {
        AUTO_FREE char *path = mem_printf("%s/%s", folder, companions[i]);

        if (is_there(path))
            return err_plain(
                err,
                "%s is missing or empty, though %s says that there was one: put it back from a copy; or, to "
                "begin with nothing, remove state.db-wal, state.mark and owner from %s too",
                db->path, path, folder);
    }
    return 0;
}

/* Without a mark a loss is not noticed, but nothing else lacks. */
static int open_mark(struct db *db, struct err *err)
{
    int r = mark_open(db->mark_path, &db->mark, &db->mark_fd, err);

    if (r == -EBUSY)
        return err_plain(err, "%s is in use by another process", db->path);
    if (r < 0)
        log_warning("%s; a loss of changes would not be noticed", err->text);
    db->marked = r > 0;
    return 0;
}

/* Records may hold secrets: the file is made for its owner only, and SQLite makes its companions alike. */
static int make_private(const char *path, struct err *err)
{
    AUTO_FD fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

    return fd >= 0 || errno == EEXIST ? 0 : err_os(err, errno, "make %s", path);
}

int db_open(const char *folder, struct db **ret, struct err *err)
{
    struct db *db;
    int r = dir_make(folder, 0700, err);

    if (r < 0)
        return r;
    db = mem_alloc(sizeof *db);
    db->path = mem_printf("%s/state.db", folder);
    db->wal_path = mem_printf("%s-wal", db->path);
    db->mark_path = mem_printf("%s/state.mark", folder);
    db->mark_fd = -1;
    r = check_lost(db, folder, err);
    if (r == 0)
        r = open_mark(db, err);
    if (r == 0)
        r = make_private(db->path, err);
    if (r == 0)
        r = db_check_wal(db, err);
    /* No mutexes: it is opened and loaded on the loop's thread, and from then on the writer's alone. */
    if (r == 0 &&
        sqlite3_open_v2(db->path, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL))
        r = db_fail(db, "open", err);
    if (r == 0)
        r = set_up(db, err);
    if (r < 0) {
        db_close(db);
        return r;
    }
    db->marked = true;
    db_mark(db, 0);
    *ret = db;
    return 0;
}

int db_make(const char *folder, struct err *err)
{
    AUTO_FREE char *path = mem_printf("%s/state.db", folder);
    struct db *db;
    int r;

    if (is_there(path))
        return 0;
    r = db_open(folder, &db, err);
    if (r == 0)
        db_close(db);
    return r;
}

void db_close(struct db *db)
{
    struct err ignored = ERR_INIT;

    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    if (db->sqlite) {
        db_checkpoint(db, &ignored); /* and that is marked, so that nobody who finds no WAL misses one */
        sqlite3_close(db->sqlite);   /* which removes the WAL */
        db_mark_closed(db);
    }
    fd_close(&db->mark_fd);
    chunk_free(db);
    free(db->path);
    free(db->wal_path);
    free(db->mark_path);
    free(db);
}

struct str db_column(sqlite3_stmt *statement, int n)
{
    const void *p = sqlite3_column_blob(statement, n); /* before its size: it may convert */

    return (struct str){p ? p : "", (size_t)sqlite3_column_bytes(statement, n)};
}

int db_run(struct db *db, enum statement which, struct err *err)
{
    sqlite3_stmt *statement = db->statements[which];
    int r = sqlite3_step(statement) == SQLITE_DONE ? 0 : db_fail(db, "write", err);

    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return r;
}

static void bind_text(sqlite3_stmt *statement, int n, struct str s)
{
    sqlite3_bind_text64(statement, n, s.p, s.len, SQLITE_STATIC, SQLITE_UTF8);
}

uint64_t db_record_sum(const struct op *op)
{
    return bytes_sum(op->doc) ^ bytes_sum(op->id) * 3 ^ (op->number * 5 + op->world * 7 + op->name * 11);
}

size_t db_log_bytes(const struct db *db)
{
    return db->log_bytes;
}

static enum statement statement_of(enum op_kind kind)
{
    switch (kind) {
    case OP_NAME:
        return PUT_NAME;
    case OP_WORLD:
        return PUT_WORLD;
    case OP_WORLD_END:
        return END_WORLD;
    case OP_PUT:
        return PUT_RECORD;
    case OP_REMOVE:
        return REMOVE_RECORD;
    }
    abort();
}

/* The statements number their parameters alike, so that one function binds them; what a statement lacks is not bound.
 */
int db_apply(struct db *db, const struct op *op, struct err *err)
{
    enum statement which = statement_of(op->kind);
    sqlite3_stmt *statement = db->statements[which];

    sqlite3_bind_int64(statement, 1, (int64_t)op->number);
    if (op->kind == OP_PUT) {
        sqlite3_bind_int64(statement, 2, (int64_t)op->world);
        sqlite3_bind_int64(statement, 3, (int64_t)op->name);
        sqlite3_bind_blob64(statement, 6, op->doc.p, op->doc.len, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 7, (int64_t)db_record_sum(op));
    }
    if (op->kind == OP_NAME || op->kind == OP_WORLD)
        bind_text(statement, 4, op->text);
    if (op->kind == OP_WORLD || op->kind == OP_PUT)
        bind_text(statement, 5, op->id);
    return db_run(db, which, err);
}

static int append_row(struct db *db, uint64_t seq, struct str batch, struct err *err)
{
    sqlite3_stmt *statement = db->statements[APPEND];

    sqlite3_bind_int64(statement, 1, (int64_t)seq);
    sqlite3_bind_blob64(statement, 2, batch.p, batch.len, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, (int64_t)bytes_sum(batch));
    return db_run(db, APPEND, err);
}

void db_roll_back(struct db *db)
{
    struct err ignored;

    if (!sqlite3_get_autocommit(db->sqlite)) /* some failures have done it already */
        db_run(db, ROLLBACK, &ignored);
}

static int append_with_names(struct db *db, uint64_t seq, struct str names, struct str batch, struct err *err)
{
    struct op op;
    int r = db_run(db, BEGIN, err);

    while (r == 0 && batch_next(&names, &op) > 0)
        r = db_apply(db, &op, err);
    if (r == 0)
        r = append_row(db, seq, batch, err);
    if (r == 0)
        r = db_run(db, COMMIT, err);
    if (r < 0)
        db_roll_back(db);
    return r;
}

/* A checkpoint that fails here is tried again after the next, and told by the one that the idle writer makes. */
void db_written_up_to(struct db *db, uint64_t seq)
{
    struct err ignored;

    db_mark(db, seq);
    if (db->mark.frames >= CHECKPOINT_PAGES && db->mark.moved < db->mark.frames)
        db_checkpoint(db, &ignored);
}

int db_append(struct db *db, uint64_t seq, struct str names, struct str batch, struct err *err)
{
    /* A statement alone is a transaction, and cheaper than one between BEGIN and COMMIT. */
    int r = names.len ? append_with_names(db, seq, names, batch, err) : append_row(db, seq, batch, err);

    if (r < 0)
        return r;
    db->log_bytes += batch.len;
    db_written_up_to(db, seq);
    return 0;
}

int db_checkpoint(struct db *db, struct err *err)
{
    int frames = 0;

    db_mark_copying(db);
    if (sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, &frames) != SQLITE_OK)
        return db_fail(db, "checkpoint", err);
    db_mark_copied(db, (uint64_t)frames);
    return 0;
}
