/* File descriptors. Every one is O_CLOEXEC from birth. AUTO_FD closes at the end of the scope. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

void fd_close(int *fd); /* keeps errno; leaves -1 */
#define AUTO_FD __attribute__((cleanup(fd_close))) int

/* All of it, through short counts and EINTR. 0 or -errno. */
int fd_write_all(int fd, const void *p, size_t size);
int fd_read_to_end(int fd, struct buf *out, size_t limit); /* -EFBIG past limit */

int file_read(int dir, const char *path, struct buf *out, size_t limit, struct err *err);
int file_write(int dir, const char *path, struct str text, unsigned mode, struct err *err);        /* truncates */
int file_write_atomic(int dir, const char *path, struct str text, unsigned mode, struct err *err); /* by rename */
int dir_make(const char *path, unsigned mode, struct err *err); /* with its parents; present is fine */
int tree_remove(int dir, const char *path, struct err *err);    /* stays on its file system; absent is fine */
