#include "workload/usage.h"
#include "base/fd.h"
#include "base/mem.h"
#include "workload/seen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NAMES_A_FILE = 4, /* names that may be looked at for each file of the limit: a file may have 65,000 */
    LEVELS = PATH_MAX / 2,
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
 * Depth first, with one folder open at a time, however deep a guest nests them: the names of those still to be looked
 * at lie behind one another in `pending`, level by level, each level's last one taken first.
 */
struct walk {
    int root;
    const struct usage *limit;
    struct usage *usage;
    uint64_t *left;
    struct seen seen;
    struct buf pending;
    size_t depth;
    struct level {
        size_t first, path; /* where its names start, how long its folder's path is */
    } levels[LEVELS];
    size_t path_size;
    char path[PATH_MAX]; /* from the root, of the folder that is open */
    uint64_t names;
};

static int walk_open(const struct walk *walk)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
    };

    return (int)syscall(SYS_openat2, walk->root, walk->path_size ? walk->path : ".", &how, sizeof how);
}

static int walk_entry(struct walk *walk, int dir, const char *name)
{
    struct stat st;

    if (!*walk->left)
        return USAGE_MUCH;
    --*walk->left;
    walk->names++;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0; /* it has just gone */
    if (S_ISDIR(st.st_mode))
        buf_append(&walk->pending, (struct str){name, strlen(name) + 1});
    if (S_ISDIR(st.st_mode) || st.st_nlink < 2 || seen_first(&walk->seen, st.st_ino))
        usage_add(walk->usage, &st);
    return usage_is_past(walk->usage, walk->limit) || walk->names / NAMES_A_FILE > walk->limit->files ? USAGE_PAST : 0;
}

/* The entries of the folder that the path leads to. */
static int walk_list(struct walk *walk)
{
    int fd = walk_open(walk), r = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir) {
        /* A folder may have just gone; the walk's own has not. */
        r = !walk->path_size || errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
        fd_close(&fd);
        return r;
    }
    for (struct dirent *entry; r == 0 && (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            r = walk_entry(walk, dirfd(dir), entry->d_name);
    }
    closedir(dir);
    return r;
}

/* The next folder's path; 0: there is none. */
static int walk_next(struct walk *walk)
{
    const struct level *level;
    const char *name, *end;
    size_t size;

    while (walk->depth && walk->pending.len == walk->levels[walk->depth - 1].first)
        walk->depth--;
    if (!walk->depth)
        return 0;
    level = &walk->levels[walk->depth - 1];
    end = walk->pending.p + walk->pending.len - 1;
    for (name = end; name > walk->pending.p + level->first && name[-1]; name--)
        ;
    size = (size_t)(end - name);
    if (level->path + 1 + size >= sizeof walk->path)
        return -1;
    walk->path_size = level->path;
    if (walk->path_size)
        walk->path[walk->path_size++] = '/';
    memcpy(walk->path + walk->path_size, name, size + 1);
    walk->path_size += size;
    walk->pending.len = (size_t)(name - walk->pending.p);
    return 1;
}

static int walk_all(struct walk *walk)
{
    int r;

    do {
        size_t first = walk->pending.len;

        r = walk_list(walk);
        if (r != 0)
            return r;
        if (walk->pending.len > first) {
            if (walk->depth == LEVELS)
                return USAGE_DEEP;
            walk->levels[walk->depth++] = (struct level){first, walk->path_size};
        }
        r = walk_next(walk);
    } while (r > 0);
    return r < 0 ? USAGE_DEEP : 0;
}

int usage_of_folder(const char *path, const struct usage *limit, uint64_t *left, struct usage *usage)
{
    AUTO_FD root = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct walk *walk;
    int r;

    if (root < 0)
        return errno == ENOENT ? 0 : -errno;
    walk = mem_alloc(sizeof *walk);
    walk->root = root;
    walk->limit = limit;
    walk->usage = usage;
    walk->left = left;
    r = walk_all(walk);
    seen_free(&walk->seen);
    buf_free(&walk->pending);
    free(walk);
    return r;
}
