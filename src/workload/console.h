/* The console's ring file, which the monitor writes (guest/monitor.h) and outlives its machine. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* The last bytes, at most `limit`, appended to out; ret_total: how many were ever written. No file yet: none, 0. */
int console_read_last(const char *path, size_t limit, struct buf *out, uint64_t *ret_total, struct err *err);

/* Appends a line of ours: while no monitor writes to it. */
int console_append(const char *path, struct str text, struct err *err);
