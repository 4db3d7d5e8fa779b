/*
 * Folding the log into tables. The oldest rows are taken a few MiB at a time, as a chunk; of the operations on
 * one record only the last counts, and they are applied by creation number, so that records on the same page
 * are written together. A chunk is applied in slices, each a transaction, and its rows leave the log with the
 * last one: until then the log still says everything, and whoever loads it replays the rows over what slices
 * have done already (invariant 3 of journal.h).
 */
#include "store/db_inside.h"

#include "base/mem.h"

enum { CHUNK_BYTES = 4 << 20 };

struct step {
    struct op op;
    size_t at; /* its place in the log */
};

struct chunk {
    struct buf rows;
    uint64_t last; /* the newest row's */
    struct step *steps;
    size_t count, capacity, next;
};

void chunk_free(struct db *db)
{
    if (!db->chunk)
        return;
    buf_free(&db->chunk->rows);
    free(db->chunk->steps);
    free(db->chunk);
    db->chunk = NULL;
}

/* 1: rows were read; 0: the log is empty. */
static int read_rows(struct db *db, struct chunk *chunk, struct err *err)
{
    sqlite3_stmt *statement = db->statements[OLDEST];
    int r = SQLITE_DONE, damage = 0;

    while (!damage && chunk->rows.len < CHUNK_BYTES && (r = sqlite3_step(statement)) == SQLITE_ROW) {
        struct str batch = db_column(statement, 1);

        chunk->last = (uint64_t)sqlite3_column_int64(statement, 0);
        if (bytes_sum(batch) != (uint64_t)sqlite3_column_int64(statement, 2))
            damage = db_damaged(db, "row of the log", chunk->last, err);
        buf_append(&chunk->rows, batch);
    }
    if (r != SQLITE_DONE && r != SQLITE_ROW)
        damage = db_fail(db, "read", err);
    sqlite3_reset(statement);
    return damage < 0 ? damage : chunk->rows.len > 0;
}

static bool is_of_world(const struct op *op)
{
    return op->kind == OP_WORLD || op->kind == OP_WORLD_END;
}

/* Worlds first, in the order of the log; then records by creation number, operations on the same in the order of the
 * log. */
static int by_place(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    uint64_t left = is_of_world(&x->op) ? UINT64_MAX : x->op.number;
    uint64_t right = is_of_world(&y->op) ? UINT64_MAX : y->op.number;

    if (left != right)
        return left < right ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int sort_steps(struct db *db, struct chunk *chunk, struct err *err)
{
    struct str at = buf_str(&chunk->rows);
    size_t kept = 0;
    struct op op;
    int r;

    while ((r = batch_next(&at, &op)) > 0) {
        mem_grow(chunk->steps, chunk->count, &chunk->capacity);
        chunk->steps[chunk->count] = (struct step){op, chunk->count};
        chunk->count++;
    }
    if (r < 0)
        return db_damaged(db, "row of the log", chunk->last, err);
    qsort(chunk->steps, chunk->count, sizeof *chunk->steps, by_place);
    for (size_t i = 0; i < chunk->count; i++) {
        const struct op *own = &chunk->steps[i].op;
        bool last = i + 1 == chunk->count || chunk->steps[i + 1].op.number != own->number ||
                    is_of_world(&chunk->steps[i + 1].op);

        if (last || is_of_world(own))
            chunk->steps[kept++] = chunk->steps[i];
    }
    chunk->count = kept;
    return 0;
}

/* The next chunk: 1; 0: the log is empty. */
static int take_chunk(struct db *db, struct err *err)
{
    int r;

    db->chunk = mem_alloc(sizeof *db->chunk);
    r = read_rows(db, db->chunk, err);
    if (r > 0 && sort_steps(db, db->chunk, err) < 0)
        r = -1;
    if (r <= 0)
        chunk_free(db);
    return r;
}

/* Up to `bytes` of documents; once it has come to the worlds, all of them. */
static int apply_steps(struct db *db, size_t bytes, struct err *err)
{
    struct chunk *chunk = db->chunk;
    size_t done = 0;

    for (; chunk->next < chunk->count; chunk->next++) {
        const struct op *op = &chunk->steps[chunk->next].op;

        if (done >= bytes && !is_of_world(op))
            break;
        if (db_apply(db, op, err) < 0)
            return -1;
        done += op->doc.len + op->id.len + 16;
    }
    return 0;
}

static int drop_rows(struct db *db, struct err *err)
{
    sqlite3_bind_int64(db->statements[DROP], 1, (int64_t)db->chunk->last);
    sqlite3_bind_int64(db->statements[PROGRESS], 1, (int64_t)db->chunk->last);
    return db_run(db, DROP, err) < 0 || db_run(db, PROGRESS, err) < 0 ? -1 : 0;
}

static int fold_slice(struct db *db, size_t bytes, struct err *err)
{
    bool at_end;

    if (db_run(db, BEGIN, err) < 0 || apply_steps(db, bytes, err) < 0)
        return -1;
    at_end = db->chunk->next == db->chunk->count;
    if ((at_end && drop_rows(db, err) < 0) || db_run(db, COMMIT, err) < 0)
        return -1;
    if (at_end) {
        db->log_bytes -= db->chunk->rows.len;
        chunk_free(db);
    }
    db_written_up_to(db, 0);
    return 0;
}

int db_fold(struct db *db, size_t bytes, struct err *err)
{
    int r = db->chunk ? 1 : take_chunk(db, err);

    if (r == 0)
        db->log_bytes = 0;
    if (r <= 0)
        return r;
    r = fold_slice(db, bytes, err);
    if (r < 0) {
        db_roll_back(db);
        chunk_free(db); /* again from its start */
    }
    return r;
}
