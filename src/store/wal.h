/* SQLite's WAL, read without SQLite: how much of it is whole. Source: "WAL-mode File Format",
 * sqlite.org/walformat.html. */
#pragma once

#include "base/err.h"

struct wal {
    uint64_t salt;   /* both words of its header; 0: there is none, or its header is not whole */
    uint64_t frames; /* up to the last commit before the first frame that is not whole */
};

int wal_read(const char *path, struct wal *ret, struct err *err);
uint64_t wal_salt(const char *path); /* the header's, as it stands; 0: none */
