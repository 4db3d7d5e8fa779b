/*
 * Machines that really run. Needs root; skipped, each test by its name, where the probe says that none can run.
 */
#include "workload/native.h"
#include "base/arena.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/time.h"
#include "image/image.h"
#include "workload/host.h"
#include "workload/exec.h"
#include "workload/owner.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MACHINES_MAX = 1024 };

struct seen {
    char id[32];
    int ready, booted, exited;
    int64_t ready_us;
    struct workload_exit exit;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct seen seen[MACHINES_MAX];
    size_t count;
} world = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER};

static struct owner owner;
static struct workload_backend backend;
static char why_not[1000];
static bool host_bash;
static unsigned pretend_missing;

static struct seen *seen_of(struct str id)
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

static bool await_count(const char *id, size_t member, int count)
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

#define AWAIT(id, what, count) assert_true(await_count((id), offsetof(struct seen, what), (count)))

static struct workload_backend open_backend(void)
{
    struct workload_native_config config = {
        .owner = str_of(owner.id),
        .state_dir = str_of(owner.state),
        .run_dir = str_of(owner.run),
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

struct machine_wish {
    const char *id, *image, *user_data, *vpc, *cidr;
    unsigned host; /* of 10.9.0.0/16 */
};

static int boot(struct machine_wish wish, struct err *err)
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
        .interfaces = &interface,
        .interface_count = 1,
    };

    snprintf(eni, sizeof eni, "eni-%08x%09x", (unsigned)str_hash(spec.id), wish.host);
    interface.id = str_of(eni);
    return backend.driver->ensure(backend.cookie, &spec, err);
}

static void must_boot(struct machine_wish wish)
{
    struct err err = ERR_INIT;

    if (boot(wish, &err) < 0)
        fail_msg("%s", err.text);
}

static bool read_exactly(int fd, void *p, size_t size)
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
static int run_words(const char *id, const struct str *words, size_t count, bool tty, struct buf *out)
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

static int run(const char *id, const char *script, struct buf *out)
{
    const struct str words[] = {S("sh"), S("-c"), str_of(script)};

    return run_words(id, words, 3, false, out);
}

static void assert_output(const char *id, const char *script, const char *expected)
{
    AUTO_BUF out = BUF_INIT;

    assert_int_equal(run(id, script, &out), 0);
    buf_byte(&out, '\0');
    assert_string_equal(out.p, expected);
}

static void read_console(const char *id, struct buf *out)
{
    struct err err = ERR_INIT;
    uint64_t total;

    assert_int_equal(backend.driver->console(backend.cookie, str_of(id), 65536, out, &total, &err), 0);
    buf_byte(out, '\0');
}

static void must_remove(const char *id)
{
    struct err err = ERR_INIT;

    if (backend.driver->remove(backend.cookie, str_of(id), &err) < 0)
        fail_msg("%s", err.text);
}

/* ---- what a host has ---- */

struct census {
    int mounts, links, namespaces, processes, cgroups, machines;
};

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

static struct census take_census(void)
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

static void assert_same_census(struct census before)
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

/* ---- tests ---- */

#define NEEDS_MACHINES()                                  \
    do {                                                  \
        if (why_not[0]) {                                 \
            print_message("%s: %s\n", __func__, why_not); \
            skip();                                       \
        }                                                 \
    } while (0)

static void a_machine_runs_its_user_data_once_and_says_so(void **state)
{
    AUTO_BUF console = BUF_INIT;
    struct err err = ERR_INIT;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){
        .id = "i-once", .host = 10, .user_data = "#!/bin/sh\necho ran >> /root/ran\necho hello from $0\nexit 3\n"});
    AWAIT("i-once", booted, 1);
    assert_output("i-once", "cat /root/ran", "ran\n");
    read_console("i-once", &console);
    assert_true(str_starts(buf_str(&console), S("haar: this machine is a test\n")));
    assert_non_null(strstr(console.p, "hello from /var/lib/cloud/instance/user-data.txt\n"));
    assert_non_null(strstr(console.p, "haar: user data finished with status 3\n"));

    assert_int_equal(backend.driver->stop(backend.cookie, S("i-once"), 2000, &err), 0);
    must_boot((struct machine_wish){.id = "i-once", .host = 10});
    AWAIT("i-once", booted, 2);
    assert_output("i-once", "cat /root/ran", "ran\n");
    assert_int_equal(seen_of(S("i-once"))->exited, 0);
    must_remove("i-once");
}

static void cloud_config_is_named_in_the_console(void **state)
{
    AUTO_BUF console = BUF_INIT;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-config", .host = 11, .user_data = "#cloud-config\npackages: [nginx]\n"});
    AWAIT("i-config", booted, 1);
    read_console("i-config", &console);
    assert_non_null(strstr(console.p, "#cloud-config, which is not run yet"));
    must_remove("i-config");
}

static void machines_of_a_vpc_reach_each_other_and_nothing_else(void **state)
{
    AUTO_BUF out = BUF_INIT;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-net1", .host = 21});
    must_boot((struct machine_wish){.id = "i-net2", .host = 22});
    AWAIT("i-net2", booted, 1);
    assert_output("i-net1", "ip -4 -o addr show eth0 | awk '{print $4}'", "10.9.0.21/16\n");
    assert_output("i-net1", "cat /sys/class/net/eth0/address", "0a:00:0a:09:00:15\n");
    assert_output("i-net1", "hostname", "ip-10-9-0-10\n");
    assert_output("i-net1", "ping -c 1 -W 2 10.9.0.22 >/dev/null && echo there", "there\n");
    assert_output("i-net2", "(echo banner | nc -l -p 8080) >/dev/null 2>&1 & sleep 0.2; echo up", "up\n");
    assert_output("i-net1", "timeout 2 nc -w 1 10.9.0.22 8080 </dev/null", "banner\n");
    assert_int_not_equal(run("i-net1", "ping -c 1 -W 1 10.9.0.77", &out), 0);
    assert_int_not_equal(run("i-net1", "ping -c 1 -W 1 192.0.2.1", &out), 0);
    must_remove("i-net1");
    must_remove("i-net2");
}

/* A VPC with a gateway, a group and a public address; the group lets in what `rules` says. */
static void describe_public(struct workload_interface *interface, const struct fabric_rule *rules, size_t count)
{
    static const struct fabric_cidr cidr = {0x0a090000, 16};
    static const struct fabric_route out = {{0, 0}, FABRIC_INTERNET};
    static const struct fabric_route_table table = {S("rtb-1"), &out, 1};
    static const struct fabric_subnet subnet = {S("subnet-1"), {0x0a090000, 16}, S("rtb-1")};
    static const struct fabric_vpc vpc = {.id = S("vpc-public"),
                                          .cidrs = &cidr,
                                          .cidr_count = 1,
                                          .internet_gateway = true,
                                          .subnets = &subnet,
                                          .subnet_count = 1,
                                          .route_tables = &table,
                                          .route_table_count = 1};
    static struct fabric_group group;
    static struct fabric_address address;
    struct fabric_status status;

    backend.driver->network_status(backend.cookie, &status);
    assert_true(status.enforced);
    group = (struct fabric_group){.id = S("sg-1"), .rules = rules, .count = count};
    address = (struct fabric_address){0x0a090017, status.public_pool.network + 23};
    *interface = (struct workload_interface){.id = S("eni-public"),
                                             .vpc_id = vpc.id,
                                             .vpc_cidr = S("10.9.0.0/16"),
                                             .mac = {0x0a, 0, 0x0a, 9, 0, 23},
                                             .address = address.private,
                                             .gateway = 0x0a090001,
                                             .prefix = 16,
                                             .source_dest_check = true,
                                             .subnet_id = subnet.id,
                                             .addresses = &address,
                                             .address_count = 1,
                                             .groups = &group,
                                             .group_count = 1,
                                             .vpc = &vpc};
}

/* From the host, what a machine says on port 8080; empty: it does not answer. */
static void host_hears(uint32_t public, char text[64])
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(public)};
    struct timeval limit = {.tv_usec = 300000};
    AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ssize_t n = -1;

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit); /* connect's too */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        n = recv(fd, text, 63, 0);
    text[n > 0 ? n : 0] = '\0';
}

static void the_host_reaches_a_machine_by_its_public_address_as_its_group_allows(void **state)
{
    static const struct fabric_rule rules[] = {{.protocol = 6, .from = 8080, .to = 8080}};
    struct workload_interface interface;
    struct workload_spec spec = {.id = S("i-public"),
                                 .image = S("tiny"),
                                 .host_name = S("public"),
                                 .user_data = S("#!/bin/sh\nwhile :; do echo banner | nc -l -p 8080; done &\n"),
                                 .vcpus = 1,
                                 .memory_bytes = 64 << 20,
                                 .interfaces = &interface,
                                 .interface_count = 1};
    struct fabric_group group = {.id = S("sg-1"), .rules = rules, .count = 1};
    struct err err = ERR_INIT;
    uint32_t public;
    char text[64];

    NEEDS_MACHINES();
    describe_public(&interface, NULL, 0);
    public = interface.addresses[0].public;
    if (backend.driver->ensure(backend.cookie, &spec, &err) < 0)
        fail_msg("%s", err.text);
    AWAIT("i-public", booted, 1);
    assert_output("i-public", "sleep 0.1; ip -4 -o addr show eth0 | awk '{print $4}'", "10.9.0.23/16\n");
    host_hears(public, text);
    assert_string_equal(text, "");
    assert_int_equal(backend.driver->set_group(backend.cookie, interface.vpc_id, &group, &err), 0);
    host_hears(public, text);
    assert_string_equal(text, "banner\n");
    group.count = 0;
    assert_int_equal(backend.driver->set_group(backend.cookie, interface.vpc_id, &group, &err), 0);
    host_hears(public, text);
    assert_string_equal(text, "");
    describe_public(&interface, rules, 1);
    assert_int_equal(backend.driver->set_interface(backend.cookie, &interface, &err), 0);
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    backend = open_backend(); /* the next server knows its public address from the record */
    host_hears(public, text);
    assert_string_equal(text, "banner\n");
    assert_int_equal(backend.driver->set_interface(backend.cookie, &interface, &err), 0);
    assert_int_equal(backend.driver->reboot(backend.cookie, spec.id, 0, &err), 0);
    AWAIT("i-public", booted, 2);
    must_remove("i-public");
    host_hears(public, text);
    assert_string_equal(text, "");
}

static void exec_answers_with_the_commands_status(void **state)
{
    const struct str missing[] = {S("no-such-command")}, size[] = {S("stty"), S("size")};
    AUTO_BUF out = BUF_INIT;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-exec", .host = 30});
    assert_int_equal(run("i-exec", "exit 7", &out), 7);
    assert_int_equal(run("i-exec", "kill -9 $$", &out), 128 + 9);
    assert_int_equal(run_words("i-exec", missing, 1, false, &out), 127);
    out.len = 0;
    assert_int_equal(run_words("i-exec", size, 2, true, &out), 0);
    assert_true(str_equal(str_trim(buf_str(&out)), S("33 99")));
    assert_output("i-exec", "id -u; tty; ls /proc/self/fd | wc -l", "0\nnot a tty\n4\n");
    assert_output("i-exec", "seq 1 200000 | tail -1", "200000\n");
    out.len = 0;
    assert_int_equal(run("i-exec", "seq 1 100000", &out), 0);
    assert_int_equal(out.len, 588895);
    must_remove("i-exec");
}

static struct workload_process start_words(const char *id, const struct str *words, size_t count)
{
    struct workload_exec exec = {.command = words, .count = count};
    struct workload_process process;
    struct err err = ERR_INIT;

    if (backend.driver->exec(backend.cookie, str_of(id), &exec, &process, &err) < 0)
        fail_msg("%s", err.text);
    return process;
}

static void send_frame(int fd, char kind, struct str data)
{
    char head[EXEC_HEAD] = {kind, (char)data.len, (char)(data.len >> 8)};

    assert_int_equal(fd_write_all(fd, head, sizeof head), 0);
    assert_int_equal(fd_write_all(fd, data.p, data.len), 0);
}

static void assert_frame(int fd, char kind, struct str data)
{
    char head[EXEC_HEAD], body[64];

    assert_true(read_exactly(fd, head, sizeof head));
    assert_int_equal(head[0], kind);
    assert_int_equal(head[1], data.len);
    assert_true(read_exactly(fd, body, data.len));
    assert_memory_equal(body, data.p, data.len);
}

static void exec_passes_input_and_signals(void **state)
{
    const struct str cat[] = {S("cat")}, nap[] = {S("sleep"), S("1000")};
    struct workload_process process;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-pipe", .host = 32});
    process = start_words("i-pipe", cat, 1);
    send_frame(process.fd, EXEC_STDIN, S("hello"));
    assert_frame(process.fd, EXEC_STDOUT, S("hello"));
    send_frame(process.fd, EXEC_STDIN_END, S(""));
    assert_frame(process.fd, EXEC_STATUS, S("\0"));
    close(process.fd);
    process = start_words("i-pipe", nap, 2);
    usleep(100000);
    send_frame(process.fd, EXEC_SIGNAL, S("\x0f"));
    assert_frame(process.fd, EXEC_STATUS, S("\x8f"));
    close(process.fd);
    process = start_words("i-pipe", nap, 2);
    usleep(100000);
    close(process.fd); /* who asked is gone: so is the command */
    usleep(100000);
    assert_output("i-pipe", "ps | grep -c '[s]leep 1000' || true", "0\n");
    must_remove("i-pipe");
}

static void a_machine_is_confined(void **state)
{
    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-jail", .host = 31});
    assert_output("i-jail", "grep -E 'CapBnd|Seccomp:' /proc/self/status", "CapBnd:\t00000000a84435fb\nSeccomp:\t2\n");
    assert_output("i-jail", "cat /proc/1/status | grep -E 'CapEff|Seccomp:'",
                  "CapEff:\t00000000a84435fb\nSeccomp:\t2\n");
    assert_output("i-jail", "mount -t tmpfs x /mnt 2>/dev/null || echo refused", "refused\n");
    assert_output("i-jail", "mknod /tmp/d b 8 0 2>/dev/null || echo refused", "refused\n");
    assert_output("i-jail", "echo 1 2>/dev/null > /proc/sys/kernel/panic || echo refused", "refused\n");
    assert_output("i-jail", "echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward", "1\n");
    assert_output("i-jail", "cat /proc/keys 2>/dev/null | wc -c; ls /sys/firmware | wc -l", "0\n0\n");
    assert_output("i-jail", "awk '{print $3}' /proc/self/uid_map", "65536\n");
    assert_output("i-jail", "grep -vE ' /dev|nodev| /null ' /proc/self/mountinfo | wc -l", "0\n");
    must_remove("i-jail");
}

static void the_guests_poweroff_and_reboot_are_reported(void **state)
{
    AUTO_BUF out = BUF_INIT;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-off", .host = 40});
    AWAIT("i-off", booted, 1);
    run("i-off", "poweroff", &out);
    AWAIT("i-off", exited, 1);
    assert_true(seen_of(S("i-off"))->exit.power_off);
    must_boot((struct machine_wish){.id = "i-off", .host = 40});
    run("i-off", "reboot -f", &out);
    AWAIT("i-off", exited, 2);
    assert_true(seen_of(S("i-off"))->exit.reboot);
    assert_false(seen_of(S("i-off"))->exit.power_off);
    must_remove("i-off");
}

static void stop_gives_grace_and_reboot_keeps_the_disk(void **state)
{
    struct err err = ERR_INIT;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){
        .id = "i-stop",
        .host = 41,
        .user_data = "#!/bin/sh\nexec setsid sh -c 'trap \"echo ended > /root/ended; exit\" TERM; touch /root/set; "
                     "sleep 1000 & wait' &\nwhile [ ! -e /root/set ]; do sleep 0.01; done\n"});
    AWAIT("i-stop", booted, 1);
    assert_int_equal(backend.driver->reboot(backend.cookie, S("i-stop"), 3000, &err), 0);
    AWAIT("i-stop", booted, 2);
    assert_output("i-stop", "cat /root/ended", "ended\n");
    must_remove("i-stop");
}

static bool memory_limited(void)
{
    size_t count;
    const struct workload_lack *lacks = backend.driver->lacks(backend.cookie, &count);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(lacks[i].what, "memory-limits") == 0)
            return false;
    }
    return true;
}

static void a_command_out_of_memory_ends_and_the_machine_lives(void **state)
{
    AUTO_BUF out = BUF_INIT;

    NEEDS_MACHINES();
    if (!memory_limited())
        skip();
    must_boot((struct machine_wish){.id = "i-oom", .host = 42});
    assert_int_not_equal(run("i-oom", "head -c 600000000 /dev/zero | tail -c 500000000 | wc -c", &out), -1);
    assert_output("i-oom", "echo alive", "alive\n");
    must_remove("i-oom");
}

static void the_host_image_has_bash_and_no_secrets(void **state)
{
    NEEDS_MACHINES();
    if (!host_bash)
        skip();
    must_boot((struct machine_wish){.id = "i-host",
                                    .image = "host",
                                    .host = 50,
                                    .user_data = "#!/bin/bash\necho bash ${BASH_VERSINFO[0]} > /root/bash\n"});
    AWAIT("i-host", booted, 1);
    assert_output("i-host", "cut -c1-6 /root/bash", "bash 5\n");
    assert_output("i-host", "ls /home /root /opt | grep -v : | tr -d '\\n'", "bash");
    assert_output("i-host", "stat -c '%U %u' /usr/bin/bash /etc/passwd", "root 0\nroot 0\n");
    assert_output("i-host", "cp /usr/bin/id /tmp/id && chmod u+s /tmp/id && setpriv --reuid=65534 /tmp/id -u", "0\n");
    assert_output("i-host", "touch /usr/bin/new && ls /usr/bin/new", "/usr/bin/new\n");
    assert_output("i-host", "getent passwd root | cut -d: -f1,3; getent shadow root",
                  "root:0\nroot:*:19000:0:99999:7:::\n");
    must_remove("i-host");
    assert_int_equal(access("/usr/bin/new", F_OK), -1);
}

static void a_later_server_adopts_what_runs(void **state)
{
    AUTO_ARENA arena = ARENA_INIT;
    struct workload_observed *observed;
    struct err err = ERR_INIT;
    size_t count;
    int exited;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-adopt", .host = 60});
    AWAIT("i-adopt", booted, 1);
    assert_output("i-adopt", "setsid sleep 1000 >/dev/null 2>&1 & echo $! > /run/pid", "");
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    backend = open_backend();
    assert_int_equal(backend.driver->observe(backend.cookie, &arena, &observed, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_int_equal(observed[0].state, WORKLOAD_RUNNING);
    assert_true(observed[0].ready && observed[0].booted);
    assert_output("i-adopt", "kill -0 $(cat /run/pid) && echo alive", "alive\n");
    must_boot((struct machine_wish){.id = "i-adopt", .host = 60});
    assert_int_equal(seen_of(S("i-adopt"))->ready, 1);
    assert_int_equal(backend.driver->reboot(backend.cookie, S("i-adopt"), 1000, &err), 0);
    AWAIT("i-adopt", booted, 2);
    exited = seen_of(S("i-adopt"))->exited;
    assert_int_equal(exited, 0);
    must_remove("i-adopt");
}

static void an_end_that_no_server_saw_is_told_to_the_next(void **state)
{
    struct err err = ERR_INIT;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-unseen", .host = 61, .user_data = "#!/bin/sh\n(sleep 0.3; poweroff) &\n"});
    AWAIT("i-unseen", booted, 1);
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    usleep(700000);
    backend = open_backend();
    AWAIT("i-unseen", exited, 1);
    assert_true(seen_of(S("i-unseen"))->exit.power_off);
    must_remove("i-unseen");
}

static void a_monitor_killed_by_hand_takes_its_machine_along(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct census before;
    struct ucred peer;
    socklen_t size = sizeof peer;
    int fd;

    NEEDS_MACHINES();
    before = take_census();
    must_boot((struct machine_wish){.id = "i-mon", .host = 65});
    AWAIT("i-mon", booted, 1);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/m/i-mon/sock", owner.run);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
    assert_int_equal(kill(peer.pid, SIGKILL), 0); /* connected: it is this monitor */
    close(fd);
    AWAIT("i-mon", exited, 1);
    assert_int_equal(WTERMSIG(seen_of(S("i-mon"))->exit.status), SIGKILL);
    must_remove("i-mon");
    assert_same_census(before);
}

struct side {
    pthread_t thread;
    char id[32];
    unsigned host;
    int result;
    struct err err;
};

static void *boot_beside(void *arg)
{
    struct side *side = arg;

    side->result = boot((struct machine_wish){.id = side->id, .host = side->host}, &side->err);
    return NULL;
}

static void boot_many(struct side *sides, int count, const char *prefix)
{
    for (int i = 0; i < count; i++) {
        snprintf(sides[i].id, sizeof sides[i].id, "i-%s%d", prefix, i);
        sides[i].host = 100 + (unsigned)i;
        sides[i].err = ERR_INIT;
        pthread_create(&sides[i].thread, NULL, boot_beside, &sides[i]);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(sides[i].thread, NULL);
        if (sides[i].result < 0)
            fail_msg("%s", sides[i].err.text);
    }
}

static void a_console_keeps_its_last_mebibyte(void **state)
{
    AUTO_BUF console = BUF_INIT, out = BUF_INIT;
    struct err err = ERR_INIT;
    uint64_t total;

    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-loud", .host = 62});
    assert_int_equal(run("i-loud", "seq 1 300000 > /dev/console; echo the end > /dev/console", &out), 0);
    usleep(100000);
    assert_int_equal(backend.driver->console(backend.cookie, S("i-loud"), 1 << 20, &console, &total, &err), 0);
    assert_int_equal(total, 1988895 + strlen("haar: this machine is a test\nthe end\n"));
    assert_true(console.len > 900000);
    assert_true(str_ends(buf_str(&console), S("\n299999\n300000\nthe end\n")));
    must_remove("i-loud");
}

static void without_user_namespaces_a_machine_runs_with_a_containers_rights(void **state)
{
    struct err err = ERR_INIT;

    NEEDS_MACHINES();
    assert_int_equal(backend.driver->close(backend.cookie, true, &err), 0);
    pretend_missing = 1u << HOST_USER_NAMESPACES;
    backend = open_backend();
    pretend_missing = 0;
    must_boot((struct machine_wish){.id = "i-flat", .host = 63, .user_data = "#!/bin/sh\ntouch /root/ran\n"});
    AWAIT("i-flat", booted, 1);
    assert_output("i-flat", "ls /root; awk '{print $2, $3}' /proc/self/uid_map", "ran\n0 4294967295\n");
    assert_output("i-flat", "grep CapBnd /proc/self/status", "CapBnd:\t00000000a04435fb\n");
    assert_output("i-flat", "echo 1 2>/dev/null > /proc/sys/kernel/panic || echo refused", "refused\n");
    assert_int_equal(backend.driver->close(backend.cookie, true, &err), 0);
    backend = open_backend();
}

static void a_dead_owners_machines_are_reaped(void **state)
{
    struct owner alive = owner;
    struct workload_backend backend_of_alive = backend;
    struct err err = ERR_INIT;
    char dead_run[OWNER_PATH], dead_state[OWNER_PATH];

    NEEDS_MACHINES();
    assert_int_equal(owner_take((struct str){0}, &owner, &err), 0);
    backend = open_backend();
    must_boot((struct machine_wish){.id = "i-orphan", .host = 64});
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    memcpy(dead_run, owner.run, sizeof dead_run);
    memcpy(dead_state, owner.state, sizeof dead_state);
    owner_release(&owner, false);
    owner = alive;
    backend = backend_of_alive;
    owner_reap_dead(workload_native_reap);
    assert_int_equal(access(dead_run, F_OK), -1);
    assert_int_equal(access(dead_state, F_OK), -1);
    assert_int_equal(access(owner.run, F_OK), 0);
}

static void twenty_start_side_by_side(void **state)
{
    static struct side sides[20];

    NEEDS_MACHINES();
    boot_many(sides, 20, "many");
    assert_output("i-many0", "ping -c 1 -W 2 10.9.0.119 >/dev/null && echo there", "there\n");
    for (int i = 0; i < 20; i++)
        must_remove(sides[i].id);
}

static void a_machine_removed_leaves_nothing(void **state)
{
    struct census before;

    NEEDS_MACHINES();
    before = take_census();
    must_boot((struct machine_wish){.id = "i-trace", .host = 70});
    must_boot((struct machine_wish){.id = "i-trace2", .host = 71});
    must_remove("i-trace");
    must_remove("i-trace2");
    assert_same_census(before);
}

static void a_refused_spec_changes_nothing(void **state)
{
    struct err err = ERR_INIT;
    struct census before;

    NEEDS_MACHINES();
    before = take_census();
    assert_true(boot((struct machine_wish){.id = "../escape", .host = 80}, &err) < 0);
    assert_true(boot((struct machine_wish){.id = "i-noimage", .image = "windows", .host = 80}, &err) < 0);
    assert_non_null(strstr(err.text, "windows"));
    must_remove("i-noimage");
    assert_same_census(before);
}

static void a_start_that_fails_says_why_and_leaves_only_its_disk(void **state)
{
    struct err err = ERR_INIT;
    struct census before;
    char point[128], aside[128];

    NEEDS_MACHINES();
    snprintf(point, sizeof point, "%s/mnt/root", owner.run);
    snprintf(aside, sizeof aside, "%s/mnt/aside", owner.run);
    before = take_census();
    assert_true(boot((struct machine_wish){.id = "i-fail", .host = 81, .vpc = "vpc-bad", .cidr = "10.9/x"}, &err) < 0);
    assert_non_null(strstr(err.text, "is no CIDR"));
    assert_int_equal(rename(point, aside), 0);
    assert_true(boot((struct machine_wish){.id = "i-fail", .host = 81}, &err) < 0);
    assert_int_equal(rename(aside, point), 0);
    assert_non_null(strstr(err.text, "mount the overlay"));
    assert_int_equal(seen_of(S("i-fail"))->exited, 0);
    before.machines++;
    assert_same_census(before);
    must_boot((struct machine_wish){.id = "i-fail", .host = 81});
    must_remove("i-fail");
    before.machines--;
    assert_same_census(before);
}

static int open_world(void **state)
{
    struct err err = ERR_INIT;

    if (workload_native_probe(&err) < 0) {
        snprintf(why_not, sizeof why_not, "%s", err.text);
        return 0;
    }
    owner_reap_dead(workload_native_reap); /* what a run that was killed has left */
    host_bash = str_equal(image_default(), S("host"));
    if (owner_take((struct str){0}, &owner, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    backend = open_backend();
    return 0;
}

static int close_world(void **state)
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

/* HAAR_BENCH=1: figures instead of tests. */
static int compare_us(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

/* Bytes that programs could still have, caches dropped. */
static int64_t memory_available(void)
{
    AUTO_BUF text = BUF_INIT;
    const char *at;

    sync();
    file_write(AT_FDCWD, "/proc/sys/vm/drop_caches", S("3"), 0200, &ERR_INIT);
    usleep(500000);
    file_read(AT_FDCWD, "/proc/meminfo", &text, 65536, &ERR_INIT);
    buf_byte(&text, '\0');
    at = strstr(text.p, "MemAvailable:");
    return at ? atoll(at + 13) : 0;
}

struct ping {
    uint32_t address;
    int64_t answered_us;
};

/* In a thread of its own, as it enters the VPC: sends an echo request each 0.2 ms until one is answered. */
static void *ping_main(void *arg)
{
    struct ping *ping = arg;
    struct icmphdr request = {.type = ICMP_ECHO, .checksum = (uint16_t)~ICMP_ECHO};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(ping->address)};
    char name[128], answer[256];
    int fd;

    snprintf(name, sizeof name, "/run/netns/haar-%s-vpc-0000000000000test", owner.id);
    fd = open(name, O_RDONLY);
    if (setns(fd, CLONE_NEWNET) < 0)
        return NULL;
    close(fd);
    fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    for (int i = 0; i < 20000 && !ping->answered_us; i++) {
        struct pollfd polled = {fd, POLLIN, 0};
        struct timespec nap = {.tv_nsec = 200000};

        sendto(fd, &request, sizeof request, 0, (struct sockaddr *)&to, sizeof to);
        if (ppoll(&polled, 1, &nap, NULL) > 0 && recv(fd, answer, sizeof answer, 0) > 20 &&
            answer[20] == ICMP_ECHOREPLY)
            ping->answered_us = time_monotonic_us();
    }
    close(fd);
    return NULL;
}

static int64_t ready_and_pinged(const char *image)
{
    struct ping ping = {.address = 0x0a090000 + 98};
    pthread_t thread;

    pthread_create(&thread, NULL, ping_main, &ping);
    must_boot((struct machine_wish){.id = "i-bench", .image = image, .host = 98});
    pthread_join(thread, NULL);
    return ping.answered_us;
}

static void bench(void **state)
{
    static struct side sides[600];
    struct err err = ERR_INIT;
    int64_t ready[30], pinged[30], removed[30], start, last = 0, memory;
    const char *image = getenv("HAAR_BENCH_IMAGE"), *wanted = getenv("HAAR_BENCH_COUNT");
    int count = wanted ? atoi(wanted) : 50;

    NEEDS_MACHINES();
    assert_in_range(count, 1, ARRAY_LEN(sides));
    backend.driver->close(backend.cookie, true, &err);
    start = time_monotonic_us();
    backend = open_backend();
    print_message("driver open after %lld us\n", (long long)(time_monotonic_us() - start));
    if (getenv("HAAR_BENCH_WARM"))
        usleep(1000000);
    start = time_monotonic_us();
    must_boot((struct machine_wish){.id = "i-warm", .image = image, .host = 99});
    print_message("the first, with its image made: %lld us\n", (long long)(time_monotonic_us() - start));
    for (int i = 0; i < 30; i++) {
        start = time_monotonic_us();
        pinged[i] = ready_and_pinged(image) - start;
        AWAIT("i-bench", ready, i + 1);
        ready[i] = seen_of(S("i-bench"))->ready_us - start;
        start = time_monotonic_us();
        must_remove("i-bench");
        removed[i] = time_monotonic_us() - start;
        usleep(50000);
    }
    qsort(ready, 30, sizeof *ready, compare_us);
    qsort(pinged, 30, sizeof *pinged, compare_us);
    qsort(removed, 30, sizeof *removed, compare_us);
    print_message("one: ready after %lld us (median of 30; best %lld, worst %lld), first echo answered after %lld, "
                  "removed in %lld\n",
                  (long long)ready[15], (long long)ready[0], (long long)ready[29], (long long)pinged[15],
                  (long long)removed[15]);
    memory = memory_available();
    start = time_monotonic_us();
    boot_many(sides, count, "fifty");
    for (int i = 0; i < count; i++) {
        AWAIT(sides[i].id, ready, 1);
        last = seen_of(str_of(sides[i].id))->ready_us > last ? seen_of(str_of(sides[i].id))->ready_us : last;
    }
    print_message("%d side by side: last ready after %lld us\n", count, (long long)(last - start));
    print_message("memory: %lld KiB a machine\n", (long long)(memory - memory_available()) / count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_runs_its_user_data_once_and_says_so),
        cmocka_unit_test(cloud_config_is_named_in_the_console),
        cmocka_unit_test(machines_of_a_vpc_reach_each_other_and_nothing_else),
        cmocka_unit_test(the_host_reaches_a_machine_by_its_public_address_as_its_group_allows),
        cmocka_unit_test(exec_answers_with_the_commands_status),
        cmocka_unit_test(exec_passes_input_and_signals),
        cmocka_unit_test(a_machine_is_confined),
        cmocka_unit_test(the_guests_poweroff_and_reboot_are_reported),
        cmocka_unit_test(stop_gives_grace_and_reboot_keeps_the_disk),
        cmocka_unit_test(a_command_out_of_memory_ends_and_the_machine_lives),
        cmocka_unit_test(the_host_image_has_bash_and_no_secrets),
        cmocka_unit_test(a_later_server_adopts_what_runs),
        cmocka_unit_test(an_end_that_no_server_saw_is_told_to_the_next),
        cmocka_unit_test(a_console_keeps_its_last_mebibyte),
        cmocka_unit_test(without_user_namespaces_a_machine_runs_with_a_containers_rights),
        cmocka_unit_test(a_dead_owners_machines_are_reaped),
        cmocka_unit_test(a_monitor_killed_by_hand_takes_its_machine_along),
        cmocka_unit_test(twenty_start_side_by_side),
        cmocka_unit_test(a_machine_removed_leaves_nothing),
        cmocka_unit_test(a_refused_spec_changes_nothing),
        cmocka_unit_test(a_start_that_fails_says_why_and_leaves_only_its_disk),
    };
    const struct CMUnitTest figures[] = {cmocka_unit_test(bench)};

    return getenv("HAAR_BENCH") ? cmocka_run_group_tests(figures, open_world, close_world)
                                : cmocka_run_group_tests(tests, open_world, close_world);
}
