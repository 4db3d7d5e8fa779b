/*
 * Starting a machine, from the server's side: its disk, its cgroups, its monitor, its links, go. The monitor's
 * protocol, and what happens in parallel: guest/monitor.h.
 */
#include "workload/machine.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "guest_programs.h"
#include "image/image.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    BIRTH_LIMIT_S = 20, /* until the monitor reports; hosts under load are slow, not dead */
    GIVEN_UP_MS = 20,   /* how late it may be noticed */
    LEAVE_MS = 1000,    /* until a monitor that is to leave is killed */
    LOCK_LIMIT_MS = 5000,
    HIGH_FD = 16, /* descriptors to pass lie above those that they become */
};

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u
#endif

void machine_run_path(const struct native *native, struct str id, char path[MONITOR_PATH])
{
    snprintf(path, MONITOR_PATH, "%s/m/" STR_FMT, native->state_dir, STR_ARG(id));
}

void machine_disk_path(const struct native *native, struct str id, char path[MONITOR_PATH])
{
    snprintf(path, MONITOR_PATH, "%s/machines/" STR_FMT, native->state_dir, STR_ARG(id));
}

void machine_console_path(const struct native *native, struct str id, char path[MONITOR_PATH])
{
    snprintf(path, MONITOR_PATH, "%s/machines/" STR_FMT "/console", native->state_dir, STR_ARG(id));
}

void machine_fabric_interface(const struct machine_interface *from, struct str groups[FABRIC_GROUPS],
                              struct fabric_interface *to)
{
    for (unsigned i = 0; i < from->group_count; i++)
        groups[i] = str_of(from->groups[i]);
    *to = (struct fabric_interface){
        .id = str_of(from->id),
        .vpc_id = str_of(from->vpc_id),
        .subnet_id = str_of(from->subnet_id),
        .vpc_cidr = from->vpc_cidr,
        .addresses = from->addresses,
        .address_count = from->address_count,
        .groups = groups,
        .group_count = from->group_count,
        .gateway = from->gateway,
        .prefix = from->prefix,
        .device_index = from->device_index,
        .source_dest_check = from->source_dest_check,
    };
    memcpy(to->mac, from->mac, sizeof to->mac);
}

/* ---- programs ---- */

/* A program as a file in memory that nothing can write to again, not even through /proc/self/exe. */
static int seal(const char *name, const void *p, size_t size, struct err *err)
{
    const int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    int high;

    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_os(err, errno, "make a file in memory");
    high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    close(fd);
    if (high < 0 || fd_write_all(high, p, size) < 0 || fcntl(high, F_ADD_SEALS, seals) < 0)
        return err_os(err, errno, "seal a file in memory");
    return high;
}

struct str program_init(void)
{
    return (struct str){(const char *)guest_init, sizeof guest_init};
}

int programs_load(struct native *native, struct err *err)
{
    native->monitor_program = seal("haar-monitor", guest_monitor, sizeof guest_monitor, err);
    if (native->monitor_program < 0)
        return native->monitor_program;
    native->init_program = seal("haar-init", guest_init, sizeof guest_init, err);
    return native->init_program < 0 ? native->init_program : 0;
}

/* ---- its disk ---- */

static int write_at(const char *disk, const char *path, struct str text, unsigned mode, struct err *err)
{
    char full[MONITOR_PATH + 128];

    snprintf(full, sizeof full, "%s/upper/%s", disk, path);
    return file_write(AT_FDCWD, full, text, mode, err);
}

static int folder_at(const char *disk, const char *path, struct err *err)
{
    char full[MONITOR_PATH + 128];

    snprintf(full, sizeof full, "%s/%s", disk, path);
    if (mkdir(full, 0755) < 0)
        return err_os(err, errno, "make folder %s", full);
    return 0;
}

static const struct workload_interface *first_interface(const struct workload_spec *spec)
{
    return spec->interface_count ? &spec->interfaces[0] : NULL;
}

static void format_hosts(const struct workload_spec *spec, struct buf *hosts)
{
    const struct workload_interface *interface = first_interface(spec);

    buf_append(hosts, S("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"));
    if (interface) {
        struct in_addr in = {htonl(interface->address)};

        buf_printf(hosts, "%s " STR_FMT "\n", inet_ntoa(in), STR_ARG(spec->host_name));
    }
}

/* The VPC's resolver is its base address plus two. */
static void format_resolv(const struct workload_spec *spec, struct buf *resolv)
{
    const struct workload_interface *interface = first_interface(spec);
    struct str cidr = interface ? interface->vpc_cidr : S("");
    struct in_addr in;
    char z[32];

    if (!str_to_z(str_cut(&cidr, '/'), z, sizeof z) || inet_pton(AF_INET, z, &in) != 1)
        return;
    in.s_addr = htonl(ntohl(in.s_addr) + 2);
    buf_printf(resolv, "search ec2.internal\nnameserver %s\noptions timeout:2 attempts:2\n",
               inet_ntop(AF_INET, &in, z, sizeof z));
}

static int folders_at(const char *disk, const char *const *folders, size_t count, struct err *err)
{
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++)
        r = folder_at(disk, folders[i], err);
    return r;
}

static int fill_user_data(const char *disk, struct str user_data, struct err *err)
{
    static const char *const folders[] = {"upper/var", "upper/var/lib", "upper/var/lib/cloud",
                                          "upper/var/lib/cloud/instance"};
    int r = folders_at(disk, folders, ARRAY_LEN(folders), err);

    return r == 0 ? write_at(disk, "var/lib/cloud/instance/user-data.txt", user_data, 0700, err) : r;
}

/*
 * Fills the upper layer while it is still ours alone: later it is the guest's, and a path in it may lead anywhere.
 * Made beside its place and renamed, so that a disk is whole or absent. As few files as can be: where much has
 * just been deleted, ext4 takes up to a millisecond to find a number for a new one.
 */
static int fill_disk(const char *disk, const struct workload_spec *spec, bool separate_usr, struct err *err)
{
    AUTO_BUF hosts = BUF_INIT, resolv = BUF_INIT, name = BUF_INIT;
    static const char *const folders[] = {"upper", "upper/etc", "work", "usr-upper", "usr-work"};
    int r = folders_at(disk, folders, separate_usr ? 5 : 3, err);

    format_hosts(spec, &hosts);
    format_resolv(spec, &resolv);
    buf_printf(&name, STR_FMT "\n", STR_ARG(spec->host_name));
    if (r == 0)
        r = write_at(disk, "etc/hosts", buf_str(&hosts), 0644, err);
    if (r == 0)
        r = write_at(disk, "etc/resolv.conf", buf_str(&resolv), 0644, err);
    if (r == 0)
        r = write_at(disk, "etc/hostname", buf_str(&name), 0644, err);
    if (r == 0 && spec->user_data.len)
        r = fill_user_data(disk, spec->user_data, err);
    return r;
}

int machine_new_disk(struct native *native, struct machine *machine, const struct workload_spec *spec, struct err *err)
{
    char disk[MONITOR_PATH], fresh[MONITOR_PATH + 8];
    int r;

    machine_disk_path(native, str_of(machine->id), disk);
    if (access(disk, F_OK) == 0)
        return 0;
    snprintf(fresh, sizeof fresh, "%s.new", disk);
    r = allowance_remove_disk(native, fresh, err);
    if (r == 0)
        r = folder_at(fresh, "", err);
    if (r < 0)
        return r;
    allowance_begin_disk(native, fresh);
    r = fill_disk(fresh, spec, machine->record.config.usr_layers[0][0], err);
    allowance_end_disk(native, fresh);
    if (r == 0 && rename(fresh, disk) < 0)
        r = err_os(err, errno, "name the disk %s", disk);
    return r;
}

/* ---- its monitor ---- */

/* The control socket's two ends, both above what they may become in the child. */
static int make_control(int ends[2], struct err *err)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_os(err, errno, "make a socket");
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(pair[i], F_DUPFD_CLOEXEC, HIGH_FD);
        close(pair[i]);
    }
    if (ends[0] < 0 || ends[1] < 0)
        return err_os(err, errno, "make a socket");
    return 0;
}

/* posix_spawn, as the server never forks. All descriptors but 0 to 5 close by themselves. */
static int spawn_monitor(const struct native *native, int control, int disk, pid_t *ret_pid, struct err *err)
{
    char path[32];
    char *const argv[] = {(char *)"haar-monitor", NULL};
    char *const envp[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int r;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, 0, 1);
    posix_spawn_file_actions_adddup2(&actions, 0, 2);
    posix_spawn_file_actions_adddup2(&actions, control, MONITOR_CONTROL);
    posix_spawn_file_actions_adddup2(&actions, native->init_program, MONITOR_INIT);
    if (disk >= 0)
        posix_spawn_file_actions_adddup2(&actions, disk, MONITOR_DISK);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    snprintf(path, sizeof path, "/proc/self/fd/%d", native->monitor_program);
    r = posix_spawn(ret_pid, path, &actions, &attributes, argv, envp);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return r ? err_os(err, r, "start the monitor") : 0;
}

static int fail_as_told(const struct monitor_message *message, struct err *err)
{
    if (message->number)
        return err_os(err, message->number, "%.*s", (int)sizeof message->text, message->text);
    return err_plain(err, "%.*s", (int)sizeof message->text, message->text);
}

/* The monitor's first word, or the end of it. */
static int await_word(const struct machine *machine, struct err *err)
{
    struct pollfd word = {machine->control, POLLIN, 0};

    for (int waited = 0; waited < BIRTH_LIMIT_S * 1000; waited += GIVEN_UP_MS) {
        if (machine->given_up)
            return err_plain(err, "it was given up");
        if (poll(&word, 1, GIVEN_UP_MS) > 0)
            return 0;
    }
    return err_os(err, ETIMEDOUT, "wait for the monitor");
}

/* Waits until the child exists; its network namespace. */
static int await_birth(struct machine *machine, struct err *err)
{
    struct monitor_message message;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } space;
    struct iovec part = {&message, sizeof message};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &space, .msg_controllen = sizeof space};
    struct cmsghdr *rights;
    ssize_t n;
    int net, r = await_word(machine, err);

    if (r < 0)
        return r;
    n = recvmsg(machine->control, &head, MSG_CMSG_CLOEXEC);
    rights = n > 0 ? CMSG_FIRSTHDR(&head) : NULL;
    if (n < 0)
        return err_os(err, errno, "wait for the monitor");
    if (n != sizeof message)
        return err_plain(err, "the monitor ended at once");
    if (message.kind == MONITOR_FAILED)
        return fail_as_told(&message, err);
    if (message.kind != MONITOR_BORN || !rights || rights->cmsg_type != SCM_RIGHTS)
        return err_plain(err, "the monitor said %u first", message.kind);
    memcpy(&net, CMSG_DATA(rights), sizeof net);
    return net;
}

int machine_say(const struct machine *machine, uint32_t kind, int number, int fd, struct err *err)
{
    struct monitor_message message = {.kind = kind, .number = number, .version = MONITOR_VERSION};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } space = {0};
    struct iovec part = {&message, sizeof message};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};

    if (fd >= 0) {
        struct cmsghdr *rights = &space.align;

        head.msg_control = &space;
        head.msg_controllen = sizeof space;
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    if (sendmsg(machine->control, &head, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof message)
        return 0;
    if (errno == EAGAIN)
        return err_plain(err, "the monitor of %s takes no messages", machine->id);
    return err_os(err, errno, "tell the monitor of %s", machine->id);
}

/* It may have changed between our look at it and its attachment. */
static int follow_change(struct native *native, struct machine *machine, unsigned i,
                         const struct machine_interface *before, struct err *err)
{
    struct fabric_interface interface;
    struct str groups[FABRIC_GROUPS];
    struct machine_interface now;

    pthread_mutex_lock(&native->lock);
    now = machine->record.interfaces[i];
    pthread_mutex_unlock(&native->lock);
    if (memcmp(&now, before, sizeof now) == 0)
        return 0;
    machine_fabric_interface(&now, groups, &interface);
    return fabric_set_interface(native->fabric, &interface, err);
}

static int attach_all(struct native *native, struct machine *machine, int net, struct err *err)
{
    int r = 0;

    for (unsigned i = 0; i < machine->record.interface_count && r == 0; i++) {
        struct machine_interface from;
        struct fabric_interface interface;
        struct str groups[FABRIC_GROUPS];

        pthread_mutex_lock(&native->lock);
        from = machine->record.interfaces[i];
        pthread_mutex_unlock(&native->lock);
        machine_fabric_interface(&from, groups, &interface);
        r = fabric_attach(native->fabric, &interface, net, err);
        if (r == 0)
            r = follow_change(native, machine, i, &from, err);
    }
    return r;
}

int machine_keep_record(const struct machine_record *record, struct err *err)
{
    size_t size = offsetof(struct machine_record, interfaces) + record->interface_count * sizeof record->interfaces[0];
    char path[MONITOR_PATH + 16];
    int r = dir_make(record->config.run, 0700, err);

    snprintf(path, sizeof path, "%s/record", record->config.run);
    return r == 0 ? file_write_atomic(AT_FDCWD, path, (struct str){(const char *)record, size}, 0600, err) : r;
}

/* A volatile overlay leaves a mark that keeps the kernel from mounting it again: what it warns of is ours to decide. */
static int ready_disk(const struct machine *machine, struct err *err)
{
    static const char *const marks[] = {"work/work/incompat", "usr-work/work/incompat"};
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(marks) && r == 0; i++) {
        char path[MONITOR_PATH + 32];

        snprintf(path, sizeof path, "%s/%s", machine->record.config.disk, marks[i]);
        r = tree_remove(AT_FDCWD, path, err);
    }
    return r;
}

int machine_spawn_monitor(const struct native *native, const struct monitor_config *config, int disk, int *ret_control,
                          pid_t *ret_pid, struct err *err)
{
    int ends[2] = {-1, -1};
    int r = make_control(ends, err);

    if (r == 0)
        r = spawn_monitor(native, ends[1], disk, ret_pid, err);
    fd_close(&ends[1]);
    if (r < 0) {
        fd_close(&ends[0]);
        return r;
    }
    *ret_control = ends[0];
    if (send(ends[0], config, sizeof *config, MSG_NOSIGNAL) < 0)
        return err_os(err, errno, "send the monitor its orders");
    return 0;
}

/*
 * Who uses a disk holds its lock: the monitor, from before its child exists until that has ended. Whoever else has it
 * (a machine that nobody could speak to) has the disk, and no second one starts on it. One that was just killed may
 * hold it a moment longer.
 */
static int lock_disk(const struct machine *machine, int *ret_disk, struct err *err)
{
    const char *path = machine->record.config.disk;
    AUTO_FD low = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    AUTO_FD disk = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, HIGH_FD);

    if (disk < 0)
        return err_os(err, errno, "open %s", path);
    for (int waited = 0; flock(disk, LOCK_EX | LOCK_NB) < 0; waited += GIVEN_UP_MS) {
        if (errno != EWOULDBLOCK)
            return err_os(err, errno, "lock %s", path);
        if (waited >= LOCK_LIMIT_MS || machine->given_up)
            return err_plain(err, "its disk is in use: another process holds the lock on %s", path);
        poll(NULL, 0, GIVEN_UP_MS);
    }
    *ret_disk = disk;
    disk = -1;
    return 0;
}

static int start_monitor(struct native *native, struct machine *machine, struct err *err)
{
    AUTO_FD disk = -1;
    int r = lock_disk(machine, &disk, err);

    if (r == 0)
        r = machine_spawn_monitor(native, &machine->record.config, disk, &machine->control, &machine->monitor_pid, err);

    if (machine->monitor_pid > 0)
        machine->monitor = pidfd_open(machine->monitor_pid, 0);
    return r;
}

/* The control socket's end makes a monitor that has not heard GO take its child and leave. The child of one that hangs
 * and is killed goes with its cgroup. */
static void abandon(struct native *native, struct machine *machine)
{
    struct pollfd gone = {machine->monitor, POLLIN, 0};

    fd_close(&machine->control);
    if (machine->monitor >= 0 && poll(&gone, 1, LEAVE_MS) == 0)
        pidfd_send_signal(machine->monitor, SIGKILL, NULL, 0);
    if (machine->monitor_pid)
        waitpid(machine->monitor_pid, NULL, 0);
    machine->monitor_pid = 0;
    fd_close(&machine->monitor);
    machine_clean(native, machine);
}

int machine_launch(struct native *native, struct machine *machine, struct err *err)
{
    AUTO_FD net = -1;
    int r = cgroups_name(&native->cgroups, str_of(machine->id), &machine->record.config, err);

    if (r == 0)
        r = machine_keep_record(&machine->record, err);
    if (r == 0)
        r = cgroups_make(&native->cgroups, str_of(machine->id), &machine->record.limits, err);
    if (r == 0)
        r = ready_disk(machine, err);
    if (r == 0)
        r = start_monitor(native, machine, err);
    if (r == 0)
        net = r = await_birth(machine, err);
    if (r >= 0)
        r = attach_all(native, machine, net, err);
    if (r >= 0)
        r = machine_say(machine, MONITOR_GO, 0, -1, err);
    if (r < 0) {
        abandon(native, machine);
        return err_wrap(err, "start %s", machine->id);
    }
    watch_add(native, machine);
    return 0;
}

/* From here on nobody else touches the record, nor makes its folder anew. */
static void close_record(struct native *native, struct machine *machine)
{
    pthread_mutex_lock(&native->records);
    pthread_mutex_lock(&native->lock);
    machine->leaving = true;
    pthread_mutex_unlock(&native->lock);
    pthread_mutex_unlock(&native->records);
}

void machine_clean(struct native *native, struct machine *machine)
{
    struct err err = ERR_INIT;
    struct machine_record *record = &machine->record;

    close_record(native, machine);
    for (unsigned i = 0; i < record->interface_count; i++) {
        if (fabric_detach(native->fabric, str_of(record->interfaces[i].id), &err) < 0)
            log_warning("%s: %s", machine->id, err.text);
    }
    if (cgroups_remove(&record->config, &err) < 0)
        log_warning("%s: %s", machine->id, err.text);
    if (record->config.run[0] && tree_remove(AT_FDCWD, record->config.run, &err) < 0)
        log_warning("%s: %s", machine->id, err.text);
}
