/*
 * FOLDER/state.db: SQLite in WAL mode, held exclusively while it is open (which also spares the shared index
 * and a dozen system calls a transaction). synchronous=NORMAL: what is written survives kill -9, and a loss
 * of power may cost the newest commits but never leaves half of one.
 *
 *   name(number, text)                          the dictionary
 *   world(number, account, region)
 *   record(created, world, kind, id, doc, sum)  by creation number; kind is a name's number
 *   log(seq, batch, sum)                        seq: the newest commit in the batch
 *   progress(one, folded)                       the newest commit that is not in the log any more
 *
 * Beside it lies state.mark (mark.h), by which a loss is noticed that SQLite does not see.
 */
#pragma once

#include "base/err.h"
#include "store/batch.h"

enum { DB_FORMAT = 1 };

struct db;

/* Makes it where it has never been. Missing or empty beside what only comes with it (WAL, mark, the folder's owner) is
 * an error. */
int db_open(const char *folder, struct db **ret, struct err *err);
/* Only makes it, unless it is there. */
int db_make(const char *folder, struct err *err);
void db_close(struct db *db);

/* The newest commit that had been written before it was opened, by state.mark, and when: what was loaded should reach
 * as far. 0: it does not say. */
uint64_t db_written(const struct db *db, int64_t *ret_ms);

/* Calls `each` with everything as operations that rebuild it: names, worlds, records by creation, then the log's. Also
 * says the newest commit. A failure of `each` is forwarded. */
int db_load(struct db *db, int (*each)(void *cookie, const struct op *op, struct err *err), void *cookie,
            uint64_t *ret_last, struct err *err);

int db_append(struct db *db, uint64_t seq, struct str names, struct str batch, struct err *err); /* one transaction */
size_t db_log_bytes(const struct db *db); /* in the log, not yet folded */
/* Folds the log's oldest operations, about `bytes` of documents, in one transaction. On failure nothing is folded. */
int db_fold(struct db *db, size_t bytes, struct err *err);
int db_checkpoint(struct db *db, struct err *err); /* moves the WAL into the file, where there is something to move */
