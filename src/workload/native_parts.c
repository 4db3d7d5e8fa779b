/* What the driver is made of, opened at its start: folders, cgroups, programs, the trial, the fabric, what runs
 * already. */
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "workload/machine.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const mount_points[] = {"root", "disk", "l0", "l1", "u0", "u1", "view"};

/*
 * Asks ext4 to spread what is made in this folder over its block groups. Where many files have just been deleted,
 * finding the number for a new one takes it up to a millisecond in the same group (recently_deleted() in its ialloc.c),
 * and a machine has twenty. Other file systems refuse, which is fine.
 */
static void spread(const char *path)
{
    AUTO_FD fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int flags;

    if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_TOPDIR_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
}

static int make_folder(const char *parent, const char *name, unsigned mode, struct err *err)
{
    char path[MONITOR_PATH];
    int r;

    snprintf(path, sizeof path, "%s/%s", parent, name);
    r = dir_make(path, mode, err);
    if (r == 0)
        spread(path);
    return r;
}

static int make_folders(struct native *native, struct err *err)
{
    char path[MONITOR_PATH];
    int r;

    /* Closed to others: a program that a guest's root made setuid would be the host's root's for who reaches it here.
     */
    r = make_folder(native->state_dir, "machines", 0700, err);
    if (r == 0)
        r = make_folder(native->state_dir, "images", 0711, err);
    if (r == 0)
        r = make_folder(native->state_dir, "m", 0700, err);
    for (size_t i = 0; i < ARRAY_LEN(mount_points) && r == 0; i++) {
        snprintf(path, sizeof path, "%s/mnt/%s", native->state_dir, mount_points[i]);
        r = dir_make(path, 0711, err);
    }
    return r;
}

/* Makes the usual image behind everybody's back: the first machine need not wait for its thousand small files. */
static void *warm_main(void *arg)
{
    const struct native *native = arg;
    struct monitor_config config;
    struct err err = ERR_INIT;

    if (machine_fill_image(native, &config, S(""), &native->closing, &err) < 0 && !native->closing)
        log_warning("%s", err.text);
    return NULL;
}

static struct fabric *open_fabric(const struct native *native, const struct workload_native_config *config)
{
    struct fabric_config fabric = {.owner = str_of(native->owner),
                                   .state_dir = str_of(native->state_dir),
                                   .internet = config->internet,
                                   .public_pool = config->public_pool,
                                   .allowed_hosts = config->allowed_hosts,
                                   .allowed_host_count = config->allowed_host_count,
                                   .no_rules = host_pretends(&native->host, HOST_PACKET_FILTER)};

    return fabric_new(&fabric);
}

static int open_cgroups(struct native *native, bool reaping, struct err *err)
{
    static const enum host_feature limits[CGROUP_CONTROLLERS] = {
        [CGROUP_MEMORY] = HOST_MEMORY_LIMITS, [CGROUP_PIDS] = HOST_PROCESS_LIMITS, [CGROUP_CPU] = HOST_CPU_LIMITS};
    const char *without[CGROUP_CONTROLLERS];

    for (size_t i = 0; i < CGROUP_CONTROLLERS; i++)
        without[i] = host_pretends(&native->host, limits[i]);
    cgroups_open(str_of(native->owner), without, &native->cgroups);
    for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
        if (native->cgroups.missing[i][0] && !reaping)
            host_note(&native->host, limits[i], native->cgroups.missing[i]);
    }
    return cgroups_keep(&native->cgroups, native->state_dir, err);
}

static void note_filter(struct native *native)
{
    struct fabric_status status;

    fabric_status(native->fabric, &status);
    if (!status.enforced)
        host_note(&native->host, HOST_PACKET_FILTER, status.reason);
}

int native_open_parts(struct native *native, const struct workload_native_config *config, struct err *err)
{
    int r = make_folders(native, err);

    if (r == 0)
        r = open_cgroups(native, config->reaping, err);
    if (r == 0)
        r = programs_load(native, err);
    if (r == 0 && !config->reaping)
        r = trial_run(native, err);
    if (r < 0)
        return r;
    if (!config->reaping)
        allowance_open(native);
    native->fabric = open_fabric(native, config);
    if (!config->reaping)
        note_filter(native);
    r = adopt_all(native, err);
    if (r == 0)
        r = watch_start(native, err);
    if (r == 0 && !config->reaping)
        r = allowance_start(native, err);
    if (r == 0 && !config->reaping)
        native->warming = pthread_create(&native->warmer, NULL, warm_main, native) == 0;
    return r;
}
