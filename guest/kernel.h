/*
 * System calls, and constants of theirs, that the guest programs' C library does not know. Each is as in its manual
 * page; the numbers are the kernel's headers'.
 */
#pragma once

#include <linux/mount.h>
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
