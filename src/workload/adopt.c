/*
 * Adoption: what an earlier server of this owner left. Folders of disks say which machines there are, sockets in run
 * folders which of them run, and cgroups with processes in them what else does. No process id is trusted that the
 * kernel does not give for a connected socket, or for a cgroup.
 *
 * What runs and cannot be spoken to (its socket is gone, its monitor does not answer) is ended by its cgroups before
 * anything is started in its place. Should that fail, the lock on its disk keeps a second one from it (machine.c).
 *
 * What runs and has lost a link, as when its VPC's namespace was taken away, gets it again; where it cannot, it is
 * ended likewise, and boots with all its links.
 */
#include "workload/machine.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { STATE_LIMIT_MS = 5000 }; /* until monitors count as such that do not answer; hosts under load are slow */

static struct machine *find_or_add(struct native *native, const char *id)
{
    struct machine *machine = map_get(&native->machines, str_of(id));

    if (machine || strlen(id) >= MACHINE_ID)
        return machine;
    machine = mem_alloc(sizeof *machine);
    machine->control = machine->monitor = -1;
    snprintf(machine->id, sizeof machine->id, "%s", id);
    map_put(&native->machines, str_of(machine->id), machine);
    return machine;
}

/* Does not wait: one that stands still, with as many connections as it lets wait, is one that cannot be reached. */
static int connect_monitor(const char *run)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (snprintf(address.sun_path, sizeof address.sun_path, "%s/sock", run) >= (int)sizeof address.sun_path ||
        connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        fd_close(&fd);
        return -1;
    }
    return fd;
}

/* The socket stays connected, so the process that listens on it cannot have been replaced by another of its number. */
static int monitor_of(int control)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    if (getsockopt(control, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -1;
    return pidfd_open(peer.pid, 0);
}

/* Its machine dies with it. One that only stands still would keep its disk for ever. */
static void end_monitor(struct machine *machine)
{
    AUTO_FD monitor = monitor_of(machine->control);

    if (monitor >= 0)
        pidfd_send_signal(monitor, SIGKILL, NULL, 0);
    fd_close(&machine->control);
}

static bool hear_state(struct machine *machine, int64_t until_us)
{
    struct pollfd word = {machine->control, POLLIN, 0};
    int64_t left = (until_us - time_monotonic_us()) / 1000;
    struct monitor_message message;

    if (poll(&word, 1, left > 0 ? (int)left : 0) <= 0 ||
        recv(machine->control, &message, sizeof message, MSG_DONTWAIT) != sizeof message ||
        message.kind != MONITOR_STATE || message.version != MONITOR_VERSION)
        return false;
    machine->init = message.number;
    machine->ready = message.flags & MONITOR_IS_READY;
    machine->booted = message.flags & MONITOR_IS_BOOTED;
    return true;
}

static void adopt_links(struct native *native, struct machine *machine)
{
    machine->unlinked = 0;
    for (unsigned i = 0; i < machine->record.interface_count; i++) {
        struct fabric_interface interface;
        struct str groups[FABRIC_GROUPS];
        struct err err = ERR_INIT;
        int r;

        machine_fabric_interface(&machine->record.interfaces[i], groups, &interface);
        r = fabric_adopt(native->fabric, &interface, &err);
        if (r < 0)
            log_warning("%s: %s", machine->id, err.text);
        else if (r > 0)
            machine->unlinked |= 1u << i;
    }
}

static bool is_child(pid_t pid, pid_t parent)
{
    AUTO_BUF text = BUF_INIT;
    char path[32];
    struct str rest;
    int64_t number;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (file_read(AT_FDCWD, path, &text, 4096, &ERR_INIT) < 0)
        return false;
    rest = buf_str(&text);
    while (rest.len > 0 && rest.p[rest.len - 1] != ')') /* its name may hold any byte */
        rest.len--;
    rest = str_skip(buf_str(&text), rest.len);
    str_cut(&rest, ' ');
    str_cut(&rest, ' '); /* its state */
    return str_to_int(str_cut(&rest, ' '), &number) && number == parent;
}

/* The number was its monitor's word. Only the monitor, its parent, can free it, so a child of the monitor's it is. */
static int network_of(const struct machine *machine, struct err *err)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    char path[64];
    int net;

    snprintf(path, sizeof path, "/proc/%d/ns/net", machine->init);
    net = open(path, O_RDONLY | O_CLOEXEC);
    if (net < 0)
        return err_os(err, errno, "open its network namespace");
    if (getsockopt(machine->control, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || !is_child(machine->init, peer.pid)) {
        close(net);
        return err_plain(err, "its init is no child of its monitor");
    }
    return net;
}

/* Links that something took away since the earlier server made them: its interfaces are the same as before. */
static int link_again(struct native *native, const struct machine *machine, struct err *err)
{
    AUTO_FD net = machine->unlinked ? network_of(machine, err) : -1;
    int r = machine->unlinked && net < 0 ? net : 0;

    for (unsigned i = 0; i < machine->record.interface_count && r == 0; i++) {
        const struct machine_interface *from = &machine->record.interfaces[i];
        struct fabric_interface interface;
        struct str groups[FABRIC_GROUPS];

        if (!(machine->unlinked & 1u << i))
            continue;
        machine_fabric_interface(from, groups, &interface);
        r = fabric_attach(native->fabric, &interface, net, err);
        if (r == 0)
            log_warning("%s: the link of %s was gone: it is attached again", machine->id, from->id);
    }
    return r;
}

static bool read_record(const char *run, struct machine_record *record)
{
    AUTO_BUF text = BUF_INIT;
    char path[MONITOR_PATH + 16];

    snprintf(path, sizeof path, "%s/record", run);
    if (file_read(AT_FDCWD, path, &text, sizeof *record, &ERR_INIT) < 0 || text.len > sizeof *record ||
        text.len < offsetof(struct machine_record, interfaces))
        return false;
    memset(record, 0, sizeof *record);
    memcpy(record, text.p, text.len);
    return memcmp(record->magic, MACHINE_MAGIC, 8) == 0 && record->config.version == MONITOR_VERSION &&
           record->interface_count <= MACHINE_INTERFACES &&
           text.len ==
               offsetof(struct machine_record, interfaces) + record->interface_count * sizeof record->interfaces[0];
}

/* How one ended while no server was there. *ret_seen: its monitor wrote that down. False: it did not end by itself, or
 * nobody saw it. */
static bool read_exit(const char *run, struct workload_exit *exit, bool *ret_seen)
{
    AUTO_BUF text = BUF_INIT;
    char path[MONITOR_PATH + 16];
    int64_t status, flags;
    struct str rest;

    snprintf(path, sizeof path, "%s/exit", run);
    *ret_seen = access(path, F_OK) == 0;
    if (file_read(AT_FDCWD, path, &text, 256, &ERR_INIT) < 0)
        return false;
    rest = str_trim(buf_str(&text));
    if (!str_to_int(str_cut(&rest, ' '), &status) || !str_to_int(str_cut(&rest, ' '), &flags))
        return false;
    *exit = (struct workload_exit){
        .status = (int)status,
        .out_of_memory = flags & MONITOR_OUT_OF_MEMORY,
        .power_off = flags & MONITOR_POWER_OFF,
        .reboot = flags & MONITOR_REBOOT,
        .over_allowance = flags & MONITOR_OVER_ALLOWANCE,
    };
    return !(flags & MONITOR_ASKED);
}

static void adopt_ended(struct native *native, struct machine *machine)
{
    struct workload_event event = {.kind = WORKLOAD_EXITED, .id = str_of(machine->id)};
    struct err err = ERR_INIT;
    char run[MONITOR_PATH];
    bool told, seen;

    machine_run_path(native, str_of(machine->id), run);
    told = read_exit(run, &event.exit, &seen);
    snprintf(machine->record.config.run, MONITOR_PATH, "%s", run);
    machine_clean(native, machine);
    if (cgroups_end(&native->cgroups, str_of(machine->id), &err) < 0)
        log_warning("%s: %s", machine->id, err.text);
    if (!seen && machine->unheard) {
        event.exit = (struct workload_exit){
            .status = SIGKILL, .lost = !machine->unlinked, .unlinked = machine->unlinked};
        told = true;
    }
    if (told)
        native->sink.event(native->sink.cookie, &event);
}

static void adopt_one(struct native *native, const char *id)
{
    struct machine *machine = find_or_add(native, id);
    char run[MONITOR_PATH];

    if (!machine)
        return;
    machine_run_path(native, str_of(id), run);
    machine->ended_unseen = true;              /* until it has said that it runs */
    if (!read_record(run, &machine->record)) { /* another version's: its links go with it, its cgroups are known */
        machine->record = (struct machine_record){0};
        cgroups_name(&native->cgroups, str_of(id), &machine->record.config, &ERR_INIT);
    }
    machine->control = connect_monitor(run);
    adopt_links(native, machine);
}

/* Of each that is connected: all have the same time to answer, so that those who do not hold nobody else up. */
static void hear_all(struct native *native)
{
    int64_t until_us = time_monotonic_us() + STATE_LIMIT_MS * 1000ll;

    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));) {
        struct machine *machine = at->value;
        struct err err = ERR_INIT;

        if (machine->control < 0)
            continue;
        if (!machine->record.magic[0] || !hear_state(machine, until_us)) {
            log_warning("%s: its monitor does not answer, or not as this version does: it is ended", machine->id);
            end_monitor(machine);
            continue;
        }
        if (link_again(native, machine, &err) < 0) {
            log_warning("%s: its links are gone: %s: it is ended, and boots again", machine->id, err.text);
            end_monitor(machine);
            machine->unheard = true;
            continue;
        }
        machine->monitor = monitor_of(machine->control);
        machine->state = MACHINE_RUNNING;
        machine->ended_unseen = false;
    }
}

/* Names in `folder` that a machine may have. */
static int each_name(struct native *native, const char *folder, void (*each)(struct native *native, const char *id),
                     struct err *err)
{
    DIR *dir = opendir(folder);

    if (!dir)
        return errno == ENOENT ? 0 : err_os(err, errno, "list %s", folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < MACHINE_ID)
            each(native, entry->d_name);
    }
    closedir(dir);
    return 0;
}

static void note_disk(struct native *native, const char *id)
{
    char path[MONITOR_PATH];

    if (!str_ends(str_of(id), S(".new"))) {
        find_or_add(native, id);
        return;
    }
    machine_disk_path(native, str_of(id), path); /* a disk that was never finished */
    allowance_remove_disk(native, path, &ERR_INIT);
}

/* A cgroup of ours that processes are in. */
static void note_running(void *cookie, const char *id)
{
    struct native *native = cookie;
    struct machine *machine = find_or_add(native, id);

    if (!machine || machine->control >= 0 || machine->unheard)
        return;
    log_warning("%s runs, but its monitor cannot be reached: it is ended", id);
    machine->ended_unseen = machine->unheard = true;
    machine->unlinked = 0; /* which would not have been its end */
}

/* After all links are known: the last of a VPC takes the VPC's network with it. */
static void clean_ended(struct native *native)
{
    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));) {
        struct machine *machine = at->value;

        if (machine->ended_unseen)
            adopt_ended(native, machine);
        machine->ended_unseen = machine->unheard = false;
    }
}

int adopt_all(struct native *native, struct err *err)
{
    char folder[MONITOR_PATH];
    int r;

    snprintf(folder, sizeof folder, "%s/machines", native->state_dir);
    r = each_name(native, folder, note_disk, err);
    snprintf(folder, sizeof folder, "%s/m", native->state_dir);
    if (r == 0)
        r = each_name(native, folder, adopt_one, err);
    hear_all(native);
    cgroups_each_running(&native->cgroups, note_running, native);
    clean_ended(native);
    return r;
}
