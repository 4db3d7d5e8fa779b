/* A machine's life: its starts, ends and what it leaves. With HAAR_BENCH, figures. */
#include "workload/native_fixture.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/time.h"
#include "workload/host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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
    snprintf(point, sizeof point, "%s/mnt/root", owner.state);
    snprintf(aside, sizeof aside, "%s/mnt/aside", owner.state);
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

/* ---- figures ---- */

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
        cmocka_unit_test(the_guests_poweroff_and_reboot_are_reported),
        cmocka_unit_test(stop_gives_grace_and_reboot_keeps_the_disk),
        cmocka_unit_test(a_command_out_of_memory_ends_and_the_machine_lives),
        cmocka_unit_test(a_console_keeps_its_last_mebibyte),
        cmocka_unit_test(twenty_start_side_by_side),
        cmocka_unit_test(a_machine_removed_leaves_nothing),
        cmocka_unit_test(a_refused_spec_changes_nothing),
        cmocka_unit_test(a_start_that_fails_says_why_and_leaves_only_its_disk),
    };
    const struct CMUnitTest figures[] = {cmocka_unit_test(bench)};

    return getenv("HAAR_BENCH") ? cmocka_run_group_tests(figures, open_world, close_world)
                                : cmocka_run_group_tests(tests, open_world, close_world);
}
