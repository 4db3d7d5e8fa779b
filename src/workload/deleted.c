/*
 * The files that have no name any more, by /proc. A process's memory and descriptors are those of any of its threads
 * that lives: the guest's filter lets none have descriptors of its own.
 */
#include "base/fd.h"
#include "base/mem.h"
#include "workload/seen.h"
#include "workload/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    PROCESSES_LIMIT = 1024 * 1024,
    PIECE = 64 * 1024,   /* of a process's mappings */
    HEAD = 128,          /* of one's line: all but its path */
    LINE_ENTRY = 256,    /* bytes of their text that take as long as an entry */
    THREAD_TRIES = 1024, /* threads that may end while they are looked at */
};

static const char deleted[] = " (deleted)";

struct search {
    const char *id;
    const struct usage *limit;
    struct usage *usage;
    uint64_t *left;
    struct seen files, mapped;
};

static int search_take(struct search *search, uint64_t entries)
{
    if (*search->left < entries)
        return USAGE_MUCH;
    *search->left -= entries;
    return 0;
}

static uint64_t number_of(uint64_t device, uint64_t inode)
{
    return inode ^ device << 40;
}

/*
 * Of a thread, what it holds by its name in `dir`: those of a machine's disk are an overlay's. Of every kind: a folder
 * that was full keeps its blocks. -ENOENT: nothing is held by that name any more.
 */
static int count_held(struct search *search, int dir, const char *name)
{
    struct statfs fs;
    struct stat st;
    AUTO_FD fd = -1;
    int r = search_take(search, 1);

    if (r != 0)
        return r;
    if (fstatat(dir, name, &st, 0) < 0)
        return -ENOENT;
    if (st.st_nlink > 0)
        return 0;
    fd = openat(dir, name, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != OVERLAYFS_SUPER_MAGIC)
        return 0;
    if (seen_first(&search->files, number_of(st.st_dev, st.st_ino)))
        usage_add(search->usage, &st);
    return usage_is_past(search->usage, search->limit) ? USAGE_PAST : 0;
}

static int count_descriptors(struct search *search, int thread)
{
    int fd = openat(thread, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir) {
        fd_close(&fd);
        return 0;
    }
    for (struct dirent *entry; r <= 0 && (entry = readdir(dir));) {
        if (entry->d_name[0] != '.')
            r = count_held(search, dirfd(dir), entry->d_name);
    }
    closedir(dir);
    return r > 0 ? r : 0;
}

/* ---- mappings ---- */

/* A line of `maps` as it comes in pieces, however long its path is. */
struct line {
    size_t size;
    char head[HEAD], tail[sizeof deleted]; /* tail: its last bytes, whole when there are as many */
};

static void line_add(struct line *line, struct str part)
{
    enum { TAIL = sizeof deleted - 1 };
    size_t head = line->size < HEAD - 1 ? HEAD - 1 - line->size : 0;

    if (head > part.len)
        head = part.len;
    memcpy(line->head + line->size, part.p, head);
    if (head)
        line->head[line->size + head] = '\0';
    if (part.len >= TAIL) {
        memcpy(line->tail, part.p + part.len - TAIL, TAIL);
    } else {
        memmove(line->tail, line->tail + part.len, TAIL - part.len);
        memcpy(line->tail + TAIL - part.len, part.p, part.len);
    }
    line->size += part.len;
}

/*
 * "7f0a-7f0b r--s 00000000 00:1f 1234   /root/gone (deleted)": a mapping keeps what was closed and deleted. Its device
 * and inode may not be those that stat tells, but are the same wherever the file is mapped.
 */
static int count_line(struct search *search, int thread, const struct line *line)
{
    unsigned long from, to, inode;
    uint64_t number;
    unsigned major, minor;
    char name[64];
    int r = search_take(search, 1 + line->size / LINE_ENTRY);

    if (r != 0 || memcmp(line->tail, deleted, sizeof deleted - 1) != 0 ||
        sscanf(line->head, "%lx-%lx %*s %*x %x:%x %lu", &from, &to, &major, &minor, &inode) != 5)
        return r;
    number = number_of((uint64_t)major << 20 | minor, inode);
    if (seen_has(&search->mapped, number))
        return 0;
    snprintf(name, sizeof name, "map_files/%lx-%lx", from, to); /* without the zeros in front */
    r = count_held(search, thread, name);
    if (r == 0)
        seen_first(&search->mapped, number);
    return r > 0 ? r : 0;
}

static int count_mappings(struct search *search, int thread)
{
    AUTO_FD maps = openat(thread, "maps", O_RDONLY | O_CLOEXEC);
    struct line line = {0};
    char piece[PIECE];
    ssize_t size;
    int r = 0;

    while (r == 0 && maps >= 0 && (size = read(maps, piece, sizeof piece)) > 0) {
        for (struct str rest = {piece, (size_t)size}; r == 0 && rest.len;) {
            const char *end = memchr(rest.p, '\n', rest.len);
            size_t part = end ? (size_t)(end - rest.p) : rest.len;

            line_add(&line, str_first(rest, part));
            rest = str_skip(rest, part + (end != NULL));
            if (end) {
                r = count_line(search, thread, &line);
                line = (struct line){0};
            }
        }
    }
    return r;
}

/* ---- processes ---- */

/* What ends gives up its memory before its descriptors: what has a program now had both all the time. */
static bool lives(int thread)
{
    char path[8];

    return readlinkat(thread, "exe", path, sizeof path) >= 0 || errno == ENAMETOOLONG;
}

/* Its number may be another's by now: the folder, once open, stays this one's. */
static bool is_of_machine(int thread, const char *id)
{
    AUTO_BUF text = BUF_INIT;

    return file_read(thread, "cgroup", &text, 64 * 1024, &ERR_INIT) == 0 && str_contains(buf_str(&text), str_of(id));
}

struct threads {
    unsigned ended; /* while they were looked at */
    bool counted;   /* one was, for all of its process */
};

/* By the folder of its own that each thread has in /proc, though not listed: the one in its process's has no mappings.
 */
static int count_thread(struct search *search, const char *number, struct threads *threads)
{
    static const char *const links[] = {"exe", "cwd", "root"};
    char path[64];
    AUTO_FD thread = -1;
    int r = search_take(search, 1);

    snprintf(path, sizeof path, "/proc/%.20s", number);
    thread = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r != 0 || thread < 0 || !lives(thread) || !is_of_machine(thread, search->id))
        return r;
    for (size_t i = 0; i < ARRAY_LEN(links) && r <= 0; i++)
        r = count_held(search, thread, links[i]);
    if (r <= 0)
        r = count_descriptors(search, thread);
    if (r == 0)
        r = count_mappings(search, thread);
    threads->counted = r == 0 && lives(thread);
    threads->ended += !threads->counted;
    return r;
}

/* The first thread may have ended, and its memory and descriptors be the others'. */
static int count_threads(struct search *search, const char *tasks, struct threads *threads)
{
    DIR *dir = opendir(tasks); /* O_CLOEXEC */
    int r = 0;

    for (struct dirent *entry; dir && r == 0 && !threads->counted && (entry = readdir(dir));) {
        if (entry->d_name[0] != '.')
            r = count_thread(search, entry->d_name, threads);
    }
    if (dir)
        closedir(dir);
    return r;
}

/* As often as all that were found have ended meanwhile: when it is the process that ends, that is soon over. */
static int count_process(struct search *search, const char *tasks)
{
    struct threads threads = {0};
    unsigned ended;
    int r;

    do {
        ended = threads.ended;
        r = count_threads(search, tasks, &threads);
        if (r == 0 && threads.ended > THREAD_TRIES)
            r = USAGE_MUCH;
    } while (r == 0 && !threads.counted && threads.ended > ended);
    return r;
}

int usage_of_deleted(const char *processes, const char *id, const struct usage *limit, uint64_t *left,
                     struct usage *usage)
{
    struct search search = {.id = id, .limit = limit, .usage = usage, .left = left};
    AUTO_BUF text = BUF_INIT;
    int r = 0;

    if (file_read(AT_FDCWD, processes, &text, PROCESSES_LIMIT, &ERR_INIT) < 0)
        return 0;
    for (struct str rest = buf_str(&text); r == 0 && rest.p && rest.len;) {
        struct str number = str_cut(&rest, '\n');
        char path[64];

        snprintf(path, sizeof path, "/proc/" STR_FMT "/task", STR_ARG(str_first(number, 20)));
        r = count_process(&search, path);
    }
    seen_free(&search.files);
    seen_free(&search.mapped);
    return r;
}
