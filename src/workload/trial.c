/*
 * A machine's birth, tried before any is asked for: the monitor makes the namespaces and mounts of one that never runs,
 * over what real ones lie over. It costs three milliseconds, and what this host cannot do is known at the start.
 */
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "image/image.h"
#include "workload/machine.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIAL_LIMIT_S = 20 };

static int make_disk(const char *disk, struct err *err)
{
    static const char *const folders[] = {"upper/usr", "upper/dev", "work", "usr-upper", "usr-work"};
    char path[MONITOR_PATH + 16];
    int r = tree_remove(AT_FDCWD, disk, err);

    for (size_t i = 0; i < ARRAY_LEN(folders) && r == 0; i++) {
        snprintf(path, sizeof path, "%s/%s", disk, folders[i]);
        r = dir_make(path, 0755, err);
    }
    return r;
}

static void fill_config(const struct native *native, const char *disk, uint32_t id_base, struct monitor_config *config)
{
    *config = (struct monitor_config){
        .version = MONITOR_VERSION, .trial = 1, .volatile_disk = !native->durable, .id_base = id_base};
    snprintf(config->mounts, MONITOR_PATH, "%s/mnt", native->state_dir);
    snprintf(config->disk, MONITOR_PATH, "%s", disk);
    snprintf(config->layers[0], MONITOR_PATH, "%s/images", native->state_dir);
    snprintf(config->usr_layers[0], MONITOR_PATH, "%s/images", native->state_dir);
    snprintf(config->usr_layers[1], MONITOR_PATH, "/usr");
    config->usr_is_viewed = image_is_viewed();
}

/* Its last word. */
static int hear(int control, uint32_t *ret_flags, struct err *err)
{
    struct timeval limit = {.tv_sec = TRIAL_LIMIT_S};
    struct monitor_message message;
    ssize_t n;

    *ret_flags = 0;
    setsockopt(control, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while ((n = recv(control, &message, sizeof message, 0)) ==
           sizeof message) { /* what comes along is closed with it */
        if (message.kind == MONITOR_STATE)
            return 0;
        if (message.kind != MONITOR_FAILED)
            continue;
        *ret_flags = message.flags;
        return err_os(err, message.number, "%.*s", (int)sizeof message.text - 1, message.text);
    }
    return n < 0 ? err_os(err, errno, "hear the monitor") : err_plain(err, "the monitor ended without a word");
}

static int try_once(const struct native *native, uint32_t id_base, uint32_t *ret_flags, struct err *err)
{
    struct monitor_config config;
    char disk[MONITOR_PATH];
    AUTO_FD control = -1;
    pid_t pid = 0;
    int r;

    snprintf(disk, sizeof disk, "%s/machines/.trial", native->state_dir);
    fill_config(native, disk, id_base, &config);
    r = make_disk(disk, err);
    if (r == 0)
        r = machine_spawn_monitor(native, &config, -1, &control, &pid, err);
    if (r == 0)
        r = hear(control, ret_flags, err);
    fd_close(&control);
    if (pid > 0) {
        kill(pid, SIGKILL); /* ours to wait for: nobody else can have its number */
        waitpid(pid, NULL, 0);
    }
    tree_remove(AT_FDCWD, disk, &ERR_INIT);
    return r;
}

/* With a view of /usr, else without for good. */
static int try_viewed(const struct native *native, uint32_t id_base, bool *ret_no_user, struct err *err)
{
    uint32_t flags = 0;
    int r = try_once(native, id_base, &flags, err);

    if (r < 0 && flags & MONITOR_NO_VIEW) {
        log_warning("what of /usr is private when an image is made is hidden from machines, what becomes so later is "
                    "not (%s)",
                    err->text);
        image_forgo_view();
        *err = ERR_INIT;
        r = try_once(native, id_base, &flags, err);
    }
    *ret_no_user = flags & MONITOR_NO_USER_NAMESPACE;
    return r;
}

/* With ids of its own, else without. */
static int try_ids(const struct native *native, bool *ret_mapped, bool *ret_no_user, struct err *why, struct err *err)
{
    const char *pretext = host_pretends(&native->host, HOST_USER_NAMESPACES);
    bool ignored;
    int r;

    *ret_no_user = pretext != NULL;
    if (!pretext)
        pretext = host_pretends(&native->host, HOST_MAPPED_MOUNTS);
    *why = ERR_INIT;
    r = pretext ? err_plain(why, "%s", pretext) : try_viewed(native, MACHINE_IDS_FIRST, ret_no_user, why);
    *ret_mapped = r == 0;
    return r == 0 ? 0 : try_viewed(native, 0, &ignored, err);
}

/* ---- disks in memory ---- */

/* Images too: an overlay keeps whiteouts, and the marks that it puts on folders, to itself, so what lies on one can be
 * no layer that hides anything. */
static const struct in_memory {
    const char *name, *options;
} in_memory[] = {{"machines", "mode=700"}, {"images", "mode=711"}};

static void folder_path(const struct native *native, const char *name, char path[MONITOR_PATH])
{
    snprintf(path, MONITOR_PATH, "%s/%s", native->state_dir, name);
}

static bool is_in_memory(const struct native *native, const char *name)
{
    char path[MONITOR_PATH];
    struct stat folder, state;

    folder_path(native, name, path);
    return stat(path, &folder) == 0 && stat(native->state_dir, &state) == 0 && folder.st_dev != state.st_dev;
}

/* Those that are not there yet. */
static int put_in_memory(const struct native *native, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(in_memory); i++) {
        char path[MONITOR_PATH];

        folder_path(native, in_memory[i].name, path);
        if (!is_in_memory(native, in_memory[i].name) &&
            mount("haar", path, "tmpfs", MS_NODEV, in_memory[i].options) < 0)
            return err_os(err, errno, "mount a file system in memory at %s", path);
    }
    return 0;
}

void trial_forget_disks(const struct native *native)
{
    for (size_t i = 0; i < ARRAY_LEN(in_memory); i++) {
        char path[MONITOR_PATH];

        folder_path(native, in_memory[i].name, path);
        if (is_in_memory(native, in_memory[i].name))
            umount2(path, MNT_DETACH);
    }
}

/*
 * Where an overlay cannot write to the file system that the state folder is on (another overlay, as a container's root
 * is; NFS), disks are in memory.
 */
int trial_run(struct native *native, struct err *err)
{
    const char *pretext = host_pretends(&native->host, HOST_LASTING_DISKS);
    bool lasts = !is_in_memory(native, "machines"), mapped, no_user;
    struct err why, disks = ERR_INIT;
    int r = lasts ? 0 : put_in_memory(native, err);

    if (r < 0)
        return r;
    r = pretext && lasts ? err_plain(&disks, "%s", pretext) : try_ids(native, &mapped, &no_user, &why, &disks);
    if (r < 0 && lasts && put_in_memory(native, err) == 0) {
        lasts = false;
        r = try_ids(native, &mapped, &no_user, &why, err);
        if (r < 0)
            trial_forget_disks(native);
    }
    if (r < 0) {
        *err = disks;
        return err_wrap(err, "no machine can be born here");
    }
    if (!lasts)
        host_note(&native->host, HOST_LASTING_DISKS, disks.text[0] ? disks.text : "as an earlier server found");
    if (!mapped)
        host_note(&native->host, no_user ? HOST_USER_NAMESPACES : HOST_MAPPED_MOUNTS, why.text);
    native->unmapped = !mapped;
    return 0;
}
