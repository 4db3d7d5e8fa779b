/*
 * Project quotas, on file systems made for the test: a file, mounted over /var/lib/haar where only this process sees
 * it. Skipped, by name, without root, and where the tools or the kernel have no such file system.
 */
#include "workload/quota.h"
#include "base/fd.h"
#include "workload/host.h"
#include "workload/native_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static const struct kind {
    const char *name, *make;
} kinds[] = {
    {"ext4", "mkfs.ext4 -q -O quota,project -E quotatype=prjquota %s >/dev/null 2>&1"},
    {"xfs", "mkfs.xfs -q -f %s >/dev/null 2>&1"},
};

static const char *kind_name;
static char why_none[200];
static char image[64];

#define NEEDS_QUOTAS()                                     \
    do {                                                   \
        if (why_none[0]) {                                 \
            print_message("%s: %s\n", __func__, why_none); \
            skip();                                        \
        }                                                  \
    } while (0)

static void none(const char *why)
{
    snprintf(why_none, sizeof why_none, "no project quotas on %s: %.150s", kind_name, why);
}

static bool command(const char *format, const char *argument)
{
    char line[300];

    snprintf(line, sizeof line, format, argument);
    return system(line) == 0;
}

/* Also an empty /run/haar: this world's owners are its own. */
static void mount_world(const struct kind *kind)
{
    static const char *const runs[] = {"/run/haar", "/var/lib/haar"};
    char mounting[200];
    int fd;

    for (size_t i = 0; i < 2; i++)
        dir_make(runs[i], 0711, &ERR_INIT);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("run", runs[0], "tmpfs", 0, "mode=711") < 0) {
        none(geteuid() ? "needs root" : "mounts of its own cannot be made here");
        return;
    }
    snprintf(image, sizeof image, "/tmp/haar-quota-XXXXXX");
    fd = mkstemp(image);
    if (fd < 0 || ftruncate(fd, 512ll * MIB) < 0)
        none("no room in /tmp");
    fd_close(&fd);
    snprintf(mounting, sizeof mounting, "mount -o loop,prjquota %%s %s >/dev/null 2>&1", runs[1]);
    if (!why_none[0] && !command(kind->make, image))
        none("it cannot be made");
    else if (!why_none[0] && !command(mounting, image))
        none("this kernel does not mount it");
    if (image[0])
        unlink(image); /* the loop device keeps it */
}

static int begin(void **state)
{
    struct err err = ERR_INIT;

    if (!why_none[0] && quota_probe("/var/lib/haar", &err) < 0)
        none(err.text);
    return why_none[0] ? 0 : open_world(state);
}

static int end(void **state)
{
    int r = why_none[0] ? 0 : close_world(state);

    umount2("/var/lib/haar", MNT_DETACH);
    return r;
}

static void write_text(const char *folder, const char *name)
{
    char path[200];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write(AT_FDCWD, path, S("x"), 0600, &ERR_INIT), 0);
}

/* To who has it, ext4's limits do not apply. An overlay never acts with it (ovl_fill_super), so no guest does. */
static void have_resource_right(bool have)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    assert_int_equal(syscall(SYS_capget, &head, data), 0);
    data[0].effective &= ~(1u << CAP_SYS_RESOURCE);
    data[0].effective |= have ? data[0].permitted & 1u << CAP_SYS_RESOURCE : 0;
    assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

static void a_folder_is_kept_to_its_limit_and_gives_its_project_back(void **state)
{
    static const char *const folders[] = {"/var/lib/haar/one", "/var/lib/haar/two"};
    const struct usage limit = {4 * MIB, 5}, none_at_all = {0};
    struct err err = ERR_INIT;
    uint32_t projects[2];
    int fd, number;

    NEEDS_QUOTAS();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mkdir(folders[i], 0700), 0);
        assert_int_equal(quota_project(folders[i]), 0);
        if (quota_begin(folders[i], &err) < 0)
            fail_msg("%s", err.text);
        projects[i] = quota_project(folders[i]);
        assert_int_not_equal(projects[i], 0);
        assert_int_equal(quota_limit(folders[i], projects[i], &limit, &err), 0);
    }
    assert_int_not_equal(projects[0], projects[1]);
    for (int i = 0; i < 4; i++) /* and the folder */
        write_text(folders[0], (const char[]){(char)('a' + i), 0});
    have_resource_right(false);
    fd = open("/var/lib/haar/one/e", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    number = errno;
    have_resource_right(true);
    assert_int_equal(fd, -1);
    assert_true(number == EDQUOT || number == ENOSPC);
    write_text(folders[1], "a");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tree_remove(AT_FDCWD, folders[i], &err), 0);
        quota_end("/var/lib/haar", projects[i]);
        assert_int_equal(quota_limit("/var/lib/haar", projects[i], &none_at_all, &err), 0);
    }
}

static bool said_full(const struct buf *out)
{
    return str_contains(buf_str(out), S("quota exceeded")) || str_contains(buf_str(out), S("No space left"));
}

/* The monitor copies it a moment later. */
static bool console_says(const char *id, const char *text)
{
    for (int i = 0; i < 200; i++) {
        AUTO_BUF console = BUF_INIT;

        read_console(id, &console);
        if (strstr(console.p, text))
            return true;
        usleep(20000);
    }
    return false;
}

static void the_guest_is_told_that_its_disk_is_full_and_goes_on(void **state)
{
    AUTO_BUF out = BUF_INIT;

    NEEDS_QUOTAS();
    NEEDS_MACHINES();
    must_boot((struct machine_wish){.id = "i-full", .host = 10, .disk_bytes = 32 * MIB});
    must_boot((struct machine_wish){.id = "i-other", .host = 11, .disk_bytes = 32 * MIB});
    AWAIT("i-full", booted, 1);
    assert_int_not_equal(run("i-full", "dd if=/dev/zero of=/root/x bs=1M count=64 2>&1", &out), 0);
    if (!said_full(&out))
        fail_msg("%.*s", (int)out.len, out.p);
    out.len = 0;
    assert_int_equal(run("i-other", "dd if=/dev/zero of=/root/x bs=1M count=16 2>&1", &out), 0);
    assert_output("i-full", "echo said > /dev/console; echo goes on", "goes on\n");
    assert_true(console_says("i-full", "said")); /* it is no part of its disk */
    assert_output("i-full", "rm /root/x; echo room > /root/y && cat /root/y", "room\n");
    assert_output("i-full", "test $(df -k / | tail -1 | awk '{print $2}') -le 32768 && echo sized", "sized\n");
    assert_int_equal(seen_of(S("i-full"))->exited, 0);
    must_remove("i-full");
    must_remove("i-other");
}

static void a_stop_keeps_the_limit_and_a_removal_frees_all(void **state)
{
    char upper[300];
    struct err err = ERR_INIT;
    AUTO_BUF out = BUF_INIT;
    uint32_t project;

    NEEDS_QUOTAS();
    NEEDS_MACHINES();
    snprintf(upper, sizeof upper, "%s/machines/i-kept/upper", owner.state);
    must_boot((struct machine_wish){.id = "i-kept", .host = 12, .disk_bytes = 32 * MIB});
    project = quota_project(upper);
    assert_int_not_equal(project, 0);
    assert_int_equal(backend.driver->stop(backend.cookie, S("i-kept"), 0, &err), 0);
    assert_int_equal(quota_project(upper), project);
    must_boot((struct machine_wish){.id = "i-kept", .host = 12, .disk_bytes = 64 * MIB}); /* it was made larger */
    assert_int_equal(run("i-kept", "dd if=/dev/zero of=/root/x bs=1M count=48 2>&1", &out), 0);
    assert_int_not_equal(run("i-kept", "dd if=/dev/zero of=/root/y bs=1M count=48 2>&1", &out), 0);
    must_remove("i-kept");
    assert_int_equal(access(upper, F_OK), -1);
}

static void assert_no_escape(const char *id)
{
    AUTO_BUF out = BUF_INIT;

    assert_int_not_equal(run(id, "mkdir /root/d; chattr -p 7 /root/d 2>&1", &out), 0);
    assert_int_not_equal(run(id, "chattr -P /root/d 2>&1", &out), 0);
    assert_int_not_equal(run(id, "chattr -P / /root /var /etc 2>&1", &out), 0);
    assert_int_not_equal(run(id, "dd if=/dev/zero of=/root/d/x bs=1M count=64 2>&1", &out), 0);
    if (!said_full(&out))
        fail_msg("%.*s", (int)out.len, out.p);
}

static void no_guest_leaves_its_project(void **state)
{
    struct workload_backend usual = backend;
    struct err err = ERR_INIT;

    NEEDS_QUOTAS();
    NEEDS_MACHINES();
    if (!host_bash || access("/usr/bin/chattr", X_OK) < 0) {
        print_message("%s: no image with chattr\n", __func__);
        skip();
    }
    must_boot((struct machine_wish){.id = "i-mapped", .image = "host", .host = 13, .disk_bytes = 32 * MIB});
    assert_no_escape("i-mapped");
    must_remove("i-mapped");
    assert_int_equal(usual.driver->close(usual.cookie, false, &err), 0);
    assert_true(host_parse(S("user-namespaces"), &pretend_missing));
    backend = open_backend();
    must_boot((struct machine_wish){.id = "i-rooted", .image = "host", .host = 14, .disk_bytes = 32 * MIB});
    assert_no_escape("i-rooted");
    must_remove("i-rooted");
    assert_int_equal(backend.driver->close(backend.cookie, false, &err), 0);
    pretend_missing = 0;
    backend = open_backend();
}

static void fallocate_is_the_file_systems_own(void **state)
{
    NEEDS_QUOTAS();
    NEEDS_MACHINES();
    if (!host_bash) {
        print_message("%s: no image with fallocate\n", __func__);
        skip();
    }
    must_boot((struct machine_wish){.id = "i-alloc", .image = "host", .host = 15, .disk_bytes = 32 * MIB});
    assert_output("i-alloc", "fallocate -l 8M /root/x && stat -c '%b' /root/x", "16384\n");
    assert_output("i-alloc", "fallocate -l 1G /root/y 2>/dev/null || echo refused", "refused\n");
    assert_output("i-alloc", "test $(du -sk /root | cut -f1) -lt 40000 && echo small", "small\n");
    must_remove("i-alloc");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_is_kept_to_its_limit_and_gives_its_project_back),
        cmocka_unit_test(the_guest_is_told_that_its_disk_is_full_and_goes_on),
        cmocka_unit_test(a_stop_keeps_the_limit_and_a_removal_frees_all),
        cmocka_unit_test(no_guest_leaves_its_project),
        cmocka_unit_test(fallocate_is_the_file_systems_own),
    };
    int failed = 0;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        kind_name = kinds[i].name;
        why_none[0] = image[0] = '\0';
        mount_world(&kinds[i]);
        failed += cmocka_run_group_tests_name(kind_name, tests, begin, end);
    }
    return failed;
}
