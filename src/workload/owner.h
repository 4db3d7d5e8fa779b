/*
 * Who made what on this host. An owner is eight characters of [a-z0-9]: kept in the data folder, else made at each
 * start. Its locks, held by flock as long as the server lives, say that its things are somebody's: one in the run
 * folder, one on the state folder and one on the data folder, so that none of them has to be there for the others'
 * sake.
 */
#pragma once

#include "base/err.h"

#include <stdatomic.h>

enum { OWNER_ID_SIZE = 9, OWNER_PATH = 64, OWNER_TOKEN = 72 };

struct owner {
    char id[OWNER_ID_SIZE];
    char run[OWNER_PATH];    /* /run/haar/<id> */
    char state[OWNER_PATH];  /* /var/lib/haar/<id> */
    char token[OWNER_TOKEN]; /* what run/token holds */
    int lock;                /* on run/lock */
    int hold;                /* on the state folder */
    int data;                /* on the data folder; -1: there is none, or its file system has no locks */
};

/*
 * Becomes the owner of data folder `data` (absolute; absent: a new owner without one): takes its lock, writes the
 * token that privileged calls must show into run/token (0600; kept when there already). A lock that another server
 * holds is a failure that says so.
 */
int owner_take(struct str data, struct owner *ret_owner, struct err *err);

/*
 * Makes the run folder anew where it, its lock or its token is gone: what cleans /run must not make a server that lives
 * look dead. 1: it was; 0: all is there.
 */
int owner_restore(struct owner *owner, struct str data, struct err *err);

/* Lets go. gone: the owner's folders too. */
void owner_release(struct owner *owner, bool gone);

/*
 * Calls `reap` for each owner on this host that is dead (its lock is free) and has no data folder to come back to, with
 * its lock held, then removes its folders. That is also what a data folder's owner left when the folder has been
 * deleted, but not when it is elsewhere, or when nobody can say (home.h). Owners are found in both folders: after a
 * reboot of the host only disks are left. What fails is logged. *cancel: before the next owner; NULL: it cannot be.
 */
void owner_reap_dead(int (*reap)(const struct owner *dead, struct err *err), const atomic_bool *cancel);
