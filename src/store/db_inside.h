/* state.db from inside: what db.c, db_load.c and db_fold.c share. */
#pragma once

#include "store/db.h"
#include "store/mark.h"
#include "store/wire.h"

#include <sqlite3.h>

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

struct db {
    sqlite3 *sqlite;
    sqlite3_stmt *statements[STATEMENTS];
    char *path, *wal_path, *mark_path;
    size_t log_bytes;
    struct chunk *chunk; /* what is being folded; NULL: nothing */
    struct mark mark;
    int mark_fd;            /* -1: none could be made */
    bool marked, mark_told; /* it has been written, and so says that the database has been; a failure of that */
};

int db_fail(const struct db *db, const char *what, struct err *err); /* of the SQLite call before: -1 */
int db_damaged(const struct db *db, const char *what, uint64_t number, struct err *err);
int db_number(struct db *db, const char *sql, int64_t *ret, struct err *err); /* of the first row's first column */
struct str db_column(sqlite3_stmt *statement, int n);                         /* good until the next step */
/* Runs a statement that returns no rows, and lets go of what is bound to it. */
int db_run(struct db *db, enum statement which, struct err *err);
int db_apply(struct db *db, const struct op *op, struct err *err); /* to its own table */
void db_roll_back(struct db *db);                                  /* the open transaction, if any */
uint64_t db_record_sum(const struct op *op);
void db_written_up_to(struct db *db, uint64_t seq); /* after each transaction; seq 0: it held no commits */
void chunk_free(struct db *db);

/* db_mark.c */
int db_check_wal(struct db *db, struct err *err); /* before SQLite opens it */
void db_mark_commits(struct db *db);              /* from now on */
/* A transaction is written, with the commits up to seq; 0: it held none. */
void db_mark(struct db *db, uint64_t seq);
void db_mark_copying(struct db *db);
void db_mark_copied(struct db *db, uint64_t frames);
void db_mark_closed(struct db *db);
