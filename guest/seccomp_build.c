/*
 * Build time: writes the machine's system call filter as BPF bytes to standard output. As in a container engine's
 * usual profile, what reaches into the kernel beyond namespaces is refused with EPERM; a call newer than the ones
 * known here answers ENOSYS, so that C libraries fall back.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
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

/*
 * Arguments that are refused. The kernel takes each of these as an int, of clone's flags the lower half: what a
 * register holds above its lower 32 bits is not looked at there, and so must not be here. A rule can say nothing about
 * it; one on an argument that is 64 bits wide to the kernel would be of another kind.
 */
static const struct int_rule {
    int call;
    unsigned argument;
    uint32_t mask, value; /* refused when (argument & mask) == value */
} refused_ints[] = {
    {SCMP_SYS(clone), 0, CLONE_NEWNS, CLONE_NEWNS},
    {SCMP_SYS(clone), 0, CLONE_NEWCGROUP, CLONE_NEWCGROUP},
    {SCMP_SYS(clone), 0, CLONE_NEWUTS, CLONE_NEWUTS},
    {SCMP_SYS(clone), 0, CLONE_NEWIPC, CLONE_NEWIPC},
    {SCMP_SYS(clone), 0, CLONE_NEWUSER, CLONE_NEWUSER},
    {SCMP_SYS(clone), 0, CLONE_NEWPID, CLONE_NEWPID},
    {SCMP_SYS(clone), 0, CLONE_NEWNET, CLONE_NEWNET},
    /* Sockets that no network namespace holds: of the virtual machine's host, of the kernel's own cryptography, of the
     * processors beside this one. */
    {SCMP_SYS(socket), 0, UINT32_MAX, AF_VSOCK},
    {SCMP_SYS(socket), 0, UINT32_MAX, AF_ALG},
    {SCMP_SYS(socket), 0, UINT32_MAX, AF_QIPCRTR},
    {SCMP_SYS(socketpair), 0, UINT32_MAX, AF_VSOCK},
    {SCMP_SYS(socketpair), 0, UINT32_MAX, AF_ALG},
    {SCMP_SYS(socketpair), 0, UINT32_MAX, AF_QIPCRTR},
};

static int add(scmp_filter_ctx filter, const char *name)
{
    int number = seccomp_syscall_resolve_name(name);

    return number < 0 ? 0 : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
}

static int add_int(scmp_filter_ctx filter, const struct int_rule *rule)
{
    struct scmp_arg_cmp compare = {rule->argument, SCMP_CMP_MASKED_EQ, rule->mask, rule->value};

    return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), rule->call, 1, &compare);
}

int main(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r = filter ? 0 : -1;

    seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
    seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 0; r == 0 && i < sizeof refused / sizeof *refused; i++)
        r = add(filter, refused[i]);
    for (size_t i = 0; r == 0 && i < sizeof refused_ints / sizeof *refused_ints; i++)
        r = add_int(filter, &refused_ints[i]);
    /* clone3's flags lie behind a pointer that a filter cannot follow. */
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (int number = NEWEST_KNOWN + 1; r == 0 && number < 512; number++)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0);
    if (r == 0)
        r = seccomp_export_bpf(filter, STDOUT_FILENO);
    if (r < 0)
        fprintf(stderr, "seccomp filter: error %d\n", -r);
    seccomp_release(filter);
    return r < 0;
}
