#include "store/db.h"

#include "base/fd.h"
#include "base/mem.h"
#include "store/wire.h"

#include <sqlite3.h>

enum {
    APPLICATION = 0x68616172, /* "haar", in the file's header */
    CHECKPOINT_PAGES = 4000,  /* 16 MiB of WAL when the writer is never idle */
};

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    APPEND,
    OLDEST,
    DROP,
    PROGRESS,
    PUT_NAME,
    PUT_WORLD,
    END_WORLD,
    PUT_RECORD,
    REMOVE_RECORD,
    STATEMENTS,
};

static const char *const statement_text[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [APPEND] = "INSERT INTO log VALUES(?1, ?2, ?3)",
    [OLDEST] = "SELECT seq, batch, sum FROM log ORDER BY seq LIMIT 1",
    [DROP] = "DELETE FROM log WHERE seq = ?1",
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

struct db {
    sqlite3 *sqlite;
    sqlite3_stmt *statements[STATEMENTS];
    char *path;
    size_t log_bytes;
    struct buf row; /* the log's oldest, while it is folded */
    uint64_t row_seq;
    size_t row_done; /* bytes of it that are folded */
};

static int fail(const struct db *db, const char *what, struct err *err)
{
    int code = sqlite3_extended_errcode(db->sqlite);

    if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB)
        return err_plain(err, "%s is damaged (%s)", db->path, sqlite3_errmsg(db->sqlite));
    if ((code & 0xff) == SQLITE_BUSY)
        return err_plain(err, "%s is in use by another process", db->path);
    return err_plain(err, "%s %s: %s", what, db->path, sqlite3_errmsg(db->sqlite));
}

static int damaged(const struct db *db, const char *what, uint64_t number, struct err *err)
{
    return err_plain(err, "%s is damaged: %s %llu", db->path, what, (unsigned long long)number);
}

static int execute(struct db *db, const char *sql, struct err *err)
{
    return sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, "open", err);
}

static int query_number(struct db *db, const char *sql, int64_t *ret, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int r = sqlite3_prepare_v2(db->sqlite, sql, -1, &statement, NULL);

    if (r == SQLITE_OK)
        r = sqlite3_step(statement);
    if (r == SQLITE_ROW)
        *ret = sqlite3_column_int64(statement, 0);
    else
        fail(db, "read", err);
    sqlite3_finalize(statement);
    return r == SQLITE_ROW ? 0 : -1;
}

/* Makes the tables of an empty file; refuses one that is not ours or that a later version wrote. */
static int check_format(struct db *db, struct err *err)
{
    int64_t application, format, tables;

    if (query_number(db, "PRAGMA application_id", &application, err) < 0 ||
        query_number(db, "PRAGMA user_version", &format, err) < 0 ||
        query_number(db, "SELECT count(*) FROM sqlite_schema", &tables, err) < 0)
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
            return fail(db, "open", err);
    return 0;
}

static int set_up(struct db *db, struct err *err)
{
    int r = execute(db,
                    "PRAGMA locking_mode = EXCLUSIVE;"
                    "PRAGMA journal_mode = WAL;"
                    "PRAGMA synchronous = NORMAL;"
                    "PRAGMA temp_store = MEMORY;"
                    "PRAGMA cell_size_check = ON",
                    err);

    sqlite3_wal_autocheckpoint(db->sqlite, CHECKPOINT_PAGES);
    if (r == 0)
        r = check_format(db, err);
    return r == 0 ? prepare(db, err) : r;
}

int db_open(const char *folder, struct db **ret, struct err *err)
{
    struct db *db;
    int r = dir_make(folder, 0700, err);

    if (r < 0)
        return r;
    db = mem_alloc(sizeof *db);
    db->path = mem_printf("%s/state.db", folder);
    /* No mutexes: it is opened and loaded on the loop's thread, and from then on the writer's alone. */
    if (sqlite3_open_v2(db->path, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL))
        r = fail(db, "open", err);
    else
        r = set_up(db, err);
    if (r < 0) {
        db_close(db);
        return r;
    }
    *ret = db;
    return 0;
}

void db_close(struct db *db)
{
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->sqlite);
    buf_free(&db->row);
    free(db->path);
    free(db);
}

static struct str column(sqlite3_stmt *statement, int n)
{
    const void *p = sqlite3_column_blob(statement, n); /* before its size: it may convert */

    return (struct str){p ? p : "", (size_t)sqlite3_column_bytes(statement, n)};
}

/* Runs a statement that returns no rows, and lets go of what is bound to it. */
static int run(struct db *db, enum statement which, struct err *err)
{
    sqlite3_stmt *statement = db->statements[which];
    int r = sqlite3_step(statement) == SQLITE_DONE ? 0 : fail(db, "write", err);

    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return r;
}

static void bind_text(sqlite3_stmt *statement, int n, struct str s)
{
    sqlite3_bind_text64(statement, n, s.p, s.len, SQLITE_STATIC, SQLITE_UTF8);
}

static uint64_t record_sum(const struct op *op)
{
    return bytes_sum(op->doc) ^ bytes_sum(op->id) * 3 ^ (op->number * 5 + op->world * 7 + op->name * 11);
}

/*
 * Loading.
 */

struct load {
    struct db *db;
    int (*each)(void *cookie, const struct op *op, struct err *err);
    void *cookie;
    uint64_t last;
};

static int load_name(struct load *load, sqlite3_stmt *row, struct err *err)
{
    struct op op = {OP_NAME, (uint64_t)sqlite3_column_int64(row, 0), .text = column(row, 1)};

    return load->each(load->cookie, &op, err);
}

static int load_world(struct load *load, sqlite3_stmt *row, struct err *err)
{
    struct op op = {OP_WORLD, (uint64_t)sqlite3_column_int64(row, 0), .text = column(row, 1), .id = column(row, 2)};

    return load->each(load->cookie, &op, err);
}

static int load_record(struct load *load, sqlite3_stmt *row, struct err *err)
{
    struct op op = {
        .kind = OP_PUT,
        .number = (uint64_t)sqlite3_column_int64(row, 0),
        .world = (uint64_t)sqlite3_column_int64(row, 1),
        .name = (uint64_t)sqlite3_column_int64(row, 2),
        .id = column(row, 3),
        .doc = column(row, 4),
    };

    if (record_sum(&op) != (uint64_t)sqlite3_column_int64(row, 5))
        return damaged(load->db, "record", op.number, err);
    return load->each(load->cookie, &op, err);
}

static int load_row(struct load *load, sqlite3_stmt *row, struct err *err)
{
    uint64_t seq = (uint64_t)sqlite3_column_int64(row, 0);
    struct str batch = column(row, 1);
    struct op op;
    int r;

    if (bytes_sum(batch) != (uint64_t)sqlite3_column_int64(row, 2))
        return damaged(load->db, "row of the log", seq, err);
    load->db->log_bytes += batch.len;
    load->last = seq;
    while ((r = batch_next(&batch, &op)) > 0) {
        r = load->each(load->cookie, &op, err);
        if (r < 0)
            return r;
    }
    return r < 0 ? damaged(load->db, "row of the log", seq, err) : 0;
}

static int load_table(struct load *load, const char *sql, int (*each)(struct load *, sqlite3_stmt *, struct err *),
                      struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int r = sqlite3_prepare_v2(load->db->sqlite, sql, -1, &statement, NULL);

    while (r == SQLITE_OK && (r = sqlite3_step(statement)) == SQLITE_ROW)
        r = each(load, statement, err) < 0 ? SQLITE_ABORT : SQLITE_OK;
    if (r != SQLITE_DONE && r != SQLITE_ABORT)
        fail(load->db, "read", err);
    sqlite3_finalize(statement);
    return r == SQLITE_DONE ? 0 : -1;
}

int db_load(struct db *db, int (*each)(void *cookie, const struct op *op, struct err *err), void *cookie,
            uint64_t *ret_last, struct err *err)
{
    struct load load = {db, each, cookie, 0};
    int64_t folded;

    if (query_number(db, "SELECT folded FROM progress", &folded, err) < 0)
        return -1;
    load.last = (uint64_t)folded;
    if (load_table(&load, "SELECT * FROM name ORDER BY number", load_name, err) < 0 ||
        load_table(&load, "SELECT * FROM world ORDER BY number", load_world, err) < 0 ||
        load_table(&load, "SELECT * FROM record ORDER BY created", load_record, err) < 0 ||
        load_table(&load, "SELECT * FROM log ORDER BY seq", load_row, err) < 0)
        return -1;
    *ret_last = load.last;
    return 0;
}

/*
 * Writing.
 */

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
static int fold_op(struct db *db, const struct op *op, struct err *err)
{
    enum statement which = statement_of(op->kind);
    sqlite3_stmt *statement = db->statements[which];

    sqlite3_bind_int64(statement, 1, (int64_t)op->number);
    if (op->kind == OP_PUT) {
        sqlite3_bind_int64(statement, 2, (int64_t)op->world);
        sqlite3_bind_int64(statement, 3, (int64_t)op->name);
        sqlite3_bind_blob64(statement, 6, op->doc.p, op->doc.len, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 7, (int64_t)record_sum(op));
    }
    if (op->kind == OP_NAME || op->kind == OP_WORLD)
        bind_text(statement, 4, op->text);
    if (op->kind == OP_WORLD || op->kind == OP_PUT)
        bind_text(statement, 5, op->id);
    return run(db, which, err);
}

static int append_row(struct db *db, uint64_t seq, struct str batch, struct err *err)
{
    sqlite3_stmt *statement = db->statements[APPEND];

    sqlite3_bind_int64(statement, 1, (int64_t)seq);
    sqlite3_bind_blob64(statement, 2, batch.p, batch.len, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, (int64_t)bytes_sum(batch));
    return run(db, APPEND, err);
}

static void roll_back(struct db *db)
{
    struct err ignored;

    if (!sqlite3_get_autocommit(db->sqlite)) /* some failures have done it already */
        run(db, ROLLBACK, &ignored);
}

static int append_with_names(struct db *db, uint64_t seq, struct str names, struct str batch, struct err *err)
{
    struct op op;
    int r = run(db, BEGIN, err);

    while (r == 0 && batch_next(&names, &op) > 0)
        r = fold_op(db, &op, err);
    if (r == 0)
        r = append_row(db, seq, batch, err);
    if (r == 0)
        r = run(db, COMMIT, err);
    if (r < 0)
        roll_back(db);
    return r;
}

int db_append(struct db *db, uint64_t seq, struct str names, struct str batch, struct err *err)
{
    /* A statement alone is a transaction, and cheaper than one between BEGIN and COMMIT. */
    int r = names.len ? append_with_names(db, seq, names, batch, err) : append_row(db, seq, batch, err);

    if (r == 0)
        db->log_bytes += batch.len;
    return r;
}

/* The log's oldest row into db->row: 1; 0: the log is empty. */
static int take_row(struct db *db, struct err *err)
{
    sqlite3_stmt *statement = db->statements[OLDEST];
    int r = sqlite3_step(statement);

    db->row.len = db->row_done = 0;
    if (r == SQLITE_ROW) {
        db->row_seq = (uint64_t)sqlite3_column_int64(statement, 0);
        buf_append(&db->row, column(statement, 1));
        r = bytes_sum(buf_str(&db->row)) == (uint64_t)sqlite3_column_int64(statement, 2)
                ? 1
                : damaged(db, "row of the log", db->row_seq, err);
    } else {
        r = r == SQLITE_DONE ? 0 : fail(db, "read", err);
    }
    sqlite3_reset(statement);
    return r;
}

static int drop_row(struct db *db, struct err *err)
{
    sqlite3_bind_int64(db->statements[DROP], 1, (int64_t)db->row_seq);
    sqlite3_bind_int64(db->statements[PROGRESS], 1, (int64_t)db->row_seq);
    return run(db, DROP, err) < 0 || run(db, PROGRESS, err) < 0 ? -1 : 0;
}

/* Up to `bytes` of the row's operations; drops the row at its end. How many bytes, or negative. */
static int64_t fold_row(struct db *db, size_t bytes, struct err *err)
{
    size_t before = db->row_done;
    struct str at = str_skip(buf_str(&db->row), before);
    struct op op;

    while (at.len && db->row_done - before < bytes) {
        if (batch_next(&at, &op) < 0)
            return damaged(db, "row of the log", db->row_seq, err);
        if (fold_op(db, &op, err) < 0)
            return -1;
        db->row_done = db->row.len - at.len;
    }
    if (!at.len && drop_row(db, err) < 0)
        return -1;
    return (int64_t)(db->row_done - before);
}

static int64_t fold_rows(struct db *db, size_t bytes, struct err *err)
{
    int64_t done = 0;

    while ((size_t)done < bytes) {
        int64_t n = db->row_done < db->row.len ? 1 : take_row(db, err);

        if (n > 0)
            n = fold_row(db, bytes - (size_t)done, err);
        if (n < 0)
            return n;
        if (n == 0)
            break;
        done += n;
    }
    return done;
}

int db_fold(struct db *db, size_t bytes, struct err *err)
{
    int64_t done;

    if (run(db, BEGIN, err) < 0)
        return -1;
    done = fold_rows(db, bytes, err);
    if (done >= 0 && run(db, COMMIT, err) == 0) {
        db->log_bytes -= (size_t)done < db->log_bytes ? (size_t)done : db->log_bytes;
        return 0;
    }
    db->row.len = db->row_done = 0; /* again from the start of the row */
    roll_back(db);
    return -1;
}

int db_checkpoint(struct db *db, struct err *err)
{
    return sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) == SQLITE_OK
               ? 0
               : fail(db, "checkpoint", err);
}
