#include "workload/cgroup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const wanted[CGROUP_CONTROLLERS] = {
    [CGROUP_MEMORY] = "memory", [CGROUP_PIDS] = "pids", [CGROUP_CPU] = "cpu"};

static int put(const char *folder, const char *file, const char *value)
{
    char path[CGROUP_PATH + 160];
    AUTO_FD fd = -1;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd_write_all(fd, value, strlen(value));
}

static bool has_word(struct str words, char separator, const char *word)
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

        if (controller ? has_word(controllers, ',', controller) : str_equal(number, S("0")))
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
        if (controller ? str_equal(type, S("cgroup")) && has_word(options, ',', controller)
                       : str_equal(type, S("cgroup2")))
            return true;
    }
    return false;
}

struct found {
    char path[CGROUP_PATH]; /* our own cgroup */
    size_t top;             /* length of the part that is the mount's */
};

static bool locate(struct str table, struct str mounts, const char *controller, struct found *ret)
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
    return snprintf(ret->path, CGROUP_PATH, STR_FMT STR_FMT, STR_ARG(place.point), STR_ARG(own)) < CGROUP_PATH - 64;
}

/* ---- version 2 ---- */

#define LEAF "haar.server"

enum { TRIES = 20 };

static bool lists(const char *folder, const char *file, const char *controller)
{
    char path[CGROUP_PATH + 32];
    AUTO_BUF text = BUF_INIT;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    return file_read(AT_FDCWD, path, &text, 4096, &ERR_INIT) == 0 &&
           has_word(str_trim(buf_str(&text)), ' ', controller);
}

/*
 * How many of the wanted controllers what is made in the folder will have. In one write, which the kernel obeys whole
 * or not at all: some go without memory where processes are, and leave children that no process may enter.
 */
static unsigned pass_on(const char *folder)
{
    AUTO_BUF words = BUF_INIT;
    unsigned passed = 0;

    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        if (!lists(folder, "cgroup.controllers", wanted[i]))
            continue;
        passed++;
        if (!lists(folder, "cgroup.subtree_control", wanted[i]))
            buf_printf(&words, "+%s ", wanted[i]);
    }
    buf_byte(&words, '\0');
    return words.len == 1 || put(folder, "cgroup.subtree_control", words.p) == 0 ? passed : 0;
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
        put(to, "cgroup.procs", word);
    }
}

static bool has_controllers(const char *folder)
{
    bool has = false;

    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        has = has || lists(folder, "cgroup.controllers", wanted[i]);
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
    for (int i = 0; i < TRIES && has_controllers(folder) && pass_on(folder) == 0; i++)
        move_to_leaf(folder);
}

/*
 * A cgroup with processes of its own passes no controllers on (but the host's first one does). If only the server is
 * in its own, it moves to a leaf. Else machines go under the nearest cgroup above that can: of a login session, where
 * the shell is too, its user's slice. In a container there is none above that shows, and all that it runs moves to the
 * leaf, as engines in containers do.
 */
static void place_unified(struct found *found)
{
    char at[CGROUP_PATH];
    bool top = strlen(found->path) <= found->top;
    unsigned best = 0;

    snprintf(at, sizeof at, "%s", found->path);
    if (top || alone_in(at))
        make_room(at);
    for (;;) {
        unsigned passed = pass_on(at);

        if (passed > best) {
            snprintf(found->path, CGROUP_PATH, "%s", at);
            best = passed;
        }
        if (best == ARRAY_LEN(wanted) || strlen(at) <= found->top)
            return;
        *strrchr(at, '/') = '\0';
    }
}

/* The leaf's processes go back, and the leaf: nothing of ours is below the folder any more. */
static void leave_leaf(const char *folder)
{
    char leaf[CGROUP_PATH + 16];

    snprintf(leaf, sizeof leaf, "%s/" LEAF, folder);
    if (access(leaf, F_OK) < 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        char word[24];

        snprintf(word, sizeof word, "-%s", wanted[i]);
        put(folder, "cgroup.subtree_control", word);
    }
    for (int i = 0; i < TRIES && rmdir(leaf) < 0 && errno == EBUSY; i++)
        move_all(leaf, folder);
}

/* ---- this owner's ---- */

static int owner_folder(char path[CGROUP_PATH], struct str owner, bool unified, struct err *err)
{
    size_t at = strlen(path);

    snprintf(path + at, CGROUP_PATH - at, "/haar");
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_os(err, errno, "make cgroup %s", path);
    if (unified)
        pass_on(path);
    at = strlen(path);
    snprintf(path + at, CGROUP_PATH - at, "/" STR_FMT, STR_ARG(str_first(owner, 16)));
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_os(err, errno, "make cgroup %s", path);
    if (unified)
        pass_on(path);
    return 0;
}

/* cpu and cpuacct may share a mount with others; one tree serves then for both. */
static bool have_tree(const struct cgroups *cgroups, const char *path)
{
    for (size_t i = 0; i < cgroups->count; i++) {
        if (strncmp(cgroups->trees[i].path, path, strlen(path)) == 0)
            return true;
    }
    return false;
}

static int add_tree(struct cgroups *cgroups, const char *path, const char *controller, struct str owner,
                    struct err *err)
{
    struct cgroup_tree tree = {.unified = controller == NULL};
    int r;

    if (have_tree(cgroups, path))
        return 0;
    snprintf(tree.path, sizeof tree.path, "%s", path);
    snprintf(tree.controller, sizeof tree.controller, "%s", controller ? controller : "");
    r = owner_folder(tree.path, owner, tree.unified, err);
    if (r == 0)
        cgroups->trees[cgroups->count++] = tree;
    return r;
}

struct view {
    struct str table, mounts;
    struct found unified; /* path empty: version 2 is not there */
};

static int add_controller(struct cgroups *cgroups, const struct view *view, const char *controller, struct str owner,
                          struct err *err)
{
    struct found found;

    if (locate(view->table, view->mounts, controller, &found))
        return add_tree(cgroups, found.path, controller, owner, err);
    if (!view->unified.path[0])
        return err_plain(err, "no hierarchy of cgroups has the controller %s", controller);
    if (!lists(view->unified.path, "cgroup.subtree_control", controller))
        return err_plain(err, "cgroup %s does not pass the controller %s on", view->unified.path, controller);
    return add_tree(cgroups, view->unified.path, NULL, owner, err);
}

void cgroups_open(struct str owner, const char *const without[CGROUP_CONTROLLERS], struct cgroups *ret_cgroups)
{
    AUTO_BUF table = BUF_INIT, mounts = BUF_INIT;
    struct err err = ERR_INIT;
    struct view view = {0};

    *ret_cgroups = (struct cgroups){0};
    if (file_read(AT_FDCWD, "/proc/self/cgroup", &table, 64 * 1024, &err) == 0 &&
        file_read(AT_FDCWD, "/proc/self/mountinfo", &mounts, 16 * 1024 * 1024, &err) == 0)
        view = (struct view){.table = buf_str(&table), .mounts = buf_str(&mounts)};
    if (locate(view.table, view.mounts, NULL, &view.unified))
        place_unified(&view.unified);
    for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
        const char *why = without[i];

        err = ERR_INIT;
        if (!why && add_controller(ret_cgroups, &view, wanted[i], owner, &err) < 0)
            why = err.text;
        snprintf(ret_cgroups->missing[i], sizeof ret_cgroups->missing[i], "%.159s", why ? why : "");
    }
    /* Without limits a machine's processes are still in a cgroup of its own. */
    if (ret_cgroups->count == 0 && view.unified.path[0] &&
        add_tree(ret_cgroups, view.unified.path, NULL, owner, &err) < 0)
        log_warning("%s", err.text);
}

static void note_older(struct cgroups *cgroups, struct str path)
{
    if (!str_contains(path, S("/haar/")) || path.len >= CGROUP_PATH)
        return;
    for (size_t i = 0; i < cgroups->count; i++) {
        if (str_equal(path, str_of(cgroups->trees[i].path)))
            return;
    }
    for (size_t i = 0; i < CGROUP_OLDER; i++) {
        if (cgroups->older[i][0])
            continue;
        str_to_z(path, cgroups->older[i], CGROUP_PATH);
        return;
    }
}

int cgroups_keep(struct cgroups *cgroups, const char *run_dir, struct err *err)
{
    AUTO_BUF kept = BUF_INIT, lines = BUF_INIT;
    char path[MONITOR_PATH];
    struct str rest;

    snprintf(path, sizeof path, "%s/cgroups", run_dir);
    if (file_read(AT_FDCWD, path, &kept, 16 * 1024, &ERR_INIT) == 0)
        for (rest = buf_str(&kept); rest.p && rest.len;)
            note_older(cgroups, str_cut(&rest, '\n'));
    for (size_t i = 0; i < cgroups->count; i++)
        buf_printf(&lines, "%s\n", cgroups->trees[i].path);
    for (size_t i = 0; i < CGROUP_OLDER && cgroups->older[i][0]; i++) {
        if (access(cgroups->older[i], F_OK) == 0)
            buf_printf(&lines, "%s\n", cgroups->older[i]);
    }
    return file_write_atomic(AT_FDCWD, path, buf_str(&lines), 0600, err);
}

/* ---- a machine's ---- */

enum { PERIOD_US = 100000 };

static int limit_unified(const struct cgroups *cgroups, const char *folder, const struct cgroup_limits *limits)
{
    const struct {
        enum cgroup_controller controller;
        const char *file;
        uint64_t number;
        unsigned period;
    } files[] = {
        {CGROUP_MEMORY, "memory.max", limits->memory_bytes, 0},
        {CGROUP_MEMORY, "memory.swap.max", 0, 0},
        {CGROUP_PIDS, "pids.max", limits->processes, 0},
        {CGROUP_CPU, "cpu.max", (uint64_t)limits->vcpus * PERIOD_US, PERIOD_US},
    };
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char value[64];
        int at;

        if (cgroups->missing[files[i].controller][0])
            continue;
        at = snprintf(value, sizeof value, "%llu", (unsigned long long)files[i].number);

        if (files[i].period)
            snprintf(value + at, sizeof value - (size_t)at, " %u", files[i].period);
        /* A kernel without swap accounting has no file for it. */
        if (put(folder, files[i].file, value) < 0 && strcmp(files[i].file, "memory.swap.max") != 0)
            r = -1;
    }
    return r;
}

static int limit_one(const struct cgroup_tree *tree, const char *folder, const struct cgroup_limits *limits)
{
    char value[64];

    if (str_equal(str_of(tree->controller), S("memory"))) {
        snprintf(value, sizeof value, "%llu", (unsigned long long)limits->memory_bytes);
        return put(folder, "memory.limit_in_bytes", value);
    }
    if (str_equal(str_of(tree->controller), S("pids"))) {
        snprintf(value, sizeof value, "%u", limits->processes);
        return put(folder, "pids.max", value);
    }
    snprintf(value, sizeof value, "%u", limits->vcpus * PERIOD_US);
    return put(folder, "cpu.cfs_quota_us", value);
}

int cgroups_name(const struct cgroups *cgroups, struct str id, struct monitor_config *config, struct err *err)
{
    for (size_t i = 0; i < cgroups->count; i++) {
        const struct cgroup_tree *tree = &cgroups->trees[i];
        char folder[MONITOR_PATH - 24];

        if (snprintf(folder, sizeof folder, "%s/" STR_FMT, tree->path, STR_ARG(id)) >= (int)sizeof folder)
            return err_os(err, ENAMETOOLONG, "name cgroup %s", folder);
        /* On version 1, joining by the file "tasks" spares the wait for a grace period that "cgroup.procs" has. */
        snprintf(config->join[i], MONITOR_PATH, "%s/%s", folder, tree->unified ? "cgroup.procs" : "tasks");
        if (tree->unified)
            snprintf(config->oom, MONITOR_PATH, "%s/memory.events", folder);
        else if (str_equal(str_of(tree->controller), S("memory")))
            snprintf(config->oom, MONITOR_PATH, "%s/memory.oom_control", folder);
    }
    return 0;
}

int cgroups_make(const struct cgroups *cgroups, struct str id, const struct cgroup_limits *limits, struct err *err)
{
    for (size_t i = 0; i < cgroups->count; i++) {
        const struct cgroup_tree *tree = &cgroups->trees[i];
        char folder[MONITOR_PATH];

        snprintf(folder, sizeof folder, "%s/" STR_FMT, tree->path, STR_ARG(id));
        if (mkdir(folder, 0755) < 0 && errno != EEXIST)
            return err_os(err, errno, "make cgroup %s", folder);
        if ((tree->unified ? limit_unified(cgroups, folder, limits) : limit_one(tree, folder, limits)) < 0)
            log_warning("cgroup %s: its limit cannot be set", folder);
    }
    return 0;
}

/* By pidfd, and only if it is still in the file after the pidfd was made: a number alone may be another's by then. */
static void kill_listed(const char *file)
{
    AUTO_BUF text = BUF_INIT, again = BUF_INIT;
    struct str rest;

    if (file_read(AT_FDCWD, file, &text, 1024 * 1024, &ERR_INIT) < 0)
        return;
    for (rest = buf_str(&text); rest.p && rest.len;) {
        struct str line = str_cut(&rest, '\n');
        int64_t pid;
        char word[24];
        AUTO_FD fd = -1;

        if (!str_to_int(line, &pid) || pid <= 0)
            continue;
        fd = pidfd_open((pid_t)pid, 0);
        again.len = 0;
        snprintf(word, sizeof word, STR_FMT, STR_ARG(line));
        if (fd >= 0 && file_read(AT_FDCWD, file, &again, 1024 * 1024, &ERR_INIT) == 0 &&
            has_word(buf_str(&again), '\n', word))
            pidfd_send_signal(fd, SIGKILL, NULL, 0);
    }
}

/* A cgroup whose last process has just ended may say EBUSY for a moment. */
static int remove_folder(const char *folder, const char *processes, struct err *err)
{
    for (int i = 0; i < 200; i++) {
        if (rmdir(folder) == 0 || errno == ENOENT)
            return 0;
        if (errno != EBUSY)
            break;
        kill_listed(processes);
        usleep(i < 20 ? 500 : 5000);
    }
    return err_os(err, errno, "remove cgroup %s", folder);
}

int cgroups_remove(const struct monitor_config *config, struct err *err)
{
    int r = 0;

    for (int i = 0; i < MONITOR_CGROUPS && config->join[i][0]; i++) {
        char folder[MONITOR_PATH];
        char *slash;

        snprintf(folder, sizeof folder, "%s", config->join[i]);
        slash = strrchr(folder, '/');
        if (!slash || !strstr(folder, "/haar/"))
            continue;
        *slash = '\0';
        r = remove_folder(folder, config->join[i], err) < 0 ? -1 : r;
    }
    return r;
}

static void sweep(const char *path)
{
    DIR *dir = opendir(path);

    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char folder[CGROUP_PATH + 256], processes[CGROUP_PATH + 280];
        struct err err = ERR_INIT;

        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        snprintf(folder, sizeof folder, "%s/%s", path, entry->d_name);
        snprintf(processes, sizeof processes, "%s/cgroup.procs", folder);
        if (remove_folder(folder, processes, &err) < 0)
            log_warning("%s", err.text);
    }
    if (dir)
        closedir(dir);
}

static void close_one(const char *folder, bool all)
{
    char path[CGROUP_PATH];

    if (all)
        sweep(folder);
    snprintf(path, sizeof path, "%s", folder);
    if (rmdir(path) < 0)
        return;
    *strrchr(path, '/') = '\0';
    if (rmdir(path) < 0) /* of all owners, unless this was the last */
        return;
    *strrchr(path, '/') = '\0';
    leave_leaf(path);
}

void cgroups_close(const struct cgroups *cgroups, bool all)
{
    for (size_t i = 0; i < cgroups->count; i++)
        close_one(cgroups->trees[i].path, all);
    for (size_t i = 0; i < CGROUP_OLDER && cgroups->older[i][0]; i++)
        close_one(cgroups->older[i], all);
}
