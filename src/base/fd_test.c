/* Folders with other file systems in them need root. */
#include "base/fd.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char place[64];

static void path_in(const char *name, char path[160])
{
    snprintf(path, 160, "%s/%s", place, name);
}

static void put_folder(const char *name)
{
    char path[160];
    struct err err = ERR_INIT;

    path_in(name, path);
    assert_int_equal(dir_make(path, 0700, &err), 0);
}

static void put_file(const char *name)
{
    char path[160];
    struct err err = ERR_INIT;

    path_in(name, path);
    assert_int_equal(file_write(AT_FDCWD, path, S("x"), 0600, &err), 0);
}

static bool is_there(const char *name)
{
    char path[160];

    path_in(name, path);
    return access(path, F_OK) == 0;
}

static int remove_tree(const char *name)
{
    char path[160];
    struct err err = ERR_INIT;

    path_in(name, path);
    return tree_remove(AT_FDCWD, path, &err);
}

static void must_mount(const char *type, const char *at, const char *options)
{
    char path[160];

    path_in(at, path);
    assert_int_equal(mount("haar-test", path, type, 0, options), 0);
}

static void must_unmount(const char *at)
{
    char path[160];

    path_in(at, path);
    assert_int_equal(umount2(path, MNT_DETACH), 0);
}

static int make_place(void **state)
{
    snprintf(place, sizeof place, "/tmp/haar-fd-XXXXXX");
    if (!mkdtemp(place))
        return -1;
    if (geteuid() != 0)
        return 0;
    if (unshare(CLONE_NEWNS) < 0)
        return -1;
    /* In a chroot "/" is no mount. */
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 && errno != EINVAL ? -1 : 0;
}

static int remove_place(void **state)
{
    struct err err = ERR_INIT;

    return tree_remove(AT_FDCWD, place, &err);
}

static void a_tree_is_removed_with_all_that_is_in_it(void **state)
{
    put_folder("tree/a/b");
    put_file("tree/a/b/c");
    put_file("tree/d");
    assert_int_equal(remove_tree("tree"), 0);
    assert_false(is_there("tree"));
    assert_int_equal(remove_tree("tree"), 0); /* absent is fine */
}

/* Deeper than there are descriptors, and than a path can say. */
static void a_tree_is_removed_however_deep_it_is(void **state)
{
    struct rlimit usual, few = {64, 64};
    char path[160];
    int at;

    put_folder("tree");
    path_in("tree", path);
    at = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3000; i++) {
        int next;

        assert_int_equal(mkdirat(at, "down", 0700), 0);
        assert_int_equal(mkdirat(at, ".deep-0", 0700), 0); /* a name that is used on the way */
        next = openat(at, "down", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    assert_int_equal(file_write(at, "file", S("x"), 0600, &ERR_INIT), 0);
    close(at);
    getrlimit(RLIMIT_NOFILE, &usual);
    few.rlim_max = usual.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    at = remove_tree("tree");
    setrlimit(RLIMIT_NOFILE, &usual);
    assert_int_equal(at, 0);
    assert_false(is_there("tree"));
}

static void another_file_system_in_it_is_left_alone(void **state)
{
    if (geteuid() != 0)
        skip();
    put_folder("tree/other");
    must_mount("tmpfs", "tree/other", NULL);
    put_folder("tree/other/folder");
    put_file("tree/other/file");
    assert_int_equal(remove_tree("tree"), -EXDEV);
    assert_true(is_there("tree/other/folder"));
    assert_true(is_there("tree/other/file"));
    must_unmount("tree/other");
    assert_int_equal(remove_tree("tree"), 0);
}

/* An overlay's files say the device numbers of what they lie on. */
static void a_tree_on_an_overlay_is_removed(void **state)
{
    char options[512];

    if (geteuid() != 0)
        skip();
    put_folder("lower");
    put_folder("upper");
    put_folder("root");
    must_mount("tmpfs", "lower", NULL);
    must_mount("tmpfs", "upper", NULL);
    put_folder("lower/tree/below");
    put_file("lower/tree/below/file");
    put_folder("upper/files");
    put_folder("upper/work");
    snprintf(options, sizeof options, "lowerdir=%s/lower,upperdir=%s/upper/files,workdir=%s/upper/work", place, place,
             place);
    must_mount("overlay", "root", options);
    put_folder("root/tree/above");
    put_file("root/tree/above/file");
    assert_int_equal(remove_tree("root/tree"), 0);
    assert_false(is_there("root/tree"));
    must_unmount("root");
    must_unmount("upper");
    must_unmount("lower");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_is_removed_with_all_that_is_in_it),
        cmocka_unit_test(a_tree_is_removed_however_deep_it_is),
        cmocka_unit_test(another_file_system_in_it_is_left_alone),
        cmocka_unit_test(a_tree_on_an_overlay_is_removed),
    };

    return cmocka_run_group_tests(tests, make_place, remove_place);
}
