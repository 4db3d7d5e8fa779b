#include "workload/quota.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers above what other programs count up from, below 2^31. */
enum { PROJECT_FIRST = 0x40000000, PROJECT_COUNT = 0x3fffffff, TRIES = 16, BLOCK = 512 };

static int quotactl_at(int fd, int command, uint32_t project, void *arg)
{
    return (int)syscall(SYS_quotactl_fd, fd, QCMD(command, PRJQUOTA), project, arg);
}

static int open_folder(const char *folder, struct err *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? err_os(err, errno, "open %s", folder) : fd;
}

int quota_probe(const char *folder, struct err *err)
{
    struct fs_quota_statv state = {.qs_version = FS_QSTATV_VERSION1};
    AUTO_FD fd = open_folder(folder, err);
    struct fsxattr attributes;

    if (fd < 0)
        return fd;
    if (quotactl_at(fd, Q_XGETQSTATV, 0, &state) < 0)
        return err_os(err, errno, "ask for the project quota of %s", folder);
    if (!(state.qs_flags & FS_QUOTA_PDQ_ENFD))
        return err_plain(err, "the file system of %s is not mounted with prjquota", folder);
    return ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0 ? err_os(err, errno, "ask for the project of %s", folder) : 0;
}

static int set_project(int fd, uint32_t project)
{
    struct fsxattr attributes;

    if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0)
        return -1;
    attributes.fsx_projid = project;
    attributes.fsx_xflags &= ~(uint32_t)FS_XFLAG_PROJINHERIT;
    attributes.fsx_xflags |= project ? FS_XFLAG_PROJINHERIT : 0;
    return ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
}

/* How many files are of it, and whether somebody has set it a limit. */
static int look(int fd, uint32_t project, uint64_t *ret_files, bool *ret_limited)
{
    struct fs_disk_quota quota = {.d_version = FS_DQUOT_VERSION};
    int r = quotactl_at(fd, Q_XGETQUOTA, project, &quota);

    *ret_files = r < 0 ? 0 : quota.d_icount;
    *ret_limited = r == 0 && (quota.d_blk_hardlimit || quota.d_ino_hardlimit);
    return r < 0 && errno != ENOENT && errno != ESRCH ? -errno : 0;
}

/* It is ours alone when the file system counts one file of it, this folder: two that choose the same at once both see
 * more, and both choose again. */
static int try_project(int fd, uint32_t project, struct err *err)
{
    uint64_t files;
    bool limited;
    int r = look(fd, project, &files, &limited);

    if (r < 0)
        return err_os(err, -r, "look for a free project");
    if (files || limited)
        return 1;
    if (set_project(fd, project) < 0)
        return err_os(err, errno, "give a folder its project");
    r = look(fd, project, &files, &limited);
    if (r == 0 && files == 1)
        return 0;
    if (set_project(fd, 0) < 0)
        return err_os(err, errno, "take a folder's project");
    return r < 0 ? err_os(err, -r, "look at project %u", project) : 1;
}

int quota_begin(const char *folder, struct err *err)
{
    AUTO_FD fd = open_folder(folder, err);
    int r = fd < 0 ? fd : 1;

    for (int i = 0; r > 0 && i < TRIES; i++) {
        uint32_t number;

        if (getrandom(&number, sizeof number, 0) != sizeof number)
            return err_os(err, errno, "choose a project");
        r = try_project(fd, PROJECT_FIRST + number % PROJECT_COUNT, err);
    }
    return r > 0 ? err_plain(err, "no project number is free") : r;
}

int quota_leave(const char *folder, struct err *err)
{
    AUTO_FD fd = open_folder(folder, err);

    if (fd < 0)
        return fd;
    return set_project(fd, 0) < 0 ? err_os(err, errno, "take the project of %s", folder) : 0;
}

uint32_t quota_project(const char *folder)
{
    AUTO_FD fd = open_folder(folder, &ERR_INIT);
    struct fsxattr attributes;

    if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0 || !(attributes.fsx_xflags & FS_XFLAG_PROJINHERIT))
        return 0;
    return attributes.fsx_projid;
}

int quota_limit(const char *folder, uint32_t project, const struct usage *limit, struct err *err)
{
    struct fs_disk_quota quota = {
        .d_version = FS_DQUOT_VERSION,
        .d_flags = FS_PROJ_QUOTA,
        .d_fieldmask = FS_DQ_BHARD | FS_DQ_BSOFT | FS_DQ_IHARD | FS_DQ_ISOFT, /* ext4 knows no others */
        .d_id = project,
        .d_blk_hardlimit = limit->bytes / BLOCK,
        .d_ino_hardlimit = limit->files,
    };
    AUTO_FD fd = open_folder(folder, err);

    if (fd < 0)
        return fd;
    if (quotactl_at(fd, Q_XSETQLIM, project, &quota) < 0)
        return err_os(err, errno, "limit project %u on the file system of %s", project, folder);
    return 0;
}

void quota_end(const char *folder, uint32_t project)
{
    const struct usage none = {0};
    struct err err = ERR_INIT;

    if (project && quota_limit(folder, project, &none, &err) < 0)
        log_warning("%s", err.text);
}
