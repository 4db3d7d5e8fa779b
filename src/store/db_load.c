/* Reading state.db at start. */
#include "store/db_inside.h"

struct load {
    struct db *db;
    int (*each)(void *cookie, const struct op *op, struct err *err);
    void *cookie;
    uint64_t last;
};

static int load_name(struct load *load, sqlite3_stmt *row, struct err *err)
{
    struct op op = {OP_NAME, (uint64_t)sqlite3_column_int64(row, 0), .text = db_column(row, 1)};

    return load->each(load->cookie, &op, err);
}

static int load_world(struct load *load, sqlite3_stmt *row, struct err *err)
{
    struct op op = {OP_WORLD, (uint64_t)sqlite3_column_int64(row, 0), .text = db_column(row, 1),
                    .id = db_column(row, 2)};

    return load->each(load->cookie, &op, err);
}

static int load_record(struct load *load, sqlite3_stmt *row, struct err *err)
{
    struct op op = {
        .kind = OP_PUT,
        .number = (uint64_t)sqlite3_column_int64(row, 0),
        .world = (uint64_t)sqlite3_column_int64(row, 1),
        .name = (uint64_t)sqlite3_column_int64(row, 2),
        .id = db_column(row, 3),
        .doc = db_column(row, 4),
    };

    if (db_record_sum(&op) != (uint64_t)sqlite3_column_int64(row, 5))
        return db_damaged(load->db, "record", op.number, err);
    return load->each(load->cookie, &op, err);
}

static int load_row(struct load *load, sqlite3_stmt *row, struct err *err)
{
    uint64_t seq = (uint64_t)sqlite3_column_int64(row, 0);
    struct str batch = db_column(row, 1);
    struct op op;
    int r;

    if (bytes_sum(batch) != (uint64_t)sqlite3_column_int64(row, 2))
        return db_damaged(load->db, "row of the log", seq, err);
    load->db->log_bytes += batch.len;
    load->last = seq;
    while ((r = batch_next(&batch, &op)) > 0) {
        r = load->each(load->cookie, &op, err);
        if (r < 0)
            return r;
    }
    return r < 0 ? db_damaged(load->db, "row of the log", seq, err) : 0;
}

static int load_table(struct load *load, const char *sql, int (*each)(struct load *, sqlite3_stmt *, struct err *),
                      struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int r = sqlite3_prepare_v2(load->db->sqlite, sql, -1, &statement, NULL);

    while (r == SQLITE_OK && (r = sqlite3_step(statement)) == SQLITE_ROW)
        r = each(load, statement, err) < 0 ? SQLITE_ABORT : SQLITE_OK;
    if (r != SQLITE_DONE && r != SQLITE_ABORT)
        db_fail(load->db, "read", err);
    sqlite3_finalize(statement);
    return r == SQLITE_DONE ? 0 : -1;
}

int db_load(struct db *db, int (*each)(void *cookie, const struct op *op, struct err *err), void *cookie,
            uint64_t *ret_last, struct err *err)
{
    struct load load = {db, each, cookie, 0};
    int64_t folded;

    if (db_number(db, "SELECT folded FROM progress", &folded, err) < 0)
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
