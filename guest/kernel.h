/*
 * System calls, and constants of theirs, that the guest programs' C library does not know. Each is as in its manual
 * page; the numbers are the kernel's headers'.
 */
#pragma once

#include <linux/capability.h>
#include <linux/mount.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int close_range(unsigned first, unsigned last, int flags)
{
    return (int)syscall(SYS_close_range, first, last, flags);
}

static inline int execveat(int dir, const char *path, char *const *argv, char *const *envp, int flags)
{
    return (int)syscall(SYS_execveat, dir, path, argv, envp, flags);
}

static inline int open_tree(int dir, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, dir, path, flags);
}

static inline int move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags)
{
    return (int)syscall(SYS_move_mount, from, from_path, to, to_path, flags);
}

static inline int mount_setattr(int dir, const char *path, unsigned flags, struct mount_attr *attr, size_t size)
{
    return (int)syscall(SYS_mount_setattr, dir, path, flags, attr, size);
}

/* The calling thread's capabilities: what it may have, and of that what it has now. */
static inline int set_capabilities(uint64_t permitted, uint64_t effective)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.permitted = (uint32_t)permitted, .effective = (uint32_t)effective},
        {.permitted = (uint32_t)(permitted >> 32), .effective = (uint32_t)(effective >> 32)},
    };

    return (int)syscall(SYS_capset, &head, data);
}

static inline int get_capabilities(uint64_t *ret_permitted)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    int r = (int)syscall(SYS_capget, &head, data);

    *ret_permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    return r;
}
