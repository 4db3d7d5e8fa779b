#include "workload/native_fixture.h"
#include "base/fd.h"
#include "base/time.h"
#include "image/image.h"
#include "workload/exec.h"
#include "workload/native.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { MACHINES_MAX = 1024 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct seen seen[MACHINES_MAX];
    size_t count;
} world = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};

struct owner owner;
struct workload_backend backend;
char why_not[1000];
bool host_bash;
unsigned pretend_missing;

struct seen *seen_of(struct str id)
{
    for (size_t i = 0; i < world.count; i++) {
        if (str_equal(str_of(world.seen[i].id), id))
            return &world.seen[i];
    }
    assert_true(world.count < MACHINES_MAX);
    str_to_z(id, world.seen[world.count].id, sizeof world.seen[0].id);
    return &world.seen[world.count++];
}

static void on_event(void *cookie, const struct workload_event *event)
{
    struct seen *seen;

    pthread_mutex_lock(&world.lock);
    seen = seen_of(event->id);
    switch (event->kind) {
    case WORKLOAD_STARTING:
        break;
    case WORKLOAD_READY:
        seen->ready++;
        seen->ready_us = time_monotonic_us();
        break;
    case WORKLOAD_BOOTED:
        seen->booted++;
        break;
    case WORKLOAD_EXITED:
        seen->exited++;
        seen->exit = event->exit;
        break;
    }
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.lock);
}

bool await_count(const char *id, size_t member, int count)
{
    struct timespec until;
    struct seen *seen;
    bool reached;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&world.lock);
    seen = seen_of(str_of(id));
    while (!(reached = *(int *)((char *)seen + member) >= count) &&
           pthread_cond_timedwait(&world.changed, &world.lock, &until) == 0)
        ;
    pthread_mutex_unlock(&world.lock);
    return reached;
}

struct workload_backend open_backend(void)
{
    struct workload_native_config config = {
        .owner = str_of(owner.id),
        .state_dir = str_of(owner.state),
        .durable = getenv("HAAR_DURABLE"),
        .pretend_missing = pretend_missing,
        .sink = {on_event, NULL},
    };
    struct workload_backend opened;
    struct err err = ERR_INIT;

    if (workload_native_new(&config, &opened, &err) < 0)
        fail_msg("%s", err.text);
    return opened;
}

/* ---- what a test asks of a machine ---- */

int boot(struct machine_wish wish, struct err *err)
{
    char eni[32];
    static const struct fabric_rule everything[] = {
        {.protocol = FABRIC_ANY, .from = FABRIC_ANY, .to = FABRIC_ANY},
        {.protocol = FABRIC_ANY, .from = FABRIC_ANY, .to = FABRIC_ANY, .egress = true},
    };
    static const struct fabric_group open_group = {.id = {"sg-0000000000000open", 20}, .rules = everything, .count = 2};
    struct workload_interface interface = {
        .groups = &open_group,
        .group_count = 1,
        .source_dest_check = true,
        .vpc_id = str_of(wish.vpc ? wish.vpc : "vpc-0000000000000test"),
        .vpc_cidr = wish.cidr ? str_of(wish.cidr) : S("10.9.0.0/16"),
        .mac = {0x0a, 0x00, 0x0a, 0x09, (uint8_t)(wish.host >> 8), (uint8_t)wish.host},
        .address = 0x0a090000 + wish.host,
        .gateway = 0x0a090001,
        .prefix = 16,
    };
    struct workload_spec spec = {
        .id = str_of(wish.id),
        .image = str_of(wish.image ? wish.image : "tiny"),
        .host_name = S("ip-10-9-0-10"),
        .user_data = wish.user_data ? str_of(wish.user_data) : S(""),
        .console_note = S("haar: this machine is a test"),
        .vcpus = 2,
        .memory_bytes = 256 << 20,
        .disk_bytes = wish.disk_bytes,
        .interfaces = &interface,
        .interface_count = 1,
    };

    snprintf(eni, sizeof eni, "eni-%08x%09x", (unsigned)str_hash(spec.id), wish.host);
    interface.id = str_of(eni);
    return backend.driver->ensure(backend.cookie, &spec, err);
}

void must_boot(struct machine_wish wish)
{
    struct err err = ERR_INIT;

    if (boot(wish, &err) < 0)
        fail_msg("%s", err.text);
}

bool read_exactly(int fd, void *p, size_t size)
{
    for (size_t at = 0; at < size;) {
        struct pollfd polled = {fd, POLLIN, 0};
        ssize_t n = poll(&polled, 1, 20000) > 0 ? read(fd, (char *)p + at, size - at) : 0;

        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* Its exit status; what it wrote, both outputs together, goes to `out`. */
int run_words(const char *id, const struct str *words, size_t count, bool tty, struct buf *out)
{
    struct workload_exec exec = {.command = words, .count = count, .tty = tty, .rows = 33, .columns = 99};
    struct workload_process process;
    struct err err = ERR_INIT;
    unsigned char head[EXEC_HEAD];
    int status = -1;

    if (backend.driver->exec(backend.cookie, str_of(id), &exec, &process, &err) < 0)
        fail_msg("%s", err.text);
    while (read_exactly(process.fd, head, sizeof head)) {
        size_t size = head[1] | head[2] << 8 | head[3] << 16;
        char *p = buf_reserve(out, size + 1);

        if (!read_exactly(process.fd, p, size))
            break;
        if (head[0] == EXEC_STATUS)
            status = (unsigned char)p[0];
        else
            out->len += size;
        if (head[0] == EXEC_ERROR)
            fail_msg("exec: %.*s", (int)size, p);
    }
    close(process.fd);
    return status;
}

int run(const char *id, const char *script, struct buf *out)
{
    const struct str words[] = {S("sh"), S("-c"), str_of(script)};

    return run_words(id, words, 3, false, out);
}

void assert_output(const char *id, const char *script, const char *expected)
{
    AUTO_BUF out = BUF_INIT;

    assert_int_equal(run(id, script, &out), 0);
    buf_byte(&out, '\0');
    assert_string_equal(out.p, expected);
}

void read_console(const char *id, struct buf *out)
{
    struct err err = ERR_INIT;
    uint64_t total;

    assert_int_equal(backend.driver->console(backend.cookie, str_of(id), 65536, out, &total, &err), 0);
    buf_byte(out, '\0');
}

void must_remove(const char *id)
{
    struct err err = ERR_INIT;

    if (backend.driver->remove(backend.cookie, str_of(id), &err) < 0)
        fail_msg("%s", err.text);
}

/* ---- what a host has ---- */

/* Lines of a file that name this owner: other tests and servers come and go on the same host. */
static int count_lines(const char *path)
{
    AUTO_BUF text = BUF_INIT;
    int lines = 0;
    struct str rest;

    file_read(AT_FDCWD, path, &text, 16 << 20, &ERR_INIT);
    for (rest = buf_str(&text); rest.len;)
        lines += str_contains(str_cut(&rest, '\n'), str_of(owner.id));
    return lines;
}

/* Entries of a folder; with `ours`, those that name this owner. */
static int count_entries(const char *path, bool ours)
{
    DIR *dir = opendir(path);
    int count = 0;

    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += entry->d_name[0] != '.' && (!ours || str_contains(str_of(entry->d_name), str_of(owner.id)));
    if (dir)
        closedir(dir);
    return count;
}

/* Processes in cgroups of this owner. */
static int count_processes(void)
{
    DIR *dir = opendir("/proc");
    int count = 0;

    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300];

        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof path, "/proc/%s/cgroup", entry->d_name);
        count += count_lines(path) > 0;
    }
    closedir(dir);
    return count;
}

/* Links of the host are told apart by their alias. */
static int count_links(void)
{
    DIR *dir = opendir("/sys/class/net");
    int count = 0;

    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[300];

        snprintf(path, sizeof path, "/sys/class/net/%s/ifalias", entry->d_name);
        count += entry->d_name[0] != '.' && count_lines(path) > 0;
    }
    if (dir)
        closedir(dir);
    return count;
}

struct census take_census(void)
{
    char machines[128], cgroups[128];

    snprintf(machines, sizeof machines, "%s/machines", owner.state);
    snprintf(cgroups, sizeof cgroups, "/sys/fs/cgroup/pids/haar/%s", owner.id);
    return (struct census){
        .mounts = count_lines("/proc/self/mountinfo"),
        .links = count_links(),
        .namespaces = count_entries("/run/netns", true),
        .processes = count_processes(),
        .cgroups = count_entries(cgroups, false),
        .machines = count_entries(machines, false),
    };
}

void assert_same_census(struct census before)
{
    struct census now;

    for (int i = 0; i < 100; i++) { /* the kernel takes links and namespaces away a moment later */
        now = take_census();
        if (memcmp(&now, &before, sizeof now) == 0)
            return;
        usleep(20000);
    }
    fail_msg("mounts %d → %d, links %d → %d, namespaces %d → %d, processes %d → %d, cgroups %d → %d, machines %d → %d",
             before.mounts, now.mounts, before.links, now.links, before.namespaces, now.namespaces, before.processes,
             now.processes, before.cgroups, now.cgroups, before.machines, now.machines);
}

/* ---- the world ---- */

int open_world(void **state)
{
    struct err err = ERR_INIT;

    if (workload_native_probe(&err) < 0) {
        snprintf(why_not, sizeof why_not, "%s", err.text);
        return 0;
    }
    owner_reap_dead(workload_native_reap, NULL); /* what a run that was killed has left */
    host_bash = str_equal(image_default(), S("host"));
    if (owner_take((struct str){0}, &owner, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    backend = open_backend();
    return 0;
}

int close_world(void **state)
{
    struct err err = ERR_INIT;
    int r = 0;

    if (why_not[0])
        return 0;
    if (backend.driver->close(backend.cookie, true, &err) < 0) {
        print_error("%s\n", err.text);
        r = -1;
    }
    owner_release(&owner, true);
    if (access(owner.run, F_OK) == 0 || access(owner.state, F_OK) == 0) {
        print_error("folders of owner %s are left\n", owner.id);
        r = -1;
    }
    return r;
}
