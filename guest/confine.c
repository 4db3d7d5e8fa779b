/*
 * What a machine's processes may do. In a user namespace of its own root may have every capability without
 * being anyone on the host; still it keeps only a container's usual ones, those for its own network, and
 * SYS_BOOT, so that the kernel's surface stays as small as a container's. The system call filters were compiled at
 * build time (seccomp_build.c): loading them as bytes takes a thirtieth of building them.
 */
#include "guest/kernel.h"
#include "guest/launch.h"
#include "guest_seccomp.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const unsigned char kept[] = {
    CAP_CHOWN,      CAP_DAC_OVERRIDE, CAP_FOWNER,  CAP_FSETID,           CAP_KILL,    CAP_SETGID,
    CAP_SETUID,     CAP_SETPCAP,      CAP_SETFCAP, CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_NET_ADMIN,
    CAP_SYS_CHROOT, CAP_AUDIT_WRITE,  CAP_MKNOD,   CAP_SYS_BOOT, /* reboot(2) in a PID namespace ends its init, nothing
                                                                    else */
};

/* A device that root of a user namespace makes cannot be opened; the host's root's can: nobody but haar makes those. */
static uint64_t kept_mask(bool own_ids)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < sizeof kept; i++)
        mask |= 1ull << kept[i];
    return own_ids ? mask : mask & ~(1ull << CAP_MKNOD);
}

int confine_become_root(void)
{
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return launch_fail("become root of the machine");
    return 0;
}

static int drop_capabilities(bool own_ids)
{
    uint64_t mask = kept_mask(own_ids);

    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if (!(mask >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return launch_fail("drop a capability");
    }
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return set_capabilities(mask, mask) < 0 ? launch_fail("set capabilities") : 0;
}

/* Before capabilities are dropped: without no_new_privs, which would break sudo, a filter needs SYS_ADMIN. */
static int load_filter(const unsigned char *bytes, size_t size)
{
    struct sock_fprog program = {
        .len = (unsigned short)(size / sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)(uintptr_t)bytes,
    };

    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return launch_fail("load the system call filter");
    return 0;
}

int confine(const struct monitor_config *config)
{
    if ((config->refuses_allocation && load_filter(guest_seccomp_allocation, sizeof guest_seccomp_allocation) < 0) ||
        (!config->id_base && load_filter(guest_seccomp_projects, sizeof guest_seccomp_projects) < 0) ||
        load_filter(guest_seccomp, sizeof guest_seccomp) < 0)
        return -1;
    return drop_capabilities(config->id_base);
}
