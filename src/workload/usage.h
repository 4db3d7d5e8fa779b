/*
 * What files take of a disk: the blocks that they have, not their sizes; a file with several names once. Read from
 * outside while a guest may change it: what is counted was there at some moment of the count, and no path of the
 * guest's leads out of the folder.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct stat;

struct usage {
    uint64_t bytes, files; /* files: of every kind, folders too */
};

/* Positive outcomes of a count. */
enum {
    USAGE_PAST = 1, /* more than the limit: counting ended there */
    USAGE_DEEP = 2, /* folders are nested more than 2,048 deep */
    USAGE_MUCH = 3, /* `left` is used up: names, descriptors, mappings that may yet be looked at, counted down */
};

/* Adds what lies in the folder `path`, itself not counted, without what is mounted there. No such folder: nothing. */
int usage_of_folder(const char *path, const struct usage *limit, uint64_t *left, struct usage *usage);

/*
 * Adds the files that have no name any more and that a process of machine `id` has open, mapped or as its program, if
 * they were on its disk. `processes`: the file of its cgroup that lists them. What cannot be looked at is not counted,
 * but a process whose threads end faster than one can be looked at is USAGE_MUCH.
 */
int usage_of_deleted(const char *processes, const char *id, const struct usage *limit, uint64_t *left,
                     struct usage *usage);

/* For these counts: one file more. */
void usage_add(struct usage *usage, const struct stat *st);
bool usage_is_past(const struct usage *usage, const struct usage *limit);
