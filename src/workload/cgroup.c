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

/* ---- this owner's ---- */

static int owner_folder(char path[CGROUP_PATH], struct str owner, bool unified, struct err *err)
{
    size_t at = strlen(path);

    snprintf(path + at, CGROUP_PATH - at, "/haar");
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_os(err, errno, "make cgroup %s", path);
    if (unified)
        cgroup_pass_on(path);
    at = strlen(path);
    snprintf(path + at, CGROUP_PATH - at, "/" STR_FMT, STR_ARG(str_first(owner, 16)));
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_os(err, errno, "make cgroup %s", path);
    if (unified)
        cgroup_pass_on(path);
    return 0;
}

/* cpu and cpuacct may share a mount with others; one tree serves then for both. */
static struct cgroup_tree *find_tree(struct cgroups *cgroups, const char *path)
{
    for (size_t i = 0; i < cgroups->count; i++) {
        if (strncmp(cgroups->trees[i].path, path, strlen(path)) == 0)
            return &cgroups->trees[i];
    }
    return NULL;
}

static void note_passed_on(struct cgroup_tree *tree)
{
    for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
        size_t at = strlen(tree->passed_on);

        if (cgroup_lists(tree->path, "cgroup.subtree_control", cgroup_controllers[i]))
            snprintf(tree->passed_on + at, sizeof tree->passed_on - at, "+%s ", cgroup_controllers[i]);
    }
}

static int add_tree(struct cgroups *cgroups, const struct hierarchy *in, const char *controller, struct str owner,
                    struct err *err)
{
    struct cgroup_tree tree = {.unified = in->is_unified}, *there = find_tree(cgroups, in->path);
    int r;

    tree.split = tree.unified || str_equal(str_of(controller), str_of(cgroup_controllers[CGROUP_CPU]));
    if (there) {
        there->split = there->split || tree.split;
        return 0;
    }
    memcpy(tree.path, in->path, sizeof tree.path);
    memcpy(tree.own, in->own, sizeof tree.own);
    snprintf(tree.controller, sizeof tree.controller, "%s", controller);
    r = owner_folder(tree.path, owner, tree.unified, err);
    if (r == 0 && tree.unified)
        note_passed_on(&tree);
    if (r == 0)
        cgroups->trees[cgroups->count++] = tree;
    return r;
}

/* Every server that uses this folder says the same. */
static void limit_all(struct cgroups *cgroups, const struct hierarchy *in)
{
    uint64_t half = hierarchy_processes(in) / 2;
    char folder[CGROUP_PATH + 8], value[24];

    snprintf(folder, sizeof folder, "%s/haar", in->path);
    snprintf(value, sizeof value, "%llu", (unsigned long long)half);
    if (half <= UINT32_MAX && cgroup_put(folder, "pids.max", value) == 0)
        cgroups->processes = (unsigned)half;
    else
        log_warning("cgroup %s: the processes of all machines together are not limited", folder);
}

void cgroups_open(struct str owner, const char *const without[CGROUP_CONTROLLERS], struct cgroups *ret_cgroups)
{
    struct hierarchies hierarchies;
    struct hierarchy found;
    struct err err = ERR_INIT;

    *ret_cgroups = (struct cgroups){0};
    hierarchies_open(&hierarchies);
    for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
        const char *why = without[i];

        err = ERR_INIT;
        if (!why && (hierarchy_with(&hierarchies, cgroup_controllers[i], &found, &err) < 0 ||
                     add_tree(ret_cgroups, &found, cgroup_controllers[i], owner, &err) < 0))
            why = err.text;
        if (!why && i == CGROUP_PIDS)
            limit_all(ret_cgroups, &found);
        snprintf(ret_cgroups->missing[i], sizeof ret_cgroups->missing[i], "%.159s", why ? why : "");
    }
    /* Without limits a machine's processes are still in a cgroup of its own. */
    if (ret_cgroups->count == 0 && hierarchies.unified.path[0] &&
        add_tree(ret_cgroups, &hierarchies.unified, "", owner, &err) < 0)
        log_warning("%s", err.text);
    hierarchies_free(&hierarchies);
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

int cgroups_keep(struct cgroups *cgroups, const char *state_dir, struct err *err)
{
    AUTO_BUF kept = BUF_INIT, lines = BUF_INIT;
    char path[MONITOR_PATH];
    struct str rest;

    snprintf(path, sizeof path, "%s/cgroups", state_dir);
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

enum { PERIOD_US = 100000, GROUP_PATH = MONITOR_PATH + 32 };
#define GUEST "/guest"
#define MONITOR "/monitor"

static int limit_unified(const struct cgroups *cgroups, const char *folder, const struct cgroup_limits *limits)
{
    const struct {
        enum cgroup_controller controller;
        const char *file;
        uint64_t number;
        unsigned period;
    } files[] = {
        {CGROUP_MEMORY, GUEST "/memory.max", limits->memory_bytes, 0},
        {CGROUP_MEMORY, GUEST "/memory.swap.max", 0, 0},
        {CGROUP_PIDS, GUEST "/pids.max", limits->processes, 0},
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
        if (cgroup_put(folder, files[i].file, value) < 0 && !strstr(files[i].file, "memory.swap.max"))
            r = -1;
    }
    return r;
}

static int limit_one(const struct cgroup_tree *tree, const char *folder, const struct cgroup_limits *limits)
{
    char value[64];

    if (str_equal(str_of(tree->controller), S("memory"))) {
        snprintf(value, sizeof value, "%llu", (unsigned long long)limits->memory_bytes);
        return cgroup_put(folder, "memory.limit_in_bytes", value);
    }
    if (str_equal(str_of(tree->controller), S("pids"))) {
        snprintf(value, sizeof value, "%u", limits->processes);
        return cgroup_put(folder, "pids.max", value);
    }
    snprintf(value, sizeof value, "%u", limits->vcpus * PERIOD_US);
    return cgroup_put(folder, "cpu.cfs_quota_us", value);
}

int cgroups_name(const struct cgroups *cgroups, struct str id, struct monitor_config *config, struct err *err)
{
    for (size_t i = 0; i < cgroups->count; i++) {
        const struct cgroup_tree *tree = &cgroups->trees[i];
        char folder[MONITOR_PATH - 24];
        const char *members;

        if (snprintf(folder, sizeof folder, "%s/" STR_FMT, tree->path, STR_ARG(id)) >= (int)sizeof folder)
            return err_os(err, ENAMETOOLONG, "name cgroup %s", folder);
        /* On version 1, joining by the file "tasks" spares the wait for a grace period that "cgroup.procs" has. */
        members = tree->unified ? "cgroup.procs" : "tasks";
        snprintf(config->join[i], MONITOR_PATH, "%s%s/%s", folder, tree->split ? GUEST : "", members);
        if (tree->split && (!config->account[0] || !tree->unified)) { /* where cpu is, if it is anywhere */
            snprintf(config->account, MONITOR_PATH, "%s" MONITOR "/%s", folder, members);
            snprintf(config->home, MONITOR_PATH, "%s/%s", tree->own, members);
        }
        if (tree->unified)
            snprintf(config->oom, MONITOR_PATH, "%s" GUEST "/memory.events", folder);
        else if (str_equal(str_of(tree->controller), S("memory")))
            snprintf(config->oom, MONITOR_PATH, "%s/memory.oom_control", folder);
    }
    return 0;
}

static int make_group(const char *folder, struct err *err)
{
    return mkdir(folder, 0755) < 0 && errno != EEXIST ? err_os(err, errno, "make cgroup %s", folder) : 0;
}

/* The monitor makes its own. */
static int make_groups(const struct cgroup_tree *tree, const char *folder, struct err *err)
{
    char guest[GROUP_PATH];
    int r = make_group(folder, err);

    if (r < 0 || !tree->split)
        return r;
    if (tree->passed_on[0] && cgroup_put(folder, "cgroup.subtree_control", tree->passed_on) < 0)
        log_warning("cgroup %s passes no limits on", folder);
    snprintf(guest, sizeof guest, "%s" GUEST, folder);
    return make_group(guest, err);
}

int cgroups_make(const struct cgroups *cgroups, struct str id, const struct cgroup_limits *wanted, struct err *err)
{
    struct cgroup_limits limits = *wanted;

    if (cgroups->processes && limits.processes > cgroups->processes / 2)
        limits.processes = cgroups->processes / 2;
    for (size_t i = 0; i < cgroups->count; i++) {
        const struct cgroup_tree *tree = &cgroups->trees[i];
        char folder[MONITOR_PATH];
        int r;

        snprintf(folder, sizeof folder, "%s/" STR_FMT, tree->path, STR_ARG(id));
        r = make_groups(tree, folder, err);
        if (r < 0)
            return r;
        if ((tree->unified ? limit_unified(cgroups, folder, &limits) : limit_one(tree, folder, &limits)) < 0)
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
            cgroup_has_word(buf_str(&again), '\n', word))
            pidfd_send_signal(fd, SIGKILL, NULL, 0);
    }
}

/* A cgroup whose last process has just ended may say EBUSY for a moment. */
static int remove_group(const char *folder, struct err *err)
{
    char processes[GROUP_PATH + 16];

    snprintf(processes, sizeof processes, "%s/cgroup.procs", folder);
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

/* A machine's, whole: what is left in it is killed. */
static int remove_groups(const char *folder, struct err *err)
{
    static const char *const parts[] = {GUEST, MONITOR, ""};
    char part[GROUP_PATH];
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(parts) && r == 0; i++) {
        snprintf(part, sizeof part, "%s%s", folder, parts[i]);
        r = remove_group(part, err);
    }
    return r;
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
        if (str_ends(str_of(folder), S(GUEST)))
            *strrchr(folder, '/') = '\0';
        r = remove_groups(folder, err) < 0 ? -1 : r;
    }
    return r;
}

/* ---- all of this owner's ---- */

/* The owner's folders: today's, then those of earlier servers. NULL behind the last. */
static const char *place(const struct cgroups *cgroups, size_t i)
{
    if (i < cgroups->count)
        return cgroups->trees[i].path;
    i -= cgroups->count;
    return i < CGROUP_OLDER && cgroups->older[i][0] ? cgroups->older[i] : NULL;
}

static bool has_members(const char *folder)
{
    static const char *const parts[] = {"", GUEST, MONITOR};
    bool has = false;

    for (size_t i = 0; i < ARRAY_LEN(parts) && !has; i++) {
        AUTO_BUF text = BUF_INIT;
        char path[CGROUP_PATH + 280];
        int r;

        snprintf(path, sizeof path, "%s%s/cgroup.procs", folder, parts[i]);
        r = file_read(AT_FDCWD, path, &text, 1024 * 1024, &ERR_INIT);
        has = r < 0 ? r != -ENOENT : text.len > 0;
    }
    return has;
}

/* What could not be removed when its machine ended, as the kernel was still at a killed monitor's end. */
static void drop_empty(const char *folder)
{
    static const char *const parts[] = {GUEST, MONITOR, ""};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        char part[CGROUP_PATH + 280];

        snprintf(part, sizeof part, "%s%s", folder, parts[i]);
        rmdir(part);
    }
}

void cgroups_each_running(const struct cgroups *cgroups, void (*each)(void *cookie, const char *id), void *cookie)
{
    const char *path;

    for (size_t i = 0; (path = place(cgroups, i)); i++) {
        DIR *dir = opendir(path);

        for (struct dirent *entry; dir && (entry = readdir(dir));) {
            char folder[CGROUP_PATH + 256];

            snprintf(folder, sizeof folder, "%s/%s", path, entry->d_name);
            if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
                continue;
            if (has_members(folder))
                each(cookie, entry->d_name);
            else
                drop_empty(folder);
        }
        if (dir)
            closedir(dir);
    }
}

int cgroups_end(const struct cgroups *cgroups, struct str id, struct err *err)
{
    const char *path;
    int r = 0;

    for (size_t i = 0; (path = place(cgroups, i)); i++) {
        char folder[MONITOR_PATH];

        if (snprintf(folder, sizeof folder, "%s/" STR_FMT, path, STR_ARG(id)) < (int)sizeof folder)
            r = remove_groups(folder, err) < 0 ? -1 : r;
    }
    return r;
}

static void sweep(const char *path)
{
    DIR *dir = opendir(path);

    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char folder[MONITOR_PATH];
        struct err err = ERR_INIT;

        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        if (snprintf(folder, sizeof folder, "%s/%s", path, entry->d_name) < (int)sizeof folder &&
            remove_groups(folder, &err) < 0)
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
    cgroup_leave_leaf(path);
}

void cgroups_close(const struct cgroups *cgroups, bool all)
{
    const char *path;

    for (size_t i = 0; (path = place(cgroups, i)); i++)
        close_one(path, all);
}
