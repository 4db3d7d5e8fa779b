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
    owner_reap_dead(workload_native_reap, NULL);
    assert_int_equal(access(owner.run, F_OK), 0);
    assert_int_equal(owner_take(str_of(folder), &owner, &err), 0);
    owner_release(&owner, true);
    assert_int_equal(tree_remove(AT_FDCWD, folder, &err), 0);
}

static void what_a_deleted_data_folder_left_is_reaped(void **state)
{
    char folder[] = "/tmp/haar-owner-XXXXXX";
    struct owner owner;
    struct err err = ERR_INIT;

    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(folder));
    assert_int_equal(owner_take(str_of(folder), &owner, &err), 0);
    assert_int_equal(tree_remove(AT_FDCWD, folder, &err), 0);
    owner_reap_dead(workload_native_reap, NULL); /* it lives */
    assert_int_equal(access(owner.run, F_OK), 0);
    owner_release(&owner, false);
    owner_reap_dead(workload_native_reap, NULL);
    assert_int_equal(access(owner.run, F_OK), -1);
    assert_int_equal(access(owner.state, F_OK), -1);
}

/* The folder that a machine's disk would be in. */
static void put_disk(const struct owner *owner, char disk[128])
{
    struct err err = ERR_INIT;

    snprintf(disk, 128, "%s/machines/i-0123456789abcdef0", owner->state);
    assert_int_equal(dir_make(disk, 0700, &err), 0);
}

static void disks_outlive_a_reboot_if_someone_can_come_back_for_them(void **state)
{
    char folder[] = "/tmp/haar-owner-XXXXXX", moved[64], disk[128], lost[128];
    struct owner owner, memory;
    struct err err = ERR_INIT;

    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(folder));
    assert_int_equal(owner_take(str_of(folder), &owner, &err), 0);
    assert_int_equal(owner_take((struct str){0}, &memory, &err), 0);
    put_disk(&owner, disk);
    put_disk(&memory, lost);
    owner_release(&owner, false);
    owner_release(&memory, false);
    assert_int_equal(tree_remove(AT_FDCWD, owner.run, &err), 0); /* as a reboot does */
    assert_int_equal(tree_remove(AT_FDCWD, memory.run, &err), 0);
    snprintf(moved, sizeof moved, "%s-moved", folder);
    assert_int_equal(rename(folder, moved), 0);
    owner_reap_dead(workload_native_reap, NULL);
    assert_int_equal(access(disk, F_OK), 0);
    assert_int_equal(access(owner.run, F_OK), -1);
    assert_int_equal(access(memory.state, F_OK), -1);
    assert_int_equal(access(memory.run, F_OK), -1);
    assert_int_equal(owner_take(str_of(moved), &owner, &err), 0);
    owner_release(&owner, false);
    assert_int_equal(tree_remove(AT_FDCWD, owner.run, &err), 0);
    assert_int_equal(tree_remove(AT_FDCWD, moved, &err), 0);
    owner_reap_dead(workload_native_reap, NULL);
    assert_int_equal(access(owner.state, F_OK), -1);
}

static void a_server_with_another_run_folder_is_alive_by_its_state_folder(void **state)
{
    struct owner owner;
    struct err err = ERR_INIT;

    if (geteuid() != 0)
        skip();
    assert_int_equal(owner_take((struct str){0}, &owner, &err), 0);
    assert_int_equal(tree_remove(AT_FDCWD, owner.run, &err), 0);
    owner_reap_dead(workload_native_reap, NULL);
    assert_int_equal(access(owner.state, F_OK), 0);
    owner_release(&owner, true);
    assert_int_equal(access(owner.state, F_OK), -1);
}

static void a_start_that_was_cut_short_leaves_nothing(void **state)
{
    struct owner owner;
    struct err err = ERR_INIT;
    char path[128];

    if (geteuid() != 0)
        skip();
    assert_int_equal(owner_take((struct str){0}, &owner, &err), 0);
    snprintf(path, sizeof path, "%s/home", owner.state);
    assert_int_equal(unlink(path), 0);
    owner_release(&owner, false);
    owner_reap_dead(workload_native_reap, NULL);
    assert_int_equal(access(owner.run, F_OK), -1);
    assert_int_equal(access(owner.state, F_OK), -1);
}

/* Its records are whole: nobody may take its machines' disks away for want of a file. */
static void a_data_folder_that_has_lost_its_owner_gets_it_back(void **state)
{
    struct owner owner, again;
    struct err err = ERR_INIT;
    char folder[] = "/tmp/haar-data-XXXXXX", path[64], disk[128];

    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(folder));
    assert_int_equal(owner_take(str_of(folder), &owner, &err), 0);
    put_disk(&owner, disk);
    owner_release(&owner, false);
    snprintf(path, sizeof path, "%s/state.db", folder);
    assert_int_equal(file_write_atomic(AT_FDCWD, path, S("records"), 0600, &err), 0);
    snprintf(path, sizeof path, "%s/owner", folder);
    assert_int_equal(unlink(path), 0);
    owner_reap_dead(workload_native_reap, NULL);
    assert_int_equal(access(disk, F_OK), 0);
    assert_int_equal(owner_take(str_of(folder), &again, &err), 0);
    assert_string_equal(again.id, owner.id);
    assert_int_equal(access(disk, F_OK), 0);
    owner_release(&again, false);
    assert_int_equal(tree_remove(AT_FDCWD, folder, &err), 0);
    owner_reap_dead(workload_native_reap, NULL);
    assert_int_equal(access(disk, F_OK), -1);
}

static void a_copy_of_a_data_folder_is_refused_also_after_a_reboot(void **state)
{
    char folder[] = "/tmp/haar-owner-XXXXXX", copy[64], path[128];
    struct owner owner, second;
    struct err err = ERR_INIT;

    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(folder));
    assert_int_equal(owner_take(str_of(folder), &owner, &err), 0);
    owner_release(&owner, false);
    assert_int_equal(tree_remove(AT_FDCWD, owner.run, &err), 0);
    snprintf(copy, sizeof copy, "%s-copy", folder);
    assert_int_equal(mkdir(copy, 0700), 0);
    snprintf(path, sizeof path, "%s/owner", copy);
    assert_int_equal(file_write(AT_FDCWD, path, str_of(owner.id), 0600, &err), 0);
    assert_true(owner_take(str_of(copy), &second, &err) < 0);
    assert_non_null(strstr(err.text, "is a copy of"));
    assert_int_equal(tree_remove(AT_FDCWD, folder, &err), 0);
    assert_int_equal(owner_take(str_of(copy), &second, &err), 0);
    owner_release(&second, true);
    assert_int_equal(tree_remove(AT_FDCWD, copy, &err), 0);
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
        cmocka_unit_test(what_a_deleted_data_folder_left_is_reaped),
        cmocka_unit_test(disks_outlive_a_reboot_if_someone_can_come_back_for_them),
        cmocka_unit_test(a_server_with_another_run_folder_is_alive_by_its_state_folder),
        cmocka_unit_test(a_start_that_was_cut_short_leaves_nothing),
        cmocka_unit_test(a_data_folder_that_has_lost_its_owner_gets_it_back),
        cmocka_unit_test(a_copy_of_a_data_folder_is_refused_also_after_a_reboot),
        cmocka_unit_test(a_folder_with_a_forged_owner_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
