#include "workload/native.h"
#include "base/arena.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "workload/console.h"
#include "workload/machine.h"
#include "workload/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

enum {
    READY_LIMIT_MS = 20000,
    STOP_SLACK_MS = 5000,  /* beyond its grace, until its monitor itself is killed */
    HASTY_SLACK_MS = 1000, /* … of a start that was given up, and when the server ends */
    SAY_AGAIN_MS = 50,     /* to a monitor that has not read what it was told before */
};

static struct machine *find(const struct native *native, struct str id)
{
    return map_get(&native->machines, id);
}

static bool wait_until(struct native *native, int64_t until_us)
{
    int64_t left = until_us - time_monotonic_us();
    struct timespec t;

    if (left <= 0)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += left / 1000000;
    t.tv_nsec += left % 1000000 * 1000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&native->changed, &native->lock, &t);
    return true;
}

/* ---- ensure ---- */

/* It has been told to go: waits for its init's word. */
static int await_ready(struct native *native, struct machine *machine, struct err *err)
{
    int64_t until = time_monotonic_us() + READY_LIMIT_MS * 1000ll;
    int r = 0;

    pthread_mutex_lock(&native->lock);
    while (machine->state == MACHINE_STARTING && !machine->given_up && wait_until(native, until))
        ;
    if (machine->state == MACHINE_STOPPED && machine->failure.text[0]) {
        *err = machine->failure;
        r = err_wrap(err, "start %s", machine->id);
    } else if (machine->state == MACHINE_STOPPED && !machine->was_ready) {
        r = err_plain(err, "start %s: its init ended before it had reported", machine->id);
    } else if (machine->state == MACHINE_STARTING && machine->given_up) {
        r = err_plain(err, "start %s: it was given up before its init had reported", machine->id);
    } else if (machine->state == MACHINE_STARTING) {
        r = err_plain(err, "start %s: its init has not reported in %d ms", machine->id, READY_LIMIT_MS);
    }
    pthread_mutex_unlock(&native->lock);
    return r;
}

static void set_state(struct native *native, struct machine *machine, enum machine_state state)
{
    pthread_mutex_lock(&native->lock);
    machine->state = state;
    pthread_cond_broadcast(&native->changed);
    pthread_mutex_unlock(&native->lock);
}

static int stop_machine(struct native *native, struct machine *machine, unsigned grace_ms, struct err *err);

/* STOPPED and ours alone, by the caller's promise that one id has one call at a time. */
static int start(struct native *native, struct machine *machine, struct err *err)
{
    int r;

    pthread_mutex_lock(&native->lock);
    machine->state = MACHINE_STARTING;
    machine->failure = ERR_INIT;
    machine->given_up = machine->leaving = false;
    machine->ready = machine->was_ready = machine->booted = machine->exited = false;
    machine->asked = machine->hurried = false;
    pthread_mutex_unlock(&native->lock);
    native->sink.event(native->sink.cookie,
                       &(struct workload_event){.kind = WORKLOAD_STARTING, .id = str_of(machine->id)});
    r = machine_launch(native, machine, err);
    if (r < 0) {
        set_state(native, machine, MACHINE_STOPPED);
        return r;
    }
    r = await_ready(native, machine, err);
    if (r < 0)
        stop_machine(native, machine, 0, &ERR_INIT);
    return r;
}

static struct machine *find_or_add(struct native *native, struct str id)
{
    struct machine *machine;

    pthread_mutex_lock(&native->lock);
    machine = find(native, id);
    if (!machine) {
        machine = mem_alloc(sizeof *machine);
        machine->control = machine->monitor = -1;
        str_to_z(id, machine->id, sizeof machine->id);
        map_put(&native->machines, str_of(machine->id), machine);
    }
    pthread_mutex_unlock(&native->lock);
    return machine;
}

/* On the console, that of a machine which has no monitor now. */
static void say_why(const struct machine *machine, struct str why)
{
    AUTO_BUF line = BUF_INIT;
    struct err err = ERR_INIT;

    if (!why.len)
        return;
    buf_printf(&line, "haar: %s boots again: " STR_FMT "\n", machine->id, STR_ARG(why));
    if (console_append(machine->record.config.console, buf_str(&line), &err) < 0)
        log_warning("%s: %s", machine->id, err.text);
}

static int native_ensure(void *cookie, const struct workload_spec *spec, struct err *err)
{
    struct native *native = cookie;
    struct machine *machine;
    bool runs;
    int r = machine_check_spec(spec, err);

    if (r < 0)
        return r;
    machine = find_or_add(native, spec->id);
    pthread_mutex_lock(&native->lock);
    runs = machine->state != MACHINE_STOPPED;
    pthread_mutex_unlock(&native->lock);
    if (runs)
        return 0;
    for (size_t i = 0; i < spec->interface_count && r == 0; i++)
        r = machine_describe(native, &spec->interfaces[i], err);
    if (r == 0)
        r = machine_fill_record(native, machine, spec, err);
    if (r == 0)
        r = machine_new_disk(native, machine, spec, err);
    if (r == 0)
        r = allowance_ready(native, machine, spec->disk_bytes, err);
    if (r == 0)
        say_why(machine, spec->why);
    return r == 0 ? start(native, machine, err) : r;
}

/* ---- stop, reboot, remove ---- */

static bool await_stopped(struct native *native, struct machine *machine, int64_t limit_ms)
{
    int64_t until = time_monotonic_us() + limit_ms * 1000;

    while (machine->state != MACHINE_STOPPED && wait_until(native, until))
        ;
    return machine->state == MACHINE_STOPPED;
}

/* Says it until it has been heard. Whoever hurries meanwhile takes the rest of the grace away. */
static bool ask_to_stop(struct native *native, struct machine *machine, unsigned grace_ms, int64_t slack_ms)
{
    int64_t until = time_monotonic_us() + (grace_ms + slack_ms) * 1000, again;
    bool said = false, waits = true;

    while (machine->state != MACHINE_STOPPED && waits) {
        if (machine->hurried && grace_ms) {
            grace_ms = 0;
            until = time_monotonic_us() + slack_ms * 1000;
            said = false;
        }
        said = said || machine_say(machine, MONITOR_STOP, (int)grace_ms, -1, &ERR_INIT) == 0;
        again = time_monotonic_us() + SAY_AGAIN_MS * 1000;
        waits = time_monotonic_us() < until && wait_until(native, said || again > until ? until : again);
    }
    return machine->state == MACHINE_STOPPED;
}

static int stop_machine(struct native *native, struct machine *machine, unsigned grace_ms, struct err *err)
{
    int64_t slack_ms = machine->given_up || native->closing ? HASTY_SLACK_MS : STOP_SLACK_MS;
    bool stopped;

    pthread_mutex_lock(&native->lock);
    if (machine->state == MACHINE_STOPPED) {
        pthread_mutex_unlock(&native->lock);
        return 0;
    }
    machine->asked = true;
    stopped = ask_to_stop(native, machine, grace_ms > INT32_MAX ? INT32_MAX : grace_ms, slack_ms);
    if (!stopped && machine->monitor >= 0) { /* its init dies with it, and what is in its cgroups */
        log_warning("%s: its monitor has not ended it within %lld ms, and is killed", machine->id,
                    (long long)(grace_ms + slack_ms));
        pidfd_send_signal(machine->monitor, SIGKILL, NULL, 0);
        stopped = await_stopped(native, machine, STOP_SLACK_MS);
    }
    pthread_mutex_unlock(&native->lock);
    return stopped ? 0 : err_plain(err, "%s does not stop", machine->id);
}

static struct machine *find_locked(struct native *native, struct str id)
{
    struct machine *machine;

    pthread_mutex_lock(&native->lock);
    machine = find(native, id);
    pthread_mutex_unlock(&native->lock);
    return machine;
}

static int native_stop(void *cookie, struct str id, unsigned grace_ms, struct err *err)
{
    struct machine *machine = find_locked(cookie, id);

    return machine ? stop_machine(cookie, machine, grace_ms, err) : 0;
}

static void native_hurry(void *cookie, struct str id)
{
    struct native *native = cookie;
    struct machine *machine;

    pthread_mutex_lock(&native->lock);
    machine = find(native, id);
    if (machine && machine->state == MACHINE_RUNNING && machine->asked)
        machine->hurried = true; /* who waits for its end says it */
    if (machine && machine->state == MACHINE_STARTING)
        machine->given_up = true;
    pthread_cond_broadcast(&native->changed);
    pthread_mutex_unlock(&native->lock);
}

static int native_reboot(void *cookie, struct str id, unsigned grace_ms, struct err *err)
{
    struct machine *machine = find_locked(cookie, id);
    int r;

    if (!machine || !machine->record.magic[0])
        return err_plain(err, STR_FMT " has not run yet", STR_ARG(id));
    r = stop_machine(cookie, machine, grace_ms, err);
    return r == 0 ? start(cookie, machine, err) : r;
}

static int remove_disk(struct native *native, struct str id, struct err *err)
{
    char disk[MONITOR_PATH];

    machine_disk_path(native, id, disk);
    return allowance_remove_disk(native, disk, err);
}

/* To STATE/lost/ID.SECONDS. A disk that is in memory goes: it would not last there either. */
static int keep_disk(struct native *native, struct str id, struct err *err)
{
    char disk[MONITOR_PATH], kept[MONITOR_PATH + 64];
    int r;

    snprintf(kept, sizeof kept, "%s/lost", native->state_dir);
    r = dir_make(kept, 0700, err);
    if (r < 0)
        return r;
    machine_disk_path(native, id, disk);
    snprintf(kept, sizeof kept, "%s/lost/" STR_FMT ".%lld", native->state_dir, STR_ARG(id),
             (long long)time_now_ms() / 1000);
    if (rename(disk, kept) < 0)
        return errno == EXDEV    ? remove_disk(native, id, err)
               : errno == ENOENT ? 0
                                 : err_os(err, errno, "keep %s", disk);
    log_warning(STR_FMT ": its disk is kept as %s", STR_ARG(id), kept);
    return 0;
}

static int take_away(struct native *native, struct str id,
                     int (*end_disk)(struct native *native, struct str id, struct err *err), struct err *err)
{
    struct machine *machine = find_locked(native, id);
    int r;

    if (!machine)
        return 0;
    r = stop_machine(native, machine, 0, err);
    if (r < 0)
        return r;
    r = end_disk(native, id, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&native->lock);
    map_remove(&native->machines, str_of(machine->id));
    pthread_mutex_unlock(&native->lock);
    free(machine);
    return 0;
}

static int native_remove(void *cookie, struct str id, struct err *err)
{
    return take_away(cookie, id, remove_disk, err);
}

static int native_set_aside(void *cookie, struct str id, struct err *err)
{
    return take_away(cookie, id, keep_disk, err);
}

/* ---- looking ---- */

static int native_observe(void *cookie, struct arena *arena, struct workload_observed **ret, size_t *ret_count,
                          struct err *err)
{
    struct native *native = cookie;
    struct workload_observed *all;
    size_t count = 0;

    pthread_mutex_lock(&native->lock);
    all = arena_array(arena, struct workload_observed, native->machines.count);
    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));) {
        const struct machine *machine = at->value;

        all[count++] = (struct workload_observed){
            .id = arena_str(arena, str_of(machine->id)),
            .state = machine->state == MACHINE_STOPPED ? WORKLOAD_STOPPED : WORKLOAD_RUNNING,
            .ready = machine->ready,
            .booted = machine->booted,
        };
    }
    pthread_mutex_unlock(&native->lock);
    *ret = all;
    *ret_count = count;
    return 0;
}

static int native_console(void *cookie, struct str id, size_t limit, struct buf *out, uint64_t *ret_offset,
                          struct err *err)
{
    struct native *native = cookie;
    char path[MONITOR_PATH];

    if (!find_locked(native, id))
        return err_plain(err, "there is no machine " STR_FMT, STR_ARG(id));
    machine_console_path(native, id, path);
    return console_read_last(path, limit, out, ret_offset, err);
}

static const struct workload_lack *native_lacks(void *cookie, size_t *ret_count)
{
    struct native *native = cookie;

    *ret_count = native->host.count;
    return native->host.lacks;
}

static int native_console_open(void *cookie, struct str id, int *ret_fd, struct err *err)
{
    char path[MONITOR_PATH];

    if (!find_locked(cookie, id)) /* an id that is no machine's names no path either */
        return 1;
    machine_console_path(cookie, id, path);
    *ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*ret_fd < 0)
        return errno == ENOENT ? 1 : err_os(err, errno, "open %s", path);
    return 0;
}

/* ---- the end ---- */

/* All at once: each dies by itself while we wait for the first. */
static void stop_all(struct native *native)
{
    pthread_mutex_lock(&native->lock);
    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));) {
        struct machine *machine = at->value;

        if (machine->state == MACHINE_STOPPED)
            continue;
        machine->asked = true;
        machine_say(machine, MONITOR_STOP, 0, -1, &ERR_INIT);
    }
    pthread_mutex_unlock(&native->lock);
}

static int remove_all_machines(struct native *native, struct err *err)
{
    int r = 0;

    stop_all(native);
    for (struct map_slot *at; (at = map_next(&native->machines, NULL)) && r == 0;)
        r = native_remove(native, map_key(at), err);
    return r;
}

static void remove_folder(const char *folder, const char *name)
{
    char path[MONITOR_PATH];
    struct err err = ERR_INIT;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (tree_remove(AT_FDCWD, path, &err) < 0)
        log_warning("%s", err.text);
}

static void remove_folders(struct native *native)
{
    trial_forget_disks(native);
    remove_folder(native->state_dir, "images");
    remove_folder(native->state_dir, "machines");
    remove_folder(native->state_dir, "m");
    remove_folder(native->state_dir, "mnt");
}

static void native_free(struct native *native)
{
    for (struct map_slot *at = NULL; (at = map_next(&native->machines, at));) {
        struct machine *machine = at->value;

        fd_close(&machine->control);
        fd_close(&machine->monitor);
        free(machine);
    }
    map_free(&native->machines);
    fd_close(&native->monitor_program);
    fd_close(&native->init_program);
    pthread_mutex_destroy(&native->lock);
    pthread_mutex_destroy(&native->records);
    pthread_cond_destroy(&native->changed);
    free(native);
}

static int native_close(void *cookie, bool remove_all, struct err *err)
{
    struct native *native = cookie;
    int r;

    native->closing = true;
    allowance_stop(native);
    r = remove_all ? remove_all_machines(native, err) : 0;
    if (native->warming)
        pthread_join(native->warmer, NULL);
    watch_stop(native);
    if (fabric_close(native->fabric, remove_all, err) < 0)
        r = -1;
    if (remove_all)
        remove_folders(native);
    cgroups_close(&native->cgroups, remove_all);
    native_free(native);
    return r;
}

static const struct workload_driver driver = {
    .name = "native",
    .capabilities = WORKLOAD_OWN_ADDRESS | WORKLOAD_DISK_LASTS | WORKLOAD_EXEC,
    .ensure = native_ensure,
    .stop = native_stop,
    .reboot = native_reboot,
    .hurry = native_hurry,
    .remove = native_remove,
    .set_aside = native_set_aside,
    .observe = native_observe,
    .console = native_console,
    .console_open = native_console_open,
    .exec = native_exec,
    .set_vpc = native_set_vpc,
    .set_group = native_set_group,
    .set_interface = native_set_interface,
    .remove_vpc = native_remove_vpc,
    .network_status = native_network_status,
    .lacks = native_lacks,
    .close = native_close,
};

/* ---- the start ---- */

int workload_native_new(const struct workload_native_config *config, struct workload_backend *ret_backend,
                        struct err *err)
{
    struct native *native = mem_alloc(sizeof *native);
    pthread_condattr_t monotonic;
    int r;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&native->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&native->lock, NULL);
    pthread_mutex_init(&native->records, NULL);
    native->monitor_program = native->init_program = native->poll = native->wake = native->looker_wake = -1;
    native->sink = config->sink;
    native->durable = config->durable;
    native->host_local = config->host_local;
    native->host.pretended = config->pretend_missing;
    native->next_ids = (uint32_t)str_hash(config->owner); /* owners on one host start apart */
    if (!str_to_z(config->owner, native->owner, sizeof native->owner) ||
        !str_to_z(config->state_dir, native->state_dir, sizeof native->state_dir))
        r = err_plain(err, "owner or folder names are too long");
    else
        r = native_open_parts(native, config, err);
    if (r < 0) {
        if (native->fabric)
            fabric_close(native->fabric, false, &ERR_INIT);
        native_free(native);
        return err_wrap(err, "native driver");
    }
    *ret_backend = (struct workload_backend){&driver, native};
    return 0;
}

static void drop_event(void *cookie, const struct workload_event *event)
{
}

int workload_native_reap(const struct owner *dead, struct err *err)
{
    struct workload_native_config config = {
        .owner = str_of(dead->id),
        .state_dir = str_of(dead->state),
        .sink = {drop_event, NULL},
        .reaping = true,
    };
    struct workload_backend backend;
    int r = workload_native_new(&config, &backend, err);

    return r == 0 ? backend.driver->close(backend.cookie, true, err) : r;
}
