/* A machine as it is from inside and over the network: what it reaches, what it may, what is run in it. */
#include "workload/native_fixture.h"
#include "base/fd.h"
#include "workload/exec.h"
#include "workload/host.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machines_of_a_vpc_reach_each_other_and_nothing_else),
        cmocka_unit_test(the_host_reaches_a_machine_by_its_public_address_as_its_group_allows),
        cmocka_unit_test(exec_answers_with_the_commands_status),
        cmocka_unit_test(exec_passes_input_and_signals),
        cmocka_unit_test(a_machine_is_confined),
        cmocka_unit_test(the_host_image_has_bash_and_no_secrets),
        cmocka_unit_test(without_user_namespaces_a_machine_runs_with_a_containers_rights),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
