/*
 * Machines that outgrow their disks, where no quota holds them: their use is looked at. Where the host's file system
 * has project quotas these are skipped: quota_test.c has those.
 */
#include "workload/native_fixture.h"
#include "guest/monitor.h"
#include "workload/host.h"
#include "workload/quota.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NEEDS_LOOKING()                                            \
    do {                                                           \
        NEEDS_MACHINES();                                          \
        if (quota_probe(owner.state, &ERR_INIT) == 0) {            \
            print_message("%s: this host has quotas\n", __func__); \
            skip();                                                \
        }                                                          \
    } while (0)

enum { MIB = 1 << 20 };

static void write_file(const char *id, const char *path, unsigned mib)
{
    AUTO_BUF out = BUF_INIT;
    char script[200];

    snprintf(script, sizeof script, "dd if=/dev/zero of=%s bs=1M count=%u 2>&1", path, mib);
    run(id, script, &out); /* its machine may end under it */
}

static void assert_ended_over_allowance(const char *id, int times)
{
    AUTO_BUF console = BUF_INIT;
    const char *last;

    AWAIT(id, exited, times);
    assert_true(seen_of(str_of(id))->exit.over_allowance);
    read_console(id, &console);
    last = strstr(console.p, "haar: ");
    for (const char *next = last; next; next = strstr(next + 1, "haar: "))
        last = next;
    assert_non_null(last);
    assert_non_null(strstr(last, id));
    assert_non_null(strstr(last, " is stopped: "));
    assert_ptr_equal(strchr(last, '\n') + 1, console.p + console.len - 1); /* … is the console's end */
}

static void a_machine_that_outgrows_its_disk_is_ended_and_others_go_on(void **state)
{
    NEEDS_LOOKING();
    must_boot((struct machine_wish){.id = "i-other", .host = 10, .disk_bytes = 256 * MIB});
    must_boot((struct machine_wish){.id = "i-large", .host = 11, .disk_bytes = 32 * MIB});
    write_file("i-other", "/root/x", 64);
    write_file("i-large", "/root/x", 64);
    assert_ended_over_allowance("i-large", 1);
    assert_output("i-other", "echo here", "here\n");
    assert_int_equal(seen_of(S("i-other"))->exited, 0);
    must_remove("i-other");
    must_remove("i-large");
}

static void one_within_its_disk_goes_on(void **state)
{
    NEEDS_LOOKING();
    must_boot((struct machine_wish){.id = "i-within", .host = 12, .disk_bytes = 64 * MIB});
    must_boot((struct machine_wish){.id = "i-beside", .host = 13, .disk_bytes = 32 * MIB});
    for (int i = 0; i < 4; i++)
        write_file("i-within", "/root/x", 40); /* 160 in all, 40 at a time */
    write_file("i-beside", "/root/x", 64);
    assert_ended_over_allowance("i-beside", 1); /* both have been looked at by now */
    assert_int_equal(seen_of(S("i-within"))->exited, 0);
    must_remove("i-within");
    must_remove("i-beside");
}

static void many_small_files_are_too_much_too(void **state)
{
    AUTO_BUF out = BUF_INIT;

    NEEDS_LOOKING();
    must_boot((struct machine_wish){.id = "i-files", .host = 14, .disk_bytes = 16 * MIB});
    run("i-files", "mkdir /root/many; cd /root/many; i=0; while [ $i -lt 6000 ]; do : > $i; i=$((i+1)); done", &out);
    assert_ended_over_allowance("i-files", 1);
    must_remove("i-files");
}

static void a_deleted_file_counts_while_a_process_keeps_it(void **state)
{
    AUTO_BUF out = BUF_INIT;

    NEEDS_LOOKING();
    must_boot((struct machine_wish){.id = "i-fork", .host = 15, .disk_bytes = 32 * MIB});
    run("i-fork",
        "exec 3>/root/x; rm /root/x; (sleep 1000 >/dev/null 2>&1 &) ; exec dd if=/dev/zero bs=1M count=64 >&3 "
        "2>/dev/null",
        &out);
    assert_ended_over_allowance("i-fork", 1);
    must_remove("i-fork");
}

/* What it has too much lies behind more names than a brief look sees: another thread looks at it. */
static void one_with_very_many_names_is_ended_too(void **state)
{
    NEEDS_LOOKING();
    if (!host_bash) {
        print_message("%s: no image with xargs\n", __func__);
        skip();
    }
    must_boot((struct machine_wish){.id = "i-names", .image = "host", .host = 23, .disk_bytes = 256 * MIB});
    assert_output("i-names",
                  "mkdir /root/a && cd /root/a && seq 12000 | xargs touch && cp -rl . ../b && cp -rl . ../c && "
                  "ls /root/b /root/c | wc -l",
                  "24003\n");
    write_file("i-names", "/root/a/x", 100);
    write_file("i-names", "/root/b/x", 100);
    write_file("i-names", "/root/c/x", 100);
    assert_ended_over_allowance("i-names", 1);
    must_remove("i-names");
}

/* Closed, without a name, and there as long as it is mapped. */
static void so_does_one_that_is_only_mapped(void **state)
{
    AUTO_BUF out = BUF_INIT;

    NEEDS_LOOKING();
    if (!host_bash || access("/usr/bin/python3", X_OK) < 0) {
        print_message("%s: no image with python3\n", __func__);
        skip();
    }
    must_boot((struct machine_wish){.id = "i-map", .image = "host", .host = 21, .disk_bytes = 32 * MIB});
    run("i-map",
        "exec python3 -c 'import mmap, os, time\n"
        "fd = os.open(\"/root/x\", os.O_RDWR | os.O_CREAT)\n"
        "os.truncate(fd, 64 << 20)\n"
        "kept = mmap.mmap(fd, 64 << 20)\n"
        "os.close(fd); os.unlink(\"/root/x\")\n"
        "os.closerange(3, 64)\n" /* mmap keeps one of its own */
        "for at in range(0, 64 << 20, 4096): kept[at] = 1\n"
        "time.sleep(1000)'",
        &out);
    assert_ended_over_allowance("i-map", 1);
    must_remove("i-map");
}

static void one_that_is_too_large_at_its_start_runs_until_it_grows(void **state)
{
    NEEDS_LOOKING();
    must_boot((struct machine_wish){.id = "i-again", .host = 16, .disk_bytes = 32 * MIB});
    write_file("i-again", "/root/x", 64);
    assert_ended_over_allowance("i-again", 1);
    must_boot((struct machine_wish){.id = "i-again", .host = 16, .disk_bytes = 32 * MIB});
    write_file("i-again", "/root/y", 20);
    assert_output("i-again", "rm /root/x && echo removed", "removed\n");
    must_boot((struct machine_wish){.id = "i-beside", .host = 17, .disk_bytes = 32 * MIB});
    write_file("i-beside", "/root/x", 100);
    assert_ended_over_allowance("i-beside", 2);
    assert_int_equal(seen_of(S("i-again"))->exited, 1);
    write_file("i-again", "/root/z", 200);
    assert_ended_over_allowance("i-again", 2);
    must_remove("i-again");
    must_remove("i-beside");
}

static void an_adopted_machine_keeps_its_allowance(void **state)
{
    struct err err = ERR_INIT;

    NEEDS_LOOKING();
    must_boot((struct machine_wish){.id = "i-kept", .host = 18, .disk_bytes = 32 * MIB});
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    backend = open_backend();
    write_file("i-kept", "/root/x", 64);
    assert_ended_over_allowance("i-kept", 1);
    must_remove("i-kept");
}

/* The server dies between its word to the monitor and the monitor's to it. */
static void an_end_that_no_server_heard_of_is_told_to_the_next(void **state)
{
    struct monitor_message over = {.kind = MONITOR_OVER, .text = "haar: i-unheard is stopped: it is too large\n"};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct err err = ERR_INIT;
    struct pollfd gone;

    NEEDS_LOOKING();
    must_boot((struct machine_wish){.id = "i-unheard", .host = 22, .disk_bytes = 32 * MIB});
    AWAIT("i-unheard", booted, 1);
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    gone = (struct pollfd){socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), POLLRDHUP, 0};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/m/i-unheard/sock", owner.state);
    assert_int_equal(connect(gone.fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(gone.fd, &over, sizeof over, 0), sizeof over);
    assert_int_equal(poll(&gone, 1, 10000), 1); /* the monitor has left */
    close(gone.fd);
    backend = open_backend();
    assert_ended_over_allowance("i-unheard", 1);
    must_remove("i-unheard");
}

static void fallocate_is_refused_and_a_hole_can_be_punched(void **state)
{
    NEEDS_LOOKING();
    if (!host_bash) {
        print_message("no image with fallocate\n");
        skip();
    }
    must_boot((struct machine_wish){.id = "i-alloc", .host = 19, .image = "host", .disk_bytes = 256 * MIB});
    assert_output(
        "i-alloc",
        "touch /root/x; for how in -l -nl -zl -znl; do fallocate $how 1G /root/x 2>/dev/null || echo refused; "
        "done; stat -c '%b' /root/x",
        "refused\nrefused\nrefused\nrefused\n0\n");
    assert_output("i-alloc", "fallocate -x -l 8M /root/y && stat -c '%b %s' /root/y", "16384 8388608\n");
    assert_output("i-alloc", "fallocate -p -l 8M /root/y && stat -c '%b %s' /root/y", "0 8388608\n");
    must_remove("i-alloc");
}

static void without_a_size_or_limits_a_machine_may_allocate(void **state)
{
    NEEDS_LOOKING();
    if (!host_bash) {
        print_message("no image with fallocate\n");
        skip();
    }
    must_boot((struct machine_wish){.id = "i-free", .host = 20, .image = "host"});
    assert_output("i-free", "fallocate -l 8M /root/x && stat -c '%b' /root/x", "16384\n");
    must_remove("i-free");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_that_outgrows_its_disk_is_ended_and_others_go_on),
        cmocka_unit_test(one_within_its_disk_goes_on),
        cmocka_unit_test(many_small_files_are_too_much_too),
        cmocka_unit_test(a_deleted_file_counts_while_a_process_keeps_it),
        cmocka_unit_test(one_with_very_many_names_is_ended_too),
        cmocka_unit_test(so_does_one_that_is_only_mapped),
        cmocka_unit_test(one_that_is_too_large_at_its_start_runs_until_it_grows),
        cmocka_unit_test(an_adopted_machine_keeps_its_allowance),
        cmocka_unit_test(an_end_that_no_server_heard_of_is_told_to_the_next),
        cmocka_unit_test(fallocate_is_refused_and_a_hole_can_be_punched),
        cmocka_unit_test(without_a_size_or_limits_a_machine_may_allocate),
    };

    return cmocka_run_group_tests(tests, open_world, close_world);
}
