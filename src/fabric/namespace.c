#include "fabric/namespace.h"
#include "base/fd.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { NAME_SIZE = 128 };

static bool folder_is_ours; /* this process made the mount; the fabric's thread only */

static const char *path_of(const char *name, char path[NAME_SIZE])
{
    snprintf(path, NAME_SIZE, NAMESPACE_FOLDER "/%s", name);
    return path;
}

/* As `ip netns add` does it: the folder is a shared mount, so that a name taken away disappears from every mount
 * namespace that has copied it, and with it the last hold on the network. */
static int prepare_folder(struct err *err)
{
    if (mkdir(NAMESPACE_FOLDER, 0755) < 0 && errno != EEXIST)
        return err_os(err, errno, "make " NAMESPACE_FOLDER);
    if (mount(NULL, NAMESPACE_FOLDER, NULL, MS_SHARED | MS_REC, NULL) == 0)
        return 0;
    if (errno != EINVAL)
        return err_os(err, errno, "share " NAMESPACE_FOLDER);
    if (mount(NAMESPACE_FOLDER, NAMESPACE_FOLDER, NULL, MS_BIND | MS_REC, NULL) < 0 ||
        mount(NULL, NAMESPACE_FOLDER, NULL, MS_SHARED | MS_REC, NULL) < 0)
        return err_os(err, errno, "mount " NAMESPACE_FOLDER);
    folder_is_ours = true;
    return 0;
}

int namespace_open(const char *name, struct err *err)
{
    char path[NAME_SIZE];
    struct statfs fs;
    int fd = open(path_of(name, path), O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_os(err, errno, "open %s", path);
    /* A plain file is what a crash between its creation and the mount leaves: no namespace. */
    if (fstatfs(fd, &fs) < 0 || fs.f_type != NSFS_MAGIC) {
        close(fd);
        unlink(path);
        return err_os(err, ENOENT, "open %s", path);
    }
    return fd;
}

int namespace_make(const char *name, struct err *err)
{
    char path[NAME_SIZE];
    int fd, r = prepare_folder(err);

    if (r < 0)
        return r;
    fd = open(path_of(name, path), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd < 0)
        return err_os(err, errno, "make %s", path);
    close(fd);
    if (unshare(CLONE_NEWNET) < 0 || mount("/proc/thread-self/ns/net", path, NULL, MS_BIND, NULL) < 0) {
        r = err_os(err, errno, "make network namespace %s", name);
        unlink(path);
        return r;
    }
    return namespace_open(name, err);
}

int namespace_enter(int fd, struct err *err)
{
    return setns(fd, CLONE_NEWNET) < 0 ? err_os(err, errno, "enter a network namespace") : 0;
}

int namespace_remove(const char *name, struct err *err)
{
    char path[NAME_SIZE];

    umount2(path_of(name, path), MNT_DETACH);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_os(err, errno, "remove %s", path);
    return 0;
}

int namespace_remove_all(struct str prefix, struct err *err)
{
    DIR *dir = opendir(NAMESPACE_FOLDER);
    size_t left = 0;
    int r = 0;

    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        if (str_starts(str_of(entry->d_name), prefix))
            r = namespace_remove(entry->d_name, err) < 0 ? -1 : r;
        else
            left++;
    }
    closedir(dir);
    if (left == 0 && folder_is_ours && umount2(NAMESPACE_FOLDER, MNT_DETACH) == 0) {
        folder_is_ours = false;
        rmdir(NAMESPACE_FOLDER);
    }
    return r;
}

int namespace_set(const char *path, const char *value, struct err *err)
{
    char full[NAME_SIZE];
    AUTO_FD fd = -1;

    snprintf(full, sizeof full, "/proc/sys/net/%s", path);
    fd = open(full, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0; /* a kernel without that module or setting */
    if (fd < 0 || fd_write_all(fd, value, strlen(value)) < 0)
        return err_os(err, errno, "set %s", full);
    return 0;
}

/* Before any link is made: `default` is what links inherit. */
static const struct {
    const char *path, *value;
} settings[] = {
    {"ipv4/ip_forward", "1"},
    {"ipv4/conf/all/rp_filter", "0"},
    {"ipv4/conf/default/rp_filter", "0"},
    {"ipv4/conf/all/send_redirects", "0"},
    {"ipv4/conf/default/send_redirects", "0"},
    {"ipv4/conf/default/proxy_arp", "1"},
    /* Interfaces have no IPv6 addresses: what comes ends before the kernel's neighbour table, which the host shares. */
    {"ipv6/conf/all/disable_ipv6", "1"},
    {"ipv6/conf/default/disable_ipv6", "1"},
    {"netfilter/nf_conntrack_acct", "1"},
    {"netfilter/nf_conntrack_timestamp", "1"},
    {"netfilter/nf_conntrack_tcp_loose", "0"},
};

int namespace_furnish(struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(settings) && r == 0; i++)
        r = namespace_set(settings[i].path, settings[i].value, err);
    return r;
}
