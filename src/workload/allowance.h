/*
 * What a machine may keep of the host's disk: its own disk's size, and a file for each 16 KiB of it, as ext4 would have
 * them. The file system holds it to that where it has project quotas (quota.h): the guest is told that its disk is
 * full. Else its use is looked at, and a machine that has outgrown its disk is ended, with the reason on its console;
 * what takes blocks without writing them (fallocate) is refused there, so that a machine grows no faster than it
 * writes.
 *
 * How often: a machine can only have outgrown its disk when the file system has lost more free space since the last
 * look at it than was left to it then; that is watched four times a second. What others freed in the same moment hides
 * a growth: so every machine is also looked at each two seconds, or as rarely as it takes no more than its part of a
 * two-hundredth of a processor, which all have alike, and once a minute at least.
 *
 * No guest keeps the looks at others waiting: what has more than can be looked at in a few hundredths of a second is
 * left to threads for that, and what cannot be counted there either is ended.
 *
 * A disk that is larger than it may be when the machine starts may stay so, to be cleaned up, and grow by no more than
 * ALLOWANCE_GROWTH.
 */
#pragma once

#include "base/err.h"
#include "workload/usage.h"

#include <stdbool.h>

struct native;
struct machine;

enum {
    ALLOWANCE_GROWTH = 64 << 20,
    ALLOWANCE_LOOKERS = 3, /* threads: one for brief looks, the others for what takes long */
};

/* Of a machine whose use is looked at: under the driver's lock. */
struct allowance_look {
    struct usage used;   /* when it was last looked at */
    struct usage fallen; /* what the file system had lost by then */
    int64_t looked_us, took_us;
    bool takes_long, going; /* going: a thread for that is at it */
};

/* What this host has for it; what it lacks is noted. */
void allowance_open(struct native *native);

/* An empty folder becomes a machine's disk, and when it is filled it is ready to be the guest's. */
void allowance_begin_disk(struct native *native, const char *disk);
void allowance_end_disk(struct native *native, const char *disk);

int allowance_remove_disk(struct native *native, const char *disk, struct err *err);

/* The machine is about to start on its disk, of this size; 0: it has no limit. */
int allowance_ready(struct native *native, struct machine *machine, uint64_t bytes, struct err *err);

/* The threads that look. stop: also where they have not been started. */
int allowance_start(struct native *native, struct err *err);
void allowance_stop(struct native *native);
