/* What state.mark is for: keeping it, and comparing it with what is found at start. */
#include "store/db_inside.h"

#include "base/log.h"
#include "base/time.h"
#include "store/wal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void write_mark(struct db *db)
{
    int r = db->mark_fd < 0 || !db->marked ? 0 : mark_write(db->mark_fd, &db->mark);

    if (r < 0 && !db->mark_told)
        log_warning("write %s: %s; a loss of changes might not be noticed", db->mark_path, strerror(-r));
    db->mark_told = r < 0;
}

/* After a commit: so many frames there are now. Where all before were in the database, it may have begun anew. */
static int on_commit(void *cookie, sqlite3 *sqlite, const char *name, int frames)
{
    struct db *db = cookie;
    struct mark *mark = &db->mark;

    if ((uint64_t)frames <= mark->frames || mark->moved >= mark->frames) {
        uint64_t salt = wal_salt(db->wal_path);

        if (salt != mark->salt)
            mark->moved = mark->copying = 0;
        mark->salt = salt;
    }
    mark->frames = (uint64_t)frames;
    return SQLITE_OK;
}

void db_mark_commits(struct db *db)
{
    sqlite3_wal_hook(db->sqlite, on_commit, db);
}

void db_mark(struct db *db, uint64_t seq)
{
    if (seq) {
        db->mark.seq = seq;
        db->mark.ms = time_now_ms();
    }
    write_mark(db);
}

/* Around what copies frames into the database. Between the two nobody can say which are there. */
void db_mark_copying(struct db *db)
{
    db->mark.copying = db->mark.frames;
    write_mark(db);
}

void db_mark_copied(struct db *db, uint64_t frames)
{
    db->mark.moved = db->mark.copying = frames;
    write_mark(db);
}

void db_mark_closed(struct db *db)
{
    if (access(db->wal_path, F_OK) == 0)
        return;
    db->mark.frames = db->mark.moved = db->mark.copying = 0;
    write_mark(db);
}

/*
 * A WAL that ends before the commits that it had. SQLite would take what is left of it over the database's own pages;
 * that is the state at some commit if none of these is newer than that. Else they alone are, if no checkpoint
 * was under way: then it is put aside, and 1 returned.
 */
static int pass_over_wal(struct db *db, const struct wal *wal, struct err *err)
{
    char aside[4200];

    if (wal->frames >= db->mark.copying)
        return 0;
    if (db->mark.copying != db->mark.moved)
        return err_plain(
            err,
            "%s is damaged at frame %llu, and %s had been brought up to date in part: put both back from a "
            "copy",
            db->wal_path, (unsigned long long)wal->frames + 1, db->path);
    snprintf(aside, sizeof aside, "%s.damaged", db->wal_path);
    if (rename(db->wal_path, aside) == 0)
        log_warning("%s is damaged at frame %llu: %s is used without it, and it is kept as %s", db->wal_path,
                    (unsigned long long)wal->frames + 1, db->path, aside);
    else if (errno != ENOENT)
        return err_os(err, errno, "rename %s", db->wal_path);
    db->mark.frames = db->mark.moved = db->mark.copying = 0;
    return 1;
}

int db_check_wal(struct db *db, struct err *err)
{
    struct mark *mark = &db->mark;
    struct wal wal;
    int r = wal_read(db->wal_path, &wal, err);

    if (r < 0)
        return r;
    if (wal.salt && wal.salt != mark->salt) { /* begun by the commit after that which was marked */
        mark->salt = wal.salt;
        mark->moved = mark->copying = 0;
    } else if (wal.frames < mark->frames) {
        r = pass_over_wal(db, &wal, err);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    mark->frames = wal.frames;
    return 0;
}

uint64_t db_written(const struct db *db, int64_t *ret_ms)
{
    *ret_ms = db->mark.ms;
    return db->mark.seq;
}
