/*
 * Build time: writes one of the machine's system call filters as BPF bytes to standard output.
 *
 *   usual      every machine's. As in a container engine's usual profile, what reaches into the kernel beyond
 *              namespaces is refused with EPERM; a call newer than the ones known here answers ENOSYS, so that C
 *              libraries fall back.
 *   allocation added where a disk's use is only looked at from time to time: what takes blocks without writing them is
 *              as on a file system that cannot.
 *   projects   added where the machine's root is the host's: what changes which quota a file counts to is as on a file
 *              system that has none. In a user namespace of its own the kernel refuses it (vfs_fileattr_set).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NEWEST_KNOWN = 450 /* set_mempolicy_home_node, Linux 5.17 */ };

static const char *const refused[] = {
    "acct",
    "add_key",
    "bpf",
    "clock_adjtime",
    "clock_settime",
    "create_module",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "get_kernel_syms",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "query_module",
    "quotactl",
    "quotactl_fd",
    "request_key",
    "setns",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "sysfs",
    "_sysctl",
    "adjtimex",
    "umount",
    "umount2",
    "unshare",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
    "vm86",
    "vm86old",
    "vmsplice",
};

/*
 * Arguments that are refused. The kernel takes each of these as an int, of clone's flags the lower half: what a
 * register holds above its lower 32 bits is not looked at there, and so must not be here. A rule can say nothing about
 * it; one on an argument that is 64 bits wide to the kernel would be of another kind.
 */
struct int_rule {
    int call;
    unsigned argument;
    uint32_t mask, value; /* refused when (argument & mask) == value */
    int error;
};

static const struct int_rule usual_ints[] = {
    {SCMP_SYS(clone), 0, CLONE_NEWNS, CLONE_NEWNS, EPERM},
    {SCMP_SYS(clone), 0, CLONE_NEWCGROUP, CLONE_NEWCGROUP, EPERM},
    {SCMP_SYS(clone), 0, CLONE_NEWUTS, CLONE_NEWUTS, EPERM},
    {SCMP_SYS(clone), 0, CLONE_NEWIPC, CLONE_NEWIPC, EPERM},
    {SCMP_SYS(clone), 0, CLONE_NEWUSER, CLONE_NEWUSER, EPERM},
    {SCMP_SYS(clone), 0, CLONE_NEWPID, CLONE_NEWPID, EPERM},
    {SCMP_SYS(clone), 0, CLONE_NEWNET, CLONE_NEWNET, EPERM},
    /* Sockets that no network namespace holds: of the virtual machine's host, of the kernel's own cryptography, of the
     * processors beside this one. */
    {SCMP_SYS(socket), 0, UINT32_MAX, AF_VSOCK, EPERM},
    {SCMP_SYS(socket), 0, UINT32_MAX, AF_ALG, EPERM},
    {SCMP_SYS(socket), 0, UINT32_MAX, AF_QIPCRTR, EPERM},
    {SCMP_SYS(socketpair), 0, UINT32_MAX, AF_VSOCK, EPERM},
    {SCMP_SYS(socketpair), 0, UINT32_MAX, AF_ALG, EPERM},
    {SCMP_SYS(socketpair), 0, UINT32_MAX, AF_QIPCRTR, EPERM},
};

/*
 * Each mode that frees blocks or moves them may stay: the others take some. The old calls of XFS do the same on every
 * file system (file_ioctl). And a thread has its process's descriptors, so that what is deleted and open is found by
 * its processes.
 */
struct space_resv { /* as include/linux/falloc.h has it, which is not for programs */
    int16_t type, whence;
    int64_t start, size;
    int32_t system;
    uint32_t pid;
    int32_t reserved[4];
};
#define FS_IOC_RESVSP _IOW('X', 40, struct space_resv)
#define FS_IOC_RESVSP64 _IOW('X', 42, struct space_resv)
#define FS_IOC_ZERO_RANGE _IOW('X', 57, struct space_resv)

static const struct int_rule allocation_ints[] = {
    {SCMP_SYS(fallocate), 1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE, 0, EOPNOTSUPP},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, (uint32_t)FS_IOC_RESVSP, EOPNOTSUPP},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, (uint32_t)FS_IOC_RESVSP64, EOPNOTSUPP},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, (uint32_t)FS_IOC_ZERO_RANGE, EOPNOTSUPP},
    {SCMP_SYS(clone), 0, CLONE_THREAD | CLONE_FILES, CLONE_THREAD, EPERM},
    {SCMP_SYS(close_range), 2, CLOSE_RANGE_UNSHARE, CLOSE_RANGE_UNSHARE, EPERM},
};

static const struct int_rule project_ints[] = {
    {SCMP_SYS(ioctl), 1, UINT32_MAX, (uint32_t)FS_IOC_FSSETXATTR, ENOTTY},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, (uint32_t)FS_IOC_SETFLAGS, ENOTTY},
    {SCMP_SYS(ioctl), 1, UINT32_MAX, (uint32_t)FS_IOC32_SETFLAGS, ENOTTY},
};

static int add(scmp_filter_ctx filter, const char *name)
{
    int number = seccomp_syscall_resolve_name(name);

    return number < 0 ? 0 : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
}

static int add_ints(scmp_filter_ctx filter, const struct int_rule *rules, size_t count)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++) {
        struct scmp_arg_cmp compare = {rules[i].argument, SCMP_CMP_MASKED_EQ, rules[i].mask, rules[i].value};

        r = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO((unsigned)rules[i].error), rules[i].call, 1, &compare);
    }
    return r;
}

#define ADD_INTS(filter, rules) add_ints((filter), (rules), sizeof(rules) / sizeof *(rules))

static int add_usual(scmp_filter_ctx filter)
{
    int r = ADD_INTS(filter, usual_ints);

    for (size_t i = 0; r == 0 && i < sizeof refused / sizeof *refused; i++)
        r = add(filter, refused[i]);
    /* clone3's flags lie behind a pointer that a filter cannot follow. */
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (int number = NEWEST_KNOWN + 1; r == 0 && number < 512; number++)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0);
    return r;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "usual";
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r = filter ? 0 : -ENOMEM;

    seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r == 0)
        r = strcmp(name, "allocation") == 0 ? ADD_INTS(filter, allocation_ints)
            : strcmp(name, "projects") == 0 ? ADD_INTS(filter, project_ints)
                                            : add_usual(filter);
    if (r == 0)
        r = seccomp_export_bpf(filter, STDOUT_FILENO);
    if (r < 0)
        fprintf(stderr, "seccomp filter %s: error %d\n", name, -r);
    seccomp_release(filter);
    return r < 0;
}
