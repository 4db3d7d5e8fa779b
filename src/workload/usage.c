#include "workload/usage.h"
#include "base/fd.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    NAMES_A_FILE = 4, /* names that may be looked at for each file of the limit: a file may have 65,000 */
    LEVELS = PATH_MAX / 2,
    PROCESSES_LIMIT = 1024 * 1024,
    MAPS_LIMIT = 16 * 1024 * 1024,
};

/* ---- files that were counted already ---- */

/* Numbers of files with more than one name, or of more than one process. 0: free. */
struct seen {
    uint64_t *numbers;
    size_t count, capacity; /* a power of two */
};

static bool seen_put(struct seen *seen, uint64_t number)
{
    size_t at = (size_t)(number * 0x9e3779b97f4a7c15ull >> 20) & (seen->capacity - 1);

    while (seen->numbers[at] && seen->numbers[at] != number)
        at = (at + 1) & (seen->capacity - 1);
    if (seen->numbers[at])
        return false;
    seen->numbers[at] = number;
    seen->count++;
    return true;
}

/* True the first time. */
static bool seen_first(struct seen *seen, uint64_t number)
{
    if (seen->count * 2 >= seen->capacity) {
        struct seen larger = {.capacity = seen->capacity ? seen->capacity * 2 : 64};

        larger.numbers = mem_alloc(larger.capacity * sizeof *larger.numbers);
        for (size_t i = 0; i < seen->capacity; i++) {
            if (seen->numbers[i])
                seen_put(&larger, seen->numbers[i]);
        }
        free(seen->numbers);
        *seen = larger;
    }
    return seen_put(seen, number ? number : 1);
}

static bool is_past(const struct usage *usage, const struct usage *limit)
{
    return usage->bytes > limit->bytes || usage->files > limit->files;
}

static void count_file(const struct stat *st, struct usage *usage)
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

    walk->names++;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0; /* it has just gone */
    if (S_ISDIR(st.st_mode))
        buf_append(&walk->pending, (struct str){name, strlen(name) + 1});
    if (S_ISDIR(st.st_mode) || st.st_nlink < 2 || seen_first(&walk->seen, st.st_ino))
        count_file(&st, walk->usage);
    return is_past(walk->usage, walk->limit) || walk->names / NAMES_A_FILE > walk->limit->files ? USAGE_PAST : 0;
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

int usage_of_folder(const char *path, const struct usage *limit, struct usage *usage)
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
    r = walk_all(walk);
    free(walk->seen.numbers);
    buf_free(&walk->pending);
    free(walk);
    return r;
}

/* ---- files without a name ---- */

/* Of a process, a descriptor or a mapping by its name in `dir`: those of a machine's disk are an overlay's. */
static void count_open(int dir, const char *name, struct seen *seen, struct usage *usage)
{
    struct statfs fs;
    struct stat st;
    AUTO_FD fd = -1;

    if (fstatat(dir, name, &st, 0) < 0 || !S_ISREG(st.st_mode) || st.st_nlink > 0)
        return;
    fd = openat(dir, name, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != OVERLAYFS_SUPER_MAGIC)
        return;
    if (seen_first(seen, (uint64_t)st.st_ino ^ (uint64_t)st.st_dev << 40))
        count_file(&st, usage);
}

static void count_descriptors(int process, struct seen *seen, struct usage *usage)
{
    int fd = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir) {
        fd_close(&fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] != '.')
            count_open(dirfd(dir), entry->d_name, seen, usage);
    }
    closedir(dir);
}

/* "7f0a-7f0b r--s 00000000 00:1f 1234   /root/gone (deleted)": a mapping keeps what was closed and deleted. */
static void count_mappings(int process, struct seen *seen, struct usage *usage)
{
    AUTO_BUF maps = BUF_INIT;
    struct str rest;

    if (file_read(process, "maps", &maps, MAPS_LIMIT, &ERR_INIT) < 0)
        return;
    for (rest = buf_str(&maps); rest.p && rest.len;) {
        struct str line = str_cut(&rest, '\n');
        unsigned long from, to;
        char head[64], name[64];

        if (!str_ends(line, S(" (deleted)")) || !str_to_z(str_cut(&line, ' '), head, sizeof head) ||
            sscanf(head, "%lx-%lx", &from, &to) != 2)
            continue;
        snprintf(name, sizeof name, "map_files/%lx-%lx", from, to); /* without the zeros in front */
        count_open(process, name, seen, usage);
    }
}

/* Its number may be another's by now: the folder, once open, stays this process's. */
static bool is_of_machine(int process, const char *id)
{
    AUTO_BUF text = BUF_INIT;

    return file_read(process, "cgroup", &text, 64 * 1024, &ERR_INIT) == 0 && str_contains(buf_str(&text), str_of(id));
}

int usage_of_deleted(const char *processes, const char *id, const struct usage *limit, struct usage *usage)
{
    AUTO_BUF text = BUF_INIT;
    struct seen seen = {0};
    struct str rest;

    if (file_read(AT_FDCWD, processes, &text, PROCESSES_LIMIT, &ERR_INIT) < 0)
        return 0;
    for (rest = buf_str(&text); rest.p && rest.len && !is_past(usage, limit);) {
        struct str number = str_cut(&rest, '\n');
        char path[64];
        AUTO_FD process = -1;

        snprintf(path, sizeof path, "/proc/" STR_FMT, STR_ARG(str_first(number, 20)));
        process = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (process < 0 || !is_of_machine(process, id))
            continue;
        count_descriptors(process, &seen, usage);
        count_mappings(process, &seen, usage);
    }
    free(seen.numbers);
    return is_past(usage, limit) ? USAGE_PAST : 0;
}
