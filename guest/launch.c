/*
 * Birth of a machine. Order matters:
 *
 * 1. The monitor gets a mount namespace of its own, so that nothing of the machine shows on the host.
 * 2. The child is cloned into new user, PID, UTS and IPC namespaces, joins its cgroups, makes its network
 *    namespace and hands it to the server, which attaches links to it while
 * 3. the monitor, still the host's root, mounts the overlay over layers whose ids are mapped to the child's, and
 *    the devices, which nobody could make in a user namespace;
 * 4. the child copies that view, mounts what depends on its own namespaces (proc, sys), and pivots;
 * 5. after GO it gives up its rights and becomes init.
 */
#include "guest/kernel.h"
#include "guest/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

struct monitor_message launch_failure;

int launch_fail(const char *what)
{
    launch_failure = (struct monitor_message){.kind = MONITOR_FAILED, .number = errno, .version = MONITOR_VERSION};
    strncpy(launch_failure.text, what, sizeof launch_failure.text - 1);
    return -1;
}

int launch_fail_path(const char *what, const char *path)
{
    char text[sizeof launch_failure.text];
    int number = errno;

    snprintf(text, sizeof text, "%s %s", what, path);
    errno = number;
    return launch_fail(text);
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int number = errno;

    if (fd >= 0)
        close(fd);
    errno = number;
    return n < 0 ? launch_fail_path("write", path) : 0;
}

/* The cgroup of version 2 among those to join; none: -1. */
static int open_unified(const struct monitor_config *config)
{
    static const char name[] = "/cgroup.procs";

    for (int i = 0; i < MONITOR_CGROUPS && config->join[i][0]; i++) {
        char folder[MONITOR_PATH];
        size_t size = strlen(config->join[i]);

        if (size < sizeof name || strcmp(config->join[i] + size - (sizeof name - 1), name) != 0)
            continue;
        memcpy(folder, config->join[i], size);
        folder[size - (sizeof name - 1)] = '\0';
        return open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    return -1;
}

static bool born_inside; /* in this process: it is in its cgroup of version 2 already */

pid_t launch_clone(const struct monitor_config *config, struct clone_args *args)
{
    int folder = open_unified(config);
    pid_t pid;

    born_inside = folder >= 0;
    args->cgroup = (unsigned)folder;
    args->flags |= folder >= 0 ? CLONE_INTO_CGROUP : 0;
    pid = (pid_t)syscall(SYS_clone3, args, sizeof *args);
    if (folder >= 0)
        close(folder);
    return pid;
}

int cgroups_join(const struct monitor_config *config)
{
    for (int i = 0; i < MONITOR_CGROUPS && config->join[i][0]; i++) {
        if (born_inside && strstr(config->join[i], "/cgroup.procs"))
            continue;
        if (write_file(config->join[i], "0") < 0)
            return -1;
    }
    return 0;
}

/* ---- in the monitor ---- */

static const struct device {
    const char *name;
    unsigned major, minor;
} devices[] = {
    {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

static const struct link {
    const char *name, *target;
} device_links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
};

static int fill_devices(int dev, uint32_t base)
{
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        const struct device *d = &devices[i];

        if (mknodat(dev, d->name, S_IFCHR | 0666, makedev(d->major, d->minor)) < 0 ||
            fchownat(dev, d->name, base, base, AT_SYMLINK_NOFOLLOW) < 0 ||
            fchmodat(dev, d->name, 0666, 0) < 0) /* whatever the server's umask is */
            return launch_fail_path("make device", d->name);
    }
    for (size_t i = 0; i < sizeof device_links / sizeof *device_links; i++) {
        if (symlinkat(device_links[i].target, dev, device_links[i].name) < 0 ||
            fchownat(dev, device_links[i].name, base, base, AT_SYMLINK_NOFOLLOW) < 0)
            return launch_fail_path("link device", device_links[i].name);
    }
    if (mkdirat(dev, "pts", 0755) < 0 || mkdirat(dev, "shm", 01777) < 0 ||
        mknodat(dev, "console", S_IFREG | 0620, 0) < 0)
        return launch_fail("make folders of /dev");
    return 0;
}

static int mount_dev(const char *path, uint32_t base)
{
    char options[96];
    int dev, r;

    snprintf(options, sizeof options, "mode=755,size=64k,nr_inodes=256,uid=%u,gid=%u", base, base);
    if (mount("dev", path, "tmpfs", MS_NOSUID | MS_NOEXEC, options) < 0)
        return launch_fail("mount /dev");
    dev = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dev < 0)
        return launch_fail("open /dev");
    r = fill_devices(dev, base);
    close(dev);
    return r;
}

/* A terminal as /dev/console: the monitor reads its master. It adds no carriage returns and echoes nothing. */
static int open_console(struct monitor *m)
{
    struct termios termios;
    int unlock = 0;

    m->console = openat(m->pts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (m->console < 0 || ioctl(m->console, TIOCSPTLCK, &unlock) < 0)
        return launch_fail("open the console");
    m->console_slave = ioctl(m->console, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (m->console_slave < 0 || tcgetattr(m->console_slave, &termios) < 0)
        return launch_fail("open the console's guest end");
    termios.c_oflag &= ~(tcflag_t)ONLCR;
    termios.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(m->console_slave, TCSANOW, &termios);
    return fchown(m->console_slave, m->config.id_base, m->config.id_base + 5) < 0 ? launch_fail("own the console") : 0;
}

static int mount_console(struct monitor *m, const char *root)
{
    char options[64], pts[MONITOR_PATH + 64], console[MONITOR_PATH + 64], slave[MONITOR_PATH + 64];

    snprintf(options, sizeof options, "newinstance,mode=620,ptmxmode=666,gid=%u", m->config.id_base + 5);
    snprintf(pts, sizeof pts, "%s/dev/pts", root);
    snprintf(slave, sizeof slave, "%s/dev/pts/0", root);
    snprintf(console, sizeof console, "%s/dev/console", root);
    if (mount("devpts", pts, "devpts", MS_NOSUID | MS_NOEXEC, options) < 0)
        return launch_fail("mount /dev/pts");
    m->pts = open(pts, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->pts < 0)
        return launch_fail("open /dev/pts");
    if (open_console(m) < 0)
        return -1;
    return mount(slave, console, NULL, MS_BIND, NULL) < 0 ? launch_fail("bind /dev/console") : 0;
}

int launch_mounts(struct monitor *m)
{
    const struct monitor_config *config = &m->config;
    char root[MONITOR_PATH + 32], path[MONITOR_PATH + 64];
    int user = -1, r;

    if (config->id_base) {
        snprintf(path, sizeof path, "/proc/%d/ns/user", m->pid);
        user = open(path, O_RDONLY | O_CLOEXEC);
        if (user < 0)
            return launch_fail("open the user namespace");
    }
    r = layers_mount(config, user);
    if (user >= 0)
        close(user);
    if (r < 0)
        return -1;
    layers_point(config, "root", root);
    snprintf(path, sizeof path, "%s/dev", root);
    return mount_dev(path, config->id_base) < 0 || mount_console(m, root) < 0 ? -1 : 0;
}

static int map_ids(const struct monitor *m)
{
    static const char *const files[] = {"uid_map", "gid_map"};
    char path[64], map[64];

    snprintf(map, sizeof map, "0 %u %u\n", m->config.id_base, MONITOR_IDS);
    for (int i = 0; m->config.id_base && i < 2; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", m->pid, files[i]);
        if (write_file(path, map) < 0)
            return -1;
    }
    return 0;
}

/* ---- in the child ---- */

static void await(int sync, char what)
{
    char byte;

    if (recv(sync, &byte, 1, 0) != 1 || byte != what)
        _exit(1);
}

static _Noreturn void report(int sync)
{
    char text[5 + sizeof launch_failure.text] = {INIT_ERROR};

    memcpy(text + 1, &launch_failure.number, 4);
    memcpy(text + 5, launch_failure.text, sizeof launch_failure.text);
    send(sync, text, sizeof text, MSG_NOSIGNAL);
    _exit(1);
}

static int tell_born(int control)
{
    struct monitor_message message = {.kind = MONITOR_BORN, .version = MONITOR_VERSION};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } space = {0};
    struct iovec part = {&message, sizeof message};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof space};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
    int net = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

    if (net < 0)
        return launch_fail("open the network namespace");
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &net, sizeof net);
    return sendmsg(control, &head, MSG_NOSIGNAL) < 0 ? launch_fail("report birth") : 0;
}

static const struct inner {
    const char *type, *path, *options;
    unsigned long flags;
    bool optional;
} inner_mounts[] = {
    {"proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false},
    {"sysfs", "sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, false},
    {"cgroup2", "sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
     true}, /* where it has controllers */
    {"tmpfs", "dev/shm", "mode=1777,size=64m", MS_NOSUID | MS_NODEV, false},
    {"tmpfs", "run", "mode=755,size=64m", MS_NOSUID | MS_NODEV, false},
};

/* As container engines mask them. Most are closed to a mapped root anyway; without a user namespace this is what closes
 * them. */
static const char *const masked_files[] = {"proc/kcore",        "proc/keys",        "proc/latency_stats",
                                           "proc/timer_list",   "proc/timer_stats", "proc/sched_debug",
                                           "proc/sysrq-trigger"};
static const char *const masked_folders[] = {"proc/acpi", "proc/scsi", "sys/firmware", "sys/devices/virtual/powercap"};
static const char *const read_only[] = {"proc/bus", "proc/fs", "proc/irq"};

/* In the machine's root folder. Masks what is there; what is not needs no mask. */
static int mask_paths(void)
{
    for (size_t i = 0; i < sizeof masked_files / sizeof *masked_files; i++) {
        if (mount("dev/null", masked_files[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
            return launch_fail_path("mask", masked_files[i]);
    }
    for (size_t i = 0; i < sizeof masked_folders / sizeof *masked_folders; i++) {
        if (mount("tmpfs", masked_folders[i], "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0") < 0 &&
            errno != ENOENT)
            return launch_fail_path("mask", masked_folders[i]);
    }
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
        if (mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL) < 0) {
            if (errno == ENOENT)
                continue;
            return launch_fail_path("bind", read_only[i]);
        }
        if (mount(NULL, read_only[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) <
            0)
            return launch_fail_path("make read-only", read_only[i]);
    }
    return 0;
}

static int inner_mount(const struct monitor_config *config)
{
    for (size_t i = 0; i < sizeof inner_mounts / sizeof *inner_mounts; i++) {
        const struct inner *at = &inner_mounts[i];

        if (at->optional && !strstr(config->join[0], "cgroup.procs"))
            continue;
        if (mount(at->type, at->path, at->type, at->flags, at->options) < 0 && !at->optional)
            return launch_fail_path("mount", at->path);
    }
    /* A root without a user namespace must not write the host's settings. */
    if (!config->id_base &&
        (mount("proc/sys", "proc/sys", NULL, MS_BIND, NULL) < 0 ||
         mount(NULL, "proc/sys", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0))
        return launch_fail("protect /proc/sys");
    return mask_paths();
}

static int enter_root(const struct monitor_config *config)
{
    char root[MONITOR_PATH + 32];

    layers_point(config, "root", root);
    if (unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0)
        return launch_fail("unshare mounts");
    /* Bound on itself it is no longer locked to the tree that came from the host, as pivot_root wants it. */
    if (mount(root, root, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(root) < 0)
        return launch_fail("bind the root");
    if (inner_mount(config) < 0)
        return -1;
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return launch_fail("pivot");
    return 0;
}

static int open_standard(void)
{
    int console;

    setsid();
    console = open("/dev/console", O_RDWR);
    if (console < 0 || ioctl(console, TIOCSCTTY, 0) < 0)
        return launch_fail("open /dev/console");
    for (int fd = 0; fd < 3; fd++)
        dup2(console, fd);
    if (console > 2)
        close(console);
    return 0;
}

static _Noreturn void child_main(struct monitor *m, int sync)
{
    static char *const argv[] = {"init", NULL};
    static char *const envp[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/",
                                 "TERM=linux", NULL};
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGCHLD, SIG_DFL);
    umask(022);
    if (cgroups_join(&m->config) < 0)
        report(sync);
    if (unshare(CLONE_NEWNET) < 0) {
        launch_fail("make the network namespace");
        report(sync);
    }
    if (tell_born(m->control) < 0)
        report(sync);
    await(sync, INIT_MOUNTED);
    if (confine_become_root() < 0)
        report(sync);
    if (sethostname(m->config.host_name, strlen(m->config.host_name)) < 0) {
        launch_fail("set the host name");
        report(sync);
    }
    if (enter_root(&m->config) < 0 || open_standard() < 0)
        report(sync);
    await(sync, INIT_GO);
    dup2(sync, MONITOR_CONTROL); /* init's end */
    fcntl(MONITOR_INIT, F_SETFD, FD_CLOEXEC);
    close_range(MONITOR_INIT + 1, ~0u, 0);
    if (confine(&m->config) < 0)
        report(MONITOR_CONTROL);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* last: a change of credentials clears it */
    execveat(MONITOR_INIT, "", argv, envp, AT_EMPTY_PATH);
    launch_fail("execute init");
    report(MONITOR_CONTROL);
}

/*
 * In a chroot "/" is no mount, and who lives in one may make no user namespace (user_namespaces(7), EPERM). So a copy
 * of the tree below it becomes this namespace's root; entering the namespace again is what moves a process to its root.
 */
static int become_root(void)
{
    int tree = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    bool done = tree >= 0 && ns >= 0 && setns(ns, CLONE_NEWNS) == 0 &&
                mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 &&
                move_mount(tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) == 0 && setns(ns, CLONE_NEWNS) == 0 &&
                mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0;

    if (tree >= 0)
        close(tree);
    if (ns >= 0)
        close(ns);
    return done ? 0 : -1;
}

/* Mounts of our own, which the host's still reach but which do not reach the host. */
static int own_mounts(struct monitor *m)
{
    m->home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    m->home_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (m->home < 0 || m->home_root < 0 || unshare(CLONE_NEWNS) < 0)
        return -1;
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0)
        return 0;
    return errno == EINVAL ? become_root() : -1;
}

/*
 * A mount is 0.6 KiB of the kernel's memory, a host has dozens, and a machine would keep them all as long as it runs.
 * Its overlays are held by descriptor: else unmounting them, which may wait for the host's disk, would be part of
 * init's end.
 */
void launch_leave(struct monitor *m)
{
    if (m->home < 0)
        return;
    m->disks[0] = open(LAYERS_POINT(&m->config, "root"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    m->disks[1] = open(LAYERS_POINT(&m->config, "root/usr"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (m->disks[0] < 0 || m->disks[1] < 0)
        return; /* it costs memory only */
    /* The namespace's root is not ours where the server lives in a chroot. */
    if (setns(m->home, CLONE_NEWNS) < 0 || fchdir(m->home_root) < 0 || chroot(".") < 0)
        return;
    close(m->home);
    close(m->home_root);
    m->home = m->home_root = -1;
}

static int fail_clone(const struct monitor *m)
{
    launch_fail(m->config.id_base ? "clone into a user namespace" : "clone");
    launch_failure.flags |= m->config.id_base ? MONITOR_NO_USER_NAMESPACE : 0;
    return -1;
}

int launch_birth(struct monitor *m)
{
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_PIDFD | (m->config.id_base ? CLONE_NEWUSER : 0),
        .exit_signal = SIGCHLD,
        .pidfd = (uintptr_t)&m->init,
    };
    int pair[2];

    if (own_mounts(m) < 0)
        return launch_fail("unshare the monitor's mounts");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return launch_fail("make the child's socket");
    m->pid = launch_clone(&m->config, &args);
    if (m->pid < 0)
        return fail_clone(m);
    if (m->pid == 0) {
        close(pair[0]);
        child_main(m, pair[1]);
    }
    close(pair[1]);
    m->child = pair[0];
    return map_ids(m);
}
