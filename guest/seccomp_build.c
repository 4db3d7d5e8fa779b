/*
 * Build time: writes the machine's system call filter as BPF bytes to standard output. As in a container engine's
 * usual profile, what reaches into the kernel beyond namespaces is refused with EPERM; a call newer than the ones
 * known here answers ENOSYS, so that C libraries fall back.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
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

/* Sockets that no network namespace holds: of the virtual machine's host, of the kernel's own cryptography. */
static const int refused_families[] = {AF_VSOCK, AF_ALG};

static int add(scmp_filter_ctx filter, const char *name)
{
    int number = seccomp_syscall_resolve_name(name);

    return number < 0 ? 0 : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
}

int main(void)
{
    const unsigned long namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                     CLONE_NEWPID | CLONE_NEWNET;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r = filter ? 0 : -1;

    seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; r == 0 && i < sizeof refused / sizeof *refused; i++)
        r = add(filter, refused[i]);
    for (unsigned bit = 0; r == 0 && bit < 32; bit++) {
        if (namespaces >> bit & 1)
            r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                 SCMP_A0(SCMP_CMP_MASKED_EQ, 1ul << bit, 1ul << bit));
    }
    /* clone3's flags lie behind a pointer that a filter cannot follow. */
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (size_t i = 0; r == 0 && i < sizeof refused_families / sizeof *refused_families; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 1,
                             SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)refused_families[i]));
    for (int number = NEWEST_KNOWN + 1; r == 0 && number < 512; number++)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0);
    if (r == 0)
        r = seccomp_export_bpf(filter, STDOUT_FILENO);
    if (r < 0)
        fprintf(stderr, "seccomp filter: error %d\n", -r);
    seccomp_release(filter);
    return r < 0;
}
