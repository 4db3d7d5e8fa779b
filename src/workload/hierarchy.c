#include "workload/hierarchy.h"
#include "base/fd.h"
#include "base/mem.h"
#include "workload/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const cgroup_controllers[CGROUP_CONTROLLERS] = {
    [CGROUP_MEMORY] = "memory", [CGROUP_PIDS] = "pids", [CGROUP_CPU] = "cpu"};

int cgroup_put(const char *folder, const char *file, const char *value)
{
    char path[CGROUP_PATH + 160];
    AUTO_FD fd = -1;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd_write_all(fd, value, strlen(value));
}

bool cgroup_has_word(struct str words, char separator, const char *word)
{
    while (words.p) {
        if (str_equal(str_cut(&words, separator), str_of(word)))
            return true;
    }
    return false;
}

/* ---- where they are ---- */

/* The path that /proc/self/cgroup has for a version 1 controller, or for version 2 (NULL). */
static struct str own_path(struct str table, const char *controller)
{
    while (table.p && table.len) {
        struct str line = str_cut(&table, '\n');
        struct str number = str_cut(&line, ':'), controllers = str_cut(&line, ':');

        if (controller ? cgroup_has_word(controllers, ',', controller) : str_equal(number, S("0")))
            return line;
    }
    return (struct str){0};
}

struct place {
    struct str root, point; /* what of the hierarchy is mounted, and where */
};

/* Finds the mount of a version 1 controller, or of version 2 (NULL), in mountinfo. */
static bool find_mount(struct str mounts, const char *controller, struct place *ret)
{
    while (mounts.p && mounts.len) {
        struct str line = str_cut(&mounts, '\n'), rest = line, options, type;

        for (int i = 0; i < 3; i++)
            str_cut(&rest, ' ');
        ret->root = str_cut(&rest, ' ');
        ret->point = str_cut(&rest, ' ');
        while (rest.p && !str_starts(rest, S("- ")))
            str_cut(&rest, ' ');
        rest = str_skip(rest, 2);
        type = str_cut(&rest, ' ');
        str_cut(&rest, ' ');
        options = rest;
        if (controller ? str_equal(type, S("cgroup")) && cgroup_has_word(options, ',', controller)
                       : str_equal(type, S("cgroup2")))
            return true;
    }
    return false;
}

static bool find_own(struct str table, struct str mounts, const char *controller, struct hierarchy *ret)
{
    struct place place;
    struct str own = own_path(table, controller);

    if (!own.p || !find_mount(mounts, controller, &place))
        return false;
    if (place.root.len > 1 && str_starts(own, place.root))
        own = str_skip(own, place.root.len);
    if (str_equal(own, S("/")))
        own = S("");
    ret->top = place.point.len;
    if (snprintf(ret->path, CGROUP_PATH, STR_FMT STR_FMT, STR_ARG(place.point), STR_ARG(own)) >= CGROUP_PATH - 64)
        return false;
    memcpy(ret->own, ret->path, CGROUP_PATH);
    return true;
}

/* ---- version 2 ---- */

#define LEAF "haar.server"

enum { TRIES = 20 };

bool cgroup_lists(const char *folder, const char *file, const char *controller)
{
    char path[CGROUP_PATH + 32];
    AUTO_BUF text = BUF_INIT;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    return file_read(AT_FDCWD, path, &text, 4096, &ERR_INIT) == 0 &&
           cgroup_has_word(str_trim(buf_str(&text)), ' ', controller);
}

/* The host's first cgroup, not a container's: that one has no events. */
static bool is_root(const char *folder)
{
    char path[CGROUP_PATH + 32];

    snprintf(path, sizeof path, "%s/cgroup.events", folder);
    return access(path, F_OK) < 0;
}

static bool is_empty(const char *folder)
{
    AUTO_BUF text = BUF_INIT;
    char path[CGROUP_PATH + 32];

    snprintf(path, sizeof path, "%s/cgroup.procs", folder);
    return file_read(AT_FDCWD, path, &text, 1024 * 1024, &ERR_INIT) == 0 && text.len == 0;
}

/*
 * How many of the wanted controllers what is made in the folder will have. In one write, which the kernel obeys whole
 * or not at all: where processes are, some go without memory and leave children that no process may enter. Elsewhere
 * one that it refuses (cpu, where there are processes with real-time scheduling) does not keep back the others.
 */
unsigned cgroup_pass_on(const char *folder)
{
    AUTO_BUF words = BUF_INIT;
    unsigned passed = 0;

    for (size_t i = 0; i < (size_t)CGROUP_CONTROLLERS; i++) {
        if (cgroup_lists(folder, "cgroup.controllers", cgroup_controllers[i]) &&
            !cgroup_lists(folder, "cgroup.subtree_control", cgroup_controllers[i]))
            buf_printf(&words, "+%s ", cgroup_controllers[i]);
    }
    buf_byte(&words, '\0');
    if (words.len > 1 && cgroup_put(folder, "cgroup.subtree_control", words.p) < 0 &&
        (is_root(folder) || is_empty(folder)))
        for (struct str rest = str_of(words.p); rest.p && rest.len;) {
            char word[24];

            str_to_z(str_cut(&rest, ' '), word, sizeof word);
            cgroup_put(folder, "cgroup.subtree_control", word);
        }
    for (size_t i = 0; i < (size_t)CGROUP_CONTROLLERS; i++)
        passed += cgroup_lists(folder, "cgroup.subtree_control", cgroup_controllers[i]);
    return passed;
}

static bool alone_in(const char *folder)
{
    char path[CGROUP_PATH + 32];
    AUTO_BUF text = BUF_INIT;
    int64_t pid;

    snprintf(path, sizeof path, "%s/cgroup.procs", folder);
    return file_read(AT_FDCWD, path, &text, 4096, &ERR_INIT) == 0 && str_to_int(str_trim(buf_str(&text)), &pid) &&
           pid == getpid();
}

/* Who has ended meanwhile is not missed. */
static void move_all(const char *from, const char *to)
{
    AUTO_BUF text = BUF_INIT;
    char path[CGROUP_PATH + 32];

    snprintf(path, sizeof path, "%s/cgroup.procs", from);
    if (file_read(AT_FDCWD, path, &text, 1024 * 1024, &ERR_INIT) < 0)
        return;
    for (struct str rest = buf_str(&text); rest.p && rest.len;) {
        char word[24];

        str_to_z(str_cut(&rest, '\n'), word, sizeof word);
        cgroup_put(to, "cgroup.procs", word);
    }
}

static bool has_controllers(const char *folder)
{
    bool has = false;

    for (size_t i = 0; i < (size_t)CGROUP_CONTROLLERS; i++)
        has = has || cgroup_lists(folder, "cgroup.controllers", cgroup_controllers[i]);
    return has;
}

static void move_to_leaf(const char *folder)
{
    char leaf[CGROUP_PATH + 16];

    snprintf(leaf, sizeof leaf, "%s/" LEAF, folder);
    if (mkdir(leaf, 0755) == 0 || errno == EEXIST)
        move_all(folder, leaf);
}

/* Again where somebody has forked meanwhile. */
static void make_room(const char *folder)
{
    for (int i = 0; i < TRIES && has_controllers(folder) && cgroup_pass_on(folder) == 0; i++)
        move_to_leaf(folder);
}

/* The leaf's processes go back, and the leaf: nothing of ours is below the folder any more. */
void cgroup_leave_leaf(const char *folder)
{
    char leaf[CGROUP_PATH + 16];

    snprintf(leaf, sizeof leaf, "%s/" LEAF, folder);
    if (access(leaf, F_OK) < 0)
        return;
    for (size_t i = 0; i < (size_t)CGROUP_CONTROLLERS; i++) {
        char word[24];

        snprintf(word, sizeof word, "-%s", cgroup_controllers[i]);
        cgroup_put(folder, "cgroup.subtree_control", word);
    }
    for (int i = 0; i < TRIES && rmdir(leaf) < 0 && errno == EBUSY; i++)
        move_all(leaf, folder);
}

/*
 * A cgroup with processes of its own passes no controllers on (but the host's first one does). If only the server is
 * in its own, it moves to a leaf. Else machines go under the nearest cgroup above that can: of a login session, where
 * the shell is too, its user's slice. In a container there is none above that shows, and all that it runs moves to the
 * leaf, as engines in containers do.
 */
static void place_unified(struct hierarchy *found)
{
    char own[CGROUP_PATH], at[CGROUP_PATH];
    bool top = strlen(found->path) <= found->top;
    unsigned best = 0;

    memcpy(own, found->path, sizeof own);
    memcpy(at, own, sizeof at);
    if ((top && !is_root(own)) || alone_in(own))
        make_room(own);
    for (;;) {
        unsigned passed = cgroup_pass_on(at);

        if (passed > best) {
            memcpy(found->path, at, sizeof at);
            best = passed;
        }
        if (best == CGROUP_CONTROLLERS || strlen(at) <= found->top)
            break;
        *strrchr(at, '/') = '\0';
    }
    if (strcmp(found->path, own) != 0)
        cgroup_leave_leaf(own);
}

/* Where the server is by now. */
static void note_own(struct str mounts, struct hierarchy *unified)
{
    AUTO_BUF table = BUF_INIT;
    struct hierarchy now;

    if (file_read(AT_FDCWD, "/proc/self/cgroup", &table, 64 * 1024, &ERR_INIT) == 0 &&
        find_own(buf_str(&table), mounts, NULL, &now))
        memcpy(unified->own, now.own, CGROUP_PATH);
}

void hierarchies_open(struct hierarchies *ret)
{
    *ret = (struct hierarchies){.table = BUF_INIT, .mounts = BUF_INIT};
    if (file_read(AT_FDCWD, "/proc/self/cgroup", &ret->table, 64 * 1024, &ERR_INIT) < 0 ||
        file_read(AT_FDCWD, "/proc/self/mountinfo", &ret->mounts, 16 * 1024 * 1024, &ERR_INIT) < 0)
        return;
    if (find_own(buf_str(&ret->table), buf_str(&ret->mounts), NULL, &ret->unified)) {
        place_unified(&ret->unified);
        note_own(buf_str(&ret->mounts), &ret->unified);
    } else {
        ret->unified.path[0] = '\0';
    }
    ret->unified.is_unified = true;
}

void hierarchies_free(struct hierarchies *hierarchies)
{
    buf_free(&hierarchies->table);
    buf_free(&hierarchies->mounts);
}

int hierarchy_with(const struct hierarchies *hierarchies, const char *controller, struct hierarchy *ret,
                   struct err *err)
{
    *ret = (struct hierarchy){0};
    if (find_own(buf_str(&hierarchies->table), buf_str(&hierarchies->mounts), controller, ret))
        return 0;
    if (!hierarchies->unified.path[0])
        return err_plain(err, "no hierarchy of cgroups has the controller %s", controller);
    if (!cgroup_lists(hierarchies->unified.path, "cgroup.subtree_control", controller))
        return err_plain(err, "cgroup %s does not pass the controller %s on", hierarchies->unified.path, controller);
    *ret = hierarchies->unified;
    return 0;
}

/* ---- how much there is ---- */

/* The number in a file; none, or "max": UINT64_MAX. */
static uint64_t read_limit(const char *path)
{
    AUTO_BUF text = BUF_INIT;
    int64_t number;

    if (file_read(AT_FDCWD, path, &text, 4096, &ERR_INIT) < 0 || !str_to_int(str_trim(buf_str(&text)), &number) ||
        number < 0)
        return UINT64_MAX;
    return (uint64_t)number;
}

uint64_t hierarchy_processes(const struct hierarchy *hierarchy)
{
    uint64_t least = read_limit("/proc/sys/kernel/pid_max"), limit = read_limit("/proc/sys/kernel/threads-max");
    char at[CGROUP_PATH], file[CGROUP_PATH + 16];

    memcpy(at, hierarchy->path, sizeof at);
    for (;;) {
        least = limit < least ? limit : least;
        if (strlen(at) < hierarchy->top)
            return least;
        snprintf(file, sizeof file, "%s/pids.max", at);
        limit = read_limit(file);
        *strrchr(at, '/') = '\0';
    }
}
