#include "workload/usage.h"
#include "base/fd.h"
#include "base/mem.h"
#include "workload/seen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NAMES_A_FILE = 4, /* names that may be looked at for each file of the limit: a file may have 65,000 */
    LEVELS = 2048,
    OPEN_LEVELS = 24,        /* of the first ones and of the last ones, each */
    PIECE = 320,             /* of a folder's list: some ten names, one of any length at least */
    LARGE_BLOCKS = 2048,     /* of a file whose number is kept, so that one that is renamed meanwhile is counted once */
    AGAIN_TRIES = 16,        /* to find again what was renamed */
    AGAIN_MISSES = 3,        /* … that is not on the list again: it is rather gone */
    AGAIN_NAMES = 256 * 1024 /* … and all that are read for that in one walk */
};

bool usage_is_past(const struct usage *usage, const struct usage *limit)
{
    return usage->bytes > limit->bytes || usage->files > limit->files;
}

void usage_add(struct usage *usage, const struct stat *st)
{
    usage->bytes += (uint64_t)st->st_blocks * 512;
    usage->files++;
}

/* ---- folders ---- */

/*
 * Depth first, each folder opened as it is found and read piece by piece: a guest that renames one all the time has but
 * the moment between the two to do it. Those between the first levels and the last are closed, and opened again on the
 * way back as their folders' parents.
 */
struct level {
    int fd; /* -1: closed */
    uint64_t device, inode;
    int64_t position; /* behind the entry that was read last */
    size_t at, size;
    _Alignas(struct dirent) char piece[PIECE];
};

struct walk {
    const struct usage *limit;
    struct usage *usage;
    uint64_t *left;
    struct seen seen;
    struct level *levels;
    size_t depth, capacity;
    uint64_t names, again;
};

_Static_assert(offsetof(struct dirent, d_name) == 19, "as getdents64 writes it");

static int open_below(int dir, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };

    return (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
}

/* Its next entry; NULL: there is none. */
static const struct dirent *level_next(struct level *level)
{
    const struct dirent *entry;

    do {
        if (level->at == level->size) {
            long size = syscall(SYS_getdents64, level->fd, level->piece, sizeof level->piece);

            if (size <= 0)
                return NULL;
            level->at = 0;
            level->size = (size_t)size;
        }
        entry = (const struct dirent *)(level->piece + level->at);
        level->at += entry->d_reclen;
        level->position = entry->d_off;
    } while (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    return entry;
}

static int walk_push(struct walk *walk, int fd, const struct stat *st)
{
    struct level *level;

    if (walk->depth == LEVELS) {
        fd_close(&fd);
        return USAGE_DEEP;
    }
    mem_grow(walk->levels, walk->depth, &walk->capacity);
    level = &walk->levels[walk->depth++];
    level->fd = fd;
    level->device = st->st_dev;
    level->inode = st->st_ino;
    level->at = level->size = 0;
    if (walk->depth > 2 * OPEN_LEVELS)
        fd_close(&walk->levels[walk->depth - 1 - OPEN_LEVELS].fd);
    return 0;
}

/* Back to the folder above, if it still is the one above. */
static void walk_pop(struct walk *walk)
{
    struct level *below = &walk->levels[--walk->depth], *level = below - 1;
    struct stat st;

    if (walk->depth && level->fd < 0) {
        level->fd = openat(below->fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (level->fd < 0 || fstat(level->fd, &st) < 0 || st.st_dev != level->device || st.st_ino != level->inode ||
            lseek(level->fd, level->position, SEEK_SET) < 0)
            fd_close(&level->fd); /* it was moved, and what was not read yet with it */
        level->at = level->size = 0;
    }
    fd_close(&below->fd);
}

/* What an entry is, a folder open; else *folder is -1. -ENOENT: nothing has that name any more. */
static int reach(int dir, const struct dirent *entry, int *folder, struct stat *st)
{
    *folder = entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN ? open_below(dir, entry->d_name) : -1;
    if (*folder >= 0)
        return fstat(*folder, st) < 0 ? -errno : 0;
    if (entry->d_type == DT_DIR && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
        return -errno;
    return fstatat(dir, entry->d_name, st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* What has a name no more may have another in the same folder. */
static int reach_again(struct walk *walk, int dir, uint64_t inode, int *folder, struct stat *st)
{
    struct level level = {.fd = open_below(dir, ".")};
    int r = -ENOENT, misses = 0;

    for (int i = 0; i < AGAIN_TRIES && r == -ENOENT && misses < AGAIN_MISSES && walk->again < AGAIN_NAMES; i++) {
        const struct dirent *entry;

        lseek(level.fd, 0, SEEK_SET);
        level.at = level.size = 0;
        do
            entry = level_next(&level);
        while (entry && entry->d_ino != inode && walk->again++ < AGAIN_NAMES);
        if (entry && entry->d_ino == inode)
            r = reach(dir, entry, folder, st);
        else
            misses++;
    }
    fd_close(&level.fd);
    return r;
}

static bool is_first(struct walk *walk, const struct stat *st)
{
    return (!S_ISDIR(st->st_mode) && st->st_nlink < 2 && st->st_blocks < LARGE_BLOCKS) ||
           seen_first(&walk->seen, st->st_ino);
}

static int walk_entry(struct walk *walk, const struct dirent *entry)
{
    int dir = walk->levels[walk->depth - 1].fd, r;
    AUTO_FD folder = -1;
    struct stat st;
    bool first;

    if (!*walk->left)
        return USAGE_MUCH;
    --*walk->left;
    walk->names++;
    r = reach(dir, entry, &folder, &st);
    if (r == -ENOENT)
        r = reach_again(walk, dir, entry->d_ino, &folder, &st);
    if (r < 0)
        return r == -EMFILE || r == -ENFILE || r == -ENOMEM ? r : 0; /* else it has just gone */
    first = is_first(walk, &st);
    if (first)
        usage_add(walk->usage, &st);
    if (usage_is_past(walk->usage, walk->limit) || walk->names / NAMES_A_FILE > walk->limit->files)
        return USAGE_PAST;
    if (!first || folder < 0)
        return 0;
    r = walk_push(walk, folder, &st);
    folder = -1;
    return r;
}

static int walk_all(struct walk *walk, int root)
{
    struct stat st;
    int r, fd = open_below(root, "."); /* as all below it */

    if (fd < 0)
        return -errno;
    r = fstat(fd, &st) < 0 ? -errno : 0;
    walk_push(walk, fd, &st);
    while (r == 0 && walk->depth) {
        const struct dirent *entry = level_next(&walk->levels[walk->depth - 1]);

        if (entry)
            r = walk_entry(walk, entry);
        else
            walk_pop(walk);
    }
    while (walk->depth)
        fd_close(&walk->levels[--walk->depth].fd);
    return r;
}

int usage_of_folder(const char *path, const struct usage *limit, uint64_t *left, struct usage *usage)
{
    AUTO_FD root = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct walk walk = {.limit = limit, .usage = usage, .left = left};
    int r;

    if (root < 0)
        return errno == ENOENT ? 0 : -errno;
    r = walk_all(&walk, root);
    seen_free(&walk.seen);
    free(walk.levels);
    return r;
}
