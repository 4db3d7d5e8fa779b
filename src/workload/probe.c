/* What this host must have for native machines, asked before any is tried. What they can do without: host.h. */
#include "base/fd.h"
#include "base/mem.h"
#include "image/image.h"
#include "workload/native.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char *path, *what;
} needed[] = {
    {"/proc/self/ns/net", "network namespaces"},   {"/proc/self/ns/pid", "PID namespaces"},
    {"/proc/self/ns/cgroup", "cgroup namespaces"}, {"/proc/self/ns/uts", "UTS namespaces"},
    {"/proc/self/ns/ipc", "IPC namespaces"},
};

/* Root in a container has fewer than root. */
static int check_rights(struct err *err)
{
    static const struct {
        int cap;
        const char *name;
    } rights[] = {
        {CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {CAP_NET_ADMIN, "CAP_NET_ADMIN"},   {CAP_MKNOD, "CAP_MKNOD"},
        {CAP_SETUID, "CAP_SETUID"},       {CAP_SYS_CHROOT, "CAP_SYS_CHROOT"},
    };
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};

    if (syscall(SYS_capget, &head, data) < 0)
        return err_os(err, errno, "read our capabilities");
    for (size_t i = 0; i < ARRAY_LEN(rights); i++) {
        if (!(data[rights[i].cap / 32].effective >> rights[i].cap % 32 & 1))
            return err_plain(err, "machines need %s: in a container, run it privileged", rights[i].name);
    }
    return 0;
}

static bool kernel_has_file_system(const char *name)
{
    AUTO_BUF text = BUF_INIT;
    char line[32];

    snprintf(line, sizeof line, "\t%s\n", name);
    return file_read(AT_FDCWD, "/proc/filesystems", &text, 64 * 1024, &ERR_INIT) == 0 &&
           str_contains(buf_str(&text), str_of(line));
}

int workload_native_probe(struct err *err)
{
    int r;

    if (geteuid() != 0)
        return err_plain(err, "machines need root: run haar as root (sudo)");
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        if (access(needed[i].path, F_OK) < 0)
            return err_plain(err, "this kernel has no %s", needed[i].what);
    }
    r = check_rights(err);
    if (r < 0)
        return r;
    if (!kernel_has_file_system("overlay"))
        return err_plain(err, "this kernel has no overlay file system (modprobe overlay)");
    return image_probe(err);
}
