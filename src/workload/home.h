/*
 * Where an owner comes back to: the data folder that names it, or nothing. Kept in /var/lib/haar/<id>/home beside the
 * machines' disks, which last over a reboot of the host as /run does not, and must not be taken away while anyone can
 * still come back for them.
 *
 * A folder is known by what the kernel knows it by: a file handle (name_to_handle_at(2)) on the file system that it
 * lies on. It stays the same where the folder is moved or renamed, is not a copy's, and is stale once the folder has
 * been deleted. So a folder that is not at its path is not taken for gone: it may have been moved, or its disk is not
 * mounted.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum home_state {
    HOME_UNKNOWN, /* no record that we understand, the file system is not mounted there or has no handles: nobody can
                     say, so what is its owner's stays */
    HOME_NONE,    /* its owner had no data folder */
    HOME_GONE,    /* its folder has been deleted, has no records, or bears another owner's id now */
    HOME_THERE,   /* the folder exists, wherever it is */
};

/* Into the state folder: the data folder that the owner has (absolute), absent for none. */
int home_write(const char *state_dir, struct str data, struct err *err);

/* What has become of the home of owner `id`. Needs root. */
enum home_state home_look(const char *state_dir, const char *id);

/* Whether `data` is the home that is recorded, by the folder itself, whatever stands in it. */
bool home_is_of(const char *state_dir, struct str data);

/*
 * Whether `data`, which bears owner id `id`, is a copy of the home that is recorded, and that one is still there: two
 * servers would have the same machines. A home that nobody can say anything about is looked for by its path only.
 * ret_original: where the original is now, when it is one.
 */
bool home_is_copy(const char *state_dir, const char *id, struct str data, struct buf *ret_original);
