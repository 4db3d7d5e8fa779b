/* Owners need /run/haar, so root. */
#include "workload/owner.h"
#include "base/fd.h"
#include "workload/native.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void a_data_folder_keeps_its_owner_and_admits_one_server(void **state)
{
    char folder[] = "/tmp/haar-owner-XXXXXX", first[OWNER_ID_SIZE], path[128];
    struct owner owner, second;
    struct err err = ERR_INIT;
    struct stat st;

    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(folder));
    assert_int_equal(owner_take(str_of(folder), &owner, &err), 0);
    assert_true(owner_take(str_of(folder), &second, &err) < 0);
    assert_non_null(strstr(err.text, "another haar"));
    snprintf(path, sizeof path, "%s/token", owner.run);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, 32);
    memcpy(first, owner.id, sizeof first);
    owner_release(&owner, false);
    assert_int_equal(owner_take(str_of(folder), &owner, &err), 0);
    assert_string_equal(owner.id, first);
    owner_release(&owner, true);
    assert_int_equal(access(owner.run, F_OK), -1);
    assert_int_equal(tree_remove(AT_FDCWD, folder, &err), 0);
}

static void an_owner_with_a_data_folder_is_not_reaped(void **state)
{
    char folder[] = "/tmp/haar-owner-XXXXXX";
    struct owner owner;
    struct err err = ERR_INIT;

    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(folder));
    assert_int_equal(owner_take(str_of(folder), &owner, &err), 0);
    owner_release(&owner, false);
    owner_reap_dead(workload_native_reap);
    assert_int_equal(access(owner.run, F_OK), 0);
    assert_int_equal(owner_take(str_of(folder), &owner, &err), 0);
    owner_release(&owner, true);
    assert_int_equal(tree_remove(AT_FDCWD, folder, &err), 0);
}

static void a_folder_with_a_forged_owner_is_refused(void **state)
{
    char folder[] = "/tmp/haar-owner-XXXXXX", path[64];
    struct owner owner;
    struct err err = ERR_INIT;

    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/owner", folder);
    assert_int_equal(file_write(AT_FDCWD, path, S("../../etc"), 0600, &err), 0);
    assert_true(owner_take(str_of(folder), &owner, &err) < 0);
    assert_int_equal(tree_remove(AT_FDCWD, folder, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_data_folder_keeps_its_owner_and_admits_one_server),
        cmocka_unit_test(an_owner_with_a_data_folder_is_not_reaped),
        cmocka_unit_test(a_folder_with_a_forged_owner_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
