#include "workload/usage.h"
#include "base/fd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct usage no_limit = {UINT64_MAX, UINT64_MAX};
static char place[64];

static int make_place(void **state)
{
    snprintf(place, sizeof place, "/tmp/haar-usage-XXXXXX");
    return mkdtemp(place) ? 0 : -1;
}

static int remove_place(void **state)
{
    return tree_remove(AT_FDCWD, place, &ERR_INIT);
}

static const char *in(const char *name)
{
    static char paths[4][PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, PATH_MAX, "%s/%s", place, name);
    return path;
}

static void put(const char *name, size_t size)
{
    char *bytes = calloc(1, size);
    struct err err = ERR_INIT;

    memset(bytes, 'x', size);
    if (file_write(AT_FDCWD, in(name), (struct str){bytes, size}, 0600, &err) < 0)
        fail_msg("%s", err.text);
    free(bytes);
}

static uint64_t blocks_of(const char *name)
{
    struct stat st;

    assert_int_equal(lstat(in(name), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void what_is_counted_is_blocks_of_files_and_folders(void **state)
{
    struct usage usage = {0};
    uint64_t wanted;

    put("a", 100000);
    mkdir(in("folder"), 0700);
    mkdir(in("folder/inside"), 0700);
    put("folder/inside/b", 5000);
    put("sparse", 1);
    assert_int_equal(truncate(in("sparse"), 1 << 30), 0);
    assert_int_equal(symlink("a", in("link")), 0);
    wanted = blocks_of("a") + blocks_of("folder") + blocks_of("folder/inside") + blocks_of("folder/inside/b") +
             blocks_of("sparse") + blocks_of("link");
    assert_int_equal(usage_of_folder(place, &no_limit, &usage), 0);
    assert_int_equal(usage.files, 6);
    assert_int_equal(usage.bytes, wanted);
    assert_in_range(usage.bytes, 105000, 400000);
}

static void a_file_with_many_names_is_one(void **state)
{
    struct usage usage = {0};

    put("a", 100000);
    mkdir(in("folder"), 0700);
    for (int i = 0; i < 200; i++) {
        char name[32];

        snprintf(name, sizeof name, "folder/%d", i);
        assert_int_equal(link(in("a"), in(name)), 0);
    }
    assert_int_equal(usage_of_folder(place, &no_limit, &usage), 0);
    assert_int_equal(usage.files, 2);
    assert_int_equal(usage.bytes, blocks_of("a") + blocks_of("folder"));
}

static void names_are_limited_too(void **state)
{
    const struct usage few = {1 << 30, 10};
    struct usage usage = {0};

    put("a", 1);
    for (int i = 0; i < 200; i++) {
        char name[32];

        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(link(in("a"), in(name)), 0);
    }
    assert_int_equal(usage_of_folder(place, &few, &usage), USAGE_PAST);
}

static void a_count_ends_where_the_limit_is_passed(void **state)
{
    const struct usage small = {100000, 1000};
    struct usage usage = {0};

    for (int i = 0; i < 100; i++) {
        char name[32];

        snprintf(name, sizeof name, "%d", i);
        put(name, 60000);
    }
    assert_int_equal(usage_of_folder(place, &small, &usage), USAGE_PAST);
    assert_in_range(usage.bytes, 100001, 300000);
}

/* Folders in folders; back in the place at the end. */
static void nest(int levels, const char *name)
{
    int at = open(place, O_RDONLY | O_DIRECTORY);

    for (int i = 0; i < levels; i++) {
        int next;

        assert_int_equal(mkdirat(at, name, 0700), 0);
        next = openat(at, name, O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    assert_int_equal(file_write(at, "file", S("x"), 0600, &ERR_INIT), 0);
    close(at);
}

static void folders_nest_as_deep_as_a_path_can_say(void **state)
{
    struct usage usage = {0};

    nest(1000, "abc");
    assert_int_equal(usage_of_folder(place, &no_limit, &usage), 0);
    assert_int_equal(usage.files, 1001);
}

static void deeper_ones_are_not_counted_but_told(void **state)
{
    struct usage usage = {0};

    nest(1100, "abc");
    assert_int_equal(usage_of_folder(place, &no_limit, &usage), USAGE_DEEP);
}

static void no_link_leads_out(void **state)
{
    struct usage usage = {0};

    assert_int_equal(symlink("/usr", in("usr")), 0);
    assert_int_equal(usage_of_folder(place, &no_limit, &usage), 0);
    assert_int_equal(usage.files, 1);
}

static void no_folder_has_nothing(void **state)
{
    struct usage usage = {0};

    assert_int_equal(usage_of_folder(in("none"), &no_limit, &usage), 0);
    assert_int_equal(usage.files, 0);
}

#define PLACED(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACED(what_is_counted_is_blocks_of_files_and_folders),
        PLACED(a_file_with_many_names_is_one),
        PLACED(names_are_limited_too),
        PLACED(a_count_ends_where_the_limit_is_passed),
        PLACED(folders_nest_as_deep_as_a_path_can_say),
        PLACED(deeper_ones_are_not_counted_but_told),
        PLACED(no_link_leads_out),
        PLACED(no_folder_has_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
