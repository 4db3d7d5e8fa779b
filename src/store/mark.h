/*
 * FOLDER/state.mark: how far the journal has been written, beside the database and told by other bytes. SQLite reads
 * its WAL up to the first frame that is not whole, and calls that the end: a flipped bit there would take all that came
 * later away without a word. A record of fixed size, written over after each commit, never synced: it survives kill -9
 * like the WAL itself, and after a loss of power it says what that has cost.
 */
#pragma once

#include "base/err.h"

struct mark {
    uint64_t seq;            /* the newest commit that has been written */
    int64_t ms;              /* when */
    uint64_t salt;           /* which WAL: it begins anew in the same file now and then */
    uint64_t frames;         /* of that WAL, up to the last commit */
    uint64_t moved, copying; /* of these are in the database too; may be, since a checkpoint was begun */
};

/*
 * Locks it, for as long as the descriptor is open: who has it has the folder. Makes an empty file where there is none.
 * 1: it holds a whole mark; 0: it does not, and *ret is zeroed. -EBUSY: another has it.
 */
int mark_open(const char *path, struct mark *ret, int *ret_fd, struct err *err);
int mark_write(int fd, const struct mark *mark); /* 0 or -errno */
