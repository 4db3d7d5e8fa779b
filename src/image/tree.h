/* Small steps that fill a root file system. Paths are relative to the folder `root`. What is there already stays. */
#pragma once

#include "base/err.h"

#include <stdatomic.h>

int tree_folder(int root, const char *path, unsigned mode, struct err *err);
int tree_link(int root, const char *path, const char *target, struct err *err);
int tree_file(int root, const char *path, struct str text, unsigned mode, struct err *err);

/*
 * Copies `from` (absolute) to `to`: folders, symbolic links as they are, and regular files that everybody may read, of
 * at most 16 MiB. What others may not read on the host is somebody's secret and is left out, as is what is absent.
 * `cancel` may be NULL; once it is true the copy ends with ECANCELED.
 */
int tree_copy(const char *from, int root, const char *to, const atomic_bool *cancel, struct err *err);
