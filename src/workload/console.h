/* The console's ring file, which the monitor writes (guest/monitor.h) and outlives its machine. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* Which bytes were read, counted from the first that was ever written. */
struct console_piece {
    uint64_t from, to; /* from: later than asked for when what lay between has been overwritten */
    uint64_t total;    /* how many there are so far */
};

/* On from byte `from`: what there is, at most `limit`, appended to out. fd: the ring file. No bytes: from == to. */
int console_read_from(int fd, uint64_t from, size_t limit, struct buf *out, struct console_piece *ret, struct err *err);

/* The last bytes, at most `limit`, appended to out; ret_total: how many were ever written. No file yet: none, 0. */
int console_read_last(const char *path, size_t limit, struct buf *out, uint64_t *ret_total, struct err *err);

/* Appends a line of ours: while no monitor writes to it. */
int console_append(const char *path, struct str text, struct err *err);
