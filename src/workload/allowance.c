#include "workload/allowance.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "workload/machine.h"
#include "workload/quota.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LOOK_MS = 250,
    EACH_LEAST_US = 2 * 1000000, /* until a machine is looked at, whatever the file system lost: as often as one part */
    EACH_MOST_US = 60 * 1000000, /* … of all of them in EACH_PART of a processor's time does, within these */
    EACH_PART = 200,
    STEP = 8 << 20, /* what the file system must have lost to look again at one that has no room left */
    STEP_FILES = 2048,
    REST = 4,            /* times as long as a look took is the pause behind it */
    BRIEF = 20000,       /* names, descriptors and mappings: a few hundredths of a second */
    HELD_MOST = 4 << 20, /* descriptors and mappings of a machine: a few seconds */
    BYTES_A_FILE = 16384,
    FILES_MAX = 16 << 20,
};

/* The folders of a disk that the guest fills. */
static const char *const guests[] = {"upper", "work", "usr-upper", "usr-work"};

/* ---- what the host has ---- */

static void machines_path(const struct native *native, char path[MONITOR_PATH])
{
    snprintf(path, MONITOR_PATH, "%s/machines", native->state_dir);
}

/* Files without a name are found by the processes that have them open. */
static const char *why_use_hides(const struct native *native, const char *machines)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    const struct usage nothing = {0};
    struct usage used = {0};
    uint64_t left = 1;

    if (usage_of_folder(machines, &nothing, &left, &used) < 0)
        return "folders cannot be read without following their links: openat2 is refused here, or too new (Linux 5.6)";
    if (native->cgroups.count == 0)
        return "without cgroups it is not known which files a machine has deleted and keeps open";
    if (syscall(SYS_capget, &head, data) < 0 || !(data[0].effective >> CAP_SYS_PTRACE & 1))
        return "without CAP_SYS_PTRACE it cannot be seen which files a machine has deleted and keeps open";
    return NULL;
}

void allowance_open(struct native *native)
{
    const char *why = host_pretends(&native->host, HOST_DISK_LIMITS);
    char machines[MONITOR_PATH];
    struct err err = ERR_INIT;

    machines_path(native, machines);
    native->quotas = !why && quota_probe(machines, &err) == 0;
    native->looks = !why && !native->quotas;
    if (native->looks) {
        log_debug("machines' disks are looked at: %s", err.text);
        why = why_use_hides(native, machines);
    }
    if (why)
        host_note(&native->host, HOST_DISK_LIMITS, why);
}

/* ---- a disk ---- */

void allowance_begin_disk(struct native *native, const char *disk)
{
    struct err err = ERR_INIT;

    if (native->quotas && quota_begin(disk, &err) < 0) /* then it is looked at */
        log_warning("%s: %s", disk, err.text);
}

/* The console, which lies in the disk's folder, is no file of the guest's. */
void allowance_end_disk(struct native *native, const char *disk)
{
    struct err err = ERR_INIT;

    if (native->quotas && quota_project(disk) && quota_leave(disk, &err) < 0)
        log_warning("%s: %s", disk, err.text);
}

static uint32_t project_of(const struct native *native, const char *disk)
{
    char upper[MONITOR_PATH + 16];

    snprintf(upper, sizeof upper, "%s/%s", disk, guests[0]);
    return native->quotas ? quota_project(upper) : 0;
}

int allowance_remove_disk(struct native *native, const char *disk, struct err *err)
{
    uint32_t project = project_of(native, disk);
    char machines[MONITOR_PATH];
    int r = tree_remove(AT_FDCWD, disk, err);

    machines_path(native, machines);
    if (r == 0)
        quota_end(machines, project);
    return r;
}

static int count_disk(const char *disk, const struct usage *limit, uint64_t *left, struct usage *used)
{
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(guests) && r == 0; i++) {
        char path[MONITOR_PATH + 16];

        snprintf(path, sizeof path, "%s/%s", disk, guests[i]);
        r = usage_of_folder(path, limit, left, used);
    }
    return r;
}

static struct usage size_of(uint64_t bytes)
{
    uint64_t files = bytes / BYTES_A_FILE;

    return (struct usage){bytes, files < FILES_MAX ? files : FILES_MAX};
}

/* What it has already it may keep. */
static struct usage allow(const struct usage *disk, const struct usage *used)
{
    struct usage allowed = *disk;

    if (used->bytes > disk->bytes)
        allowed.bytes = used->bytes + ALLOWANCE_GROWTH;
    if (used->files > disk->files)
        allowed.files = used->files + ALLOWANCE_GROWTH / BYTES_A_FILE;
    return allowed;
}

int allowance_ready(struct native *native, struct machine *machine, uint64_t bytes, struct err *err)
{
    const struct usage all = {UINT64_MAX, UINT64_MAX};
    struct machine_record *record = &machine->record;
    uint32_t project = project_of(native, record->config.disk);
    struct usage used = {0};
    uint64_t left = UINT64_MAX;
    char machines[MONITOR_PATH];

    record->disk = record->allowance = size_of(bytes);
    machines_path(native, machines);
    if (bytes && project)
        return quota_limit(machines, project, &record->disk, err);
    if (!bytes || !(native->looks || native->quotas))
        return 0;
    count_disk(record->config.disk, &all, &left, &used);
    record->allowance = allow(&record->disk, &used);
    record->config.refuses_allocation = true;
    pthread_mutex_lock(&native->lock);
    machine->look = (struct allowance_look){.used = used, .fallen = native->fallen, .looked_us = time_monotonic_us()};
    pthread_mutex_unlock(&native->lock);
    return 0;
}

/* ---- looking ---- */

/* A machine to look at, copied from under the lock. */
struct due {
    char id[MACHINE_ID];
    char disk[MONITOR_PATH], processes[MONITOR_PATH + 16];
    struct usage size, allowance, fallen, used;
    int64_t took_us; /* the last time */
    bool takes_long;
};

static uint64_t room(uint64_t allowed, uint64_t used, uint64_t step)
{
    return used + step < allowed ? allowed - used : step;
}

static bool is_looked_at(const struct machine *machine)
{
    return machine->state == MACHINE_RUNNING && machine->control >= 0 && machine->record.config.refuses_allocation;
}

/* Under the lock, as what follows. */
static int64_t count_looked_at(const struct native *native)
{
    int64_t count = 0;

    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));)
        count += is_looked_at(at->value);
    return count;
}

/* Each machine has the same part of the time for all, so that one that takes long is looked at rarely, and no other. */
static int64_t look_each_us(int64_t took_us, int64_t machines)
{
    int64_t each_us = took_us * machines * EACH_PART;

    return each_us < EACH_LEAST_US ? EACH_LEAST_US : each_us > EACH_MOST_US ? EACH_MOST_US : each_us;
}

static bool is_due(const struct native *native, const struct machine *machine, int64_t now_us, int64_t machines)
{
    const struct allowance_look *look = &machine->look;
    const struct usage *allowance = &machine->record.allowance;

    if (!is_looked_at(machine) || look->going || now_us - look->looked_us < REST * look->took_us)
        return false;
    return now_us - look->looked_us >= look_each_us(look->took_us, machines) ||
           native->fallen.bytes - look->fallen.bytes > room(allowance->bytes, look->used.bytes, STEP) ||
           native->fallen.files - look->fallen.files > room(allowance->files, look->used.files, STEP_FILES);
}

/* The cgroup that it joins first lists its processes. */
static void name_processes(const struct monitor_config *config, char path[MONITOR_PATH + 16])
{
    const char *slash = strrchr(config->join[0], '/');
    int size = slash ? (int)(slash - config->join[0]) : 0;

    snprintf(path, MONITOR_PATH + 16, "%.*s/cgroup.procs", size, config->join[0]);
}

static void fill_due(const struct native *native, const struct machine *machine, struct due *due)
{
    *due = (struct due){
        .size = machine->record.disk,
        .allowance = machine->record.allowance,
        .fallen = native->fallen,
        .took_us = machine->look.took_us,
    };
    memcpy(due->id, machine->id, sizeof due->id);
    memcpy(due->disk, machine->record.config.disk, sizeof due->disk);
    name_processes(&machine->record.config, due->processes);
}

static int compare_due(const void *a, const void *b)
{
    int64_t left = ((const struct due *)a)->took_us, right = ((const struct due *)b)->took_us;

    return left < right ? -1 : left > right;
}

/* For brief looks; those that are looked at fastest first. */
static size_t collect_due(struct native *native, struct due **ret)
{
    int64_t now_us = time_monotonic_us(), machines;
    struct due *all = NULL;
    size_t count = 0, capacity = 0;

    pthread_mutex_lock(&native->lock);
    machines = count_looked_at(native);
    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));) {
        const struct machine *machine = at->value;

        if (machine->look.takes_long || !is_due(native, machine, now_us, machines))
            continue;
        mem_grow(all, count, &capacity);
        fill_due(native, machine, &all[count++]);
    }
    pthread_mutex_unlock(&native->lock);
    if (count)
        qsort(all, count, sizeof *all, compare_due);
    *ret = all;
    return count;
}

/* Of those that take long the one that has waited longest, which nobody else takes before it has been looked at. */
static bool take_long(struct native *native, struct due *ret)
{
    int64_t now_us = time_monotonic_us(), machines;
    struct machine *first = NULL;

    pthread_mutex_lock(&native->lock);
    machines = count_looked_at(native);
    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));) {
        struct machine *machine = at->value;

        if (machine->look.takes_long && is_due(native, machine, now_us, machines) &&
            (!first || machine->look.looked_us < first->look.looked_us))
            first = machine;
    }
    if (first) {
        first->look.going = true;
        fill_due(native, first, ret);
    }
    pthread_mutex_unlock(&native->lock);
    return first != NULL;
}

/* What the file system has lost since the last time, summed up: what it got back does not count against that. */
static void note_free(struct native *native)
{
    char machines[MONITOR_PATH];
    struct statfs fs;
    struct usage now;

    machines_path(native, machines);
    if (statfs(machines, &fs) < 0)
        return;
    now = (struct usage){(uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize, fs.f_ffree};
    pthread_mutex_lock(&native->lock);
    if (native->free.bytes > now.bytes)
        native->fallen.bytes += native->free.bytes - now.bytes;
    if (native->free.files > now.files)
        native->fallen.files += native->free.files - now.files;
    native->free = now;
    pthread_mutex_unlock(&native->lock);
}

static const char *format_size(uint64_t bytes, char text[32])
{
    if (bytes < 1ull << 30)
        snprintf(text, 32, "%llu MiB", (unsigned long long)(bytes >> 20));
    else
        snprintf(text, 32, "%.1f GiB", (double)bytes / (double)(1ull << 30));
    return text;
}

static void say_why(const struct due *due, int outcome, char *text, size_t size)
{
    char used[32], limit[32];

    if (outcome == USAGE_DEEP)
        snprintf(text, size, "haar: %.31s is stopped: its folders are nested deeper than can be counted\n", due->id);
    else if (outcome == USAGE_MUCH)
        snprintf(text, size, "haar: %.31s is stopped: its processes hold and map more files than can be looked at\n",
                 due->id);
    else if (due->used.bytes > due->allowance.bytes)
        snprintf(text, size,
                 "haar: %.31s is stopped: what it keeps, %s and more, is more than its disk's %s. Started again it "
                 "runs until it has grown by %u MiB more\n",
                 due->id, format_size(due->used.bytes, used), format_size(due->size.bytes, limit),
                 ALLOWANCE_GROWTH >> 20);
    else
        snprintf(text, size,
                 "haar: %.31s is stopped: it keeps more than the %llu files that a disk of %s has. Started again it "
                 "runs until it keeps %u more\n",
                 due->id, (unsigned long long)due->size.files, format_size(due->size.bytes, limit),
                 ALLOWANCE_GROWTH / BYTES_A_FILE);
}

/* Under the lock: the monitor does the rest, and the machine's end comes as every other does. */
static void end_machine(const struct machine *machine, const struct due *due, int outcome)
{
    struct monitor_message message = {.kind = MONITOR_OVER, .version = MONITOR_VERSION};
    const size_t prefix = strlen("haar: "); /* the log has its own */

    say_why(due, outcome, message.text, sizeof message.text);
    log_warning("%.*s", (int)strlen(message.text + prefix) - 1, message.text + prefix);
    if (send(machine->control, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_warning("tell the monitor of %s: %s", machine->id, strerror(errno));
}

/* Under the lock. A brief look that was not brief is told to the threads for those that take long. */
static void note_look(struct machine *machine, const struct due *due, int64_t now_us, bool briefly, int outcome)
{
    struct allowance_look *look = &machine->look;

    if (briefly && outcome == USAGE_MUCH) {
        look->takes_long = true; /* and due, as it was */
        return;
    }
    *look = (struct allowance_look){due->used, due->fallen, now_us, due->took_us, due->takes_long, false};
    if (outcome < 0) /* nothing is known of it: soon again */
        look->looked_us = 0;
    if (outcome > 0 && is_looked_at(machine) &&
        memcmp(&machine->record.allowance, &due->allowance, sizeof due->allowance) == 0) /* not started again since */
        end_machine(machine, due, outcome);
}

static void look_at(struct native *native, struct due *due, bool briefly)
{
    const uint64_t most = briefly ? BRIEF : UINT64_MAX;
    struct machine *machine;
    int64_t began_us = time_monotonic_us(), now_us;
    uint64_t names = most, held = HELD_MOST;
    int outcome;

    outcome = count_disk(due->disk, &due->allowance, &names, &due->used);
    if (briefly)
        held = names;
    if (outcome == 0)
        outcome = usage_of_deleted(due->processes, due->id, &due->allowance, &held, &due->used);
    now_us = time_monotonic_us();
    due->took_us = now_us - began_us;
    due->takes_long = !briefly && (most - names) + (HELD_MOST - held) > BRIEF;
    pthread_mutex_lock(&native->lock);
    machine = map_get(&native->machines, str_of(due->id));
    if (machine)
        note_look(machine, due, now_us, briefly, outcome);
    pthread_mutex_unlock(&native->lock);
}

/* One round. True: it took so long that those that it began with may be due again before the rest are. */
static bool look_at_due(struct native *native, struct pollfd *ends)
{
    int64_t began_us = time_monotonic_us();
    struct due *due;
    bool again = false;
    size_t count;

    note_free(native);
    count = collect_due(native, &due);
    for (size_t i = 0; i < count && !again && poll(ends, 1, 0) == 0; i++) {
        look_at(native, &due[i], true);
        again = time_monotonic_us() - began_us > LOOK_MS * 1000;
    }
    free(due);
    return again;
}

static void *look_main(void *arg)
{
    struct native *native = arg;
    struct pollfd ends = {native->looker_wake, POLLIN, 0};
    bool again;

    do
        again = look_at_due(native, &ends);
    while (poll(&ends, 1, again ? 0 : LOOK_MS) <= 0);
    return NULL;
}

static void *look_long_main(void *arg)
{
    struct native *native = arg;
    struct pollfd ends = {native->looker_wake, POLLIN, 0};
    struct due due;
    bool again;

    do {
        again = take_long(native, &due);
        if (again)
            look_at(native, &due, false);
    } while (poll(&ends, 1, again ? 0 : LOOK_MS) <= 0);
    return NULL;
}

int allowance_start(struct native *native, struct err *err)
{
    sigset_t all, before;
    int r = 0;

    if (!native->looks && !native->quotas)
        return 0;
    native->looker_wake = eventfd(0, EFD_CLOEXEC);
    if (native->looker_wake < 0)
        return err_os(err, errno, "look at disks");
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < ALLOWANCE_LOOKERS && r == 0; i++) {
        r = pthread_create(&native->lookers[i], NULL, i == 0 ? look_main : look_long_main, native);
        native->looker_count += r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r) {
        allowance_stop(native);
        return err_os(err, r, "start the threads that look at disks");
    }
    return 0;
}

void allowance_stop(struct native *native)
{
    uint64_t one = 1;

    if (native->looker_wake >= 0 && write(native->looker_wake, &one, sizeof one) == sizeof one) {
        for (unsigned i = 0; i < native->looker_count; i++)
            pthread_join(native->lookers[i], NULL);
    }
    native->looker_count = 0;
    fd_close(&native->looker_wake);
}
