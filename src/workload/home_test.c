/* Handles and mounts need root. */
#include "workload/home.h"
#include "base/fd.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID "abcdefgh"

struct place {
    char root[64];                         /* all of it */
    char state[80], mount[80], disk[80];   /* mount: an empty folder; disk: on the test's own file system */
    char data[128], moved[128], copy[128]; /* data: a folder that bears ID */
};

static void make_data(const char *path)
{
    char owner[160];
    struct err err = ERR_INIT;

    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(owner, sizeof owner, "%s/owner", path);
    assert_int_equal(file_write(AT_FDCWD, owner, S(ID "\n"), 0600, &err), 0);
}

static void put_data(struct place *place, const char *parent)
{
    struct err err = ERR_INIT;

    snprintf(place->data, sizeof place->data, "%s/data", parent);
    snprintf(place->moved, sizeof place->moved, "%s/moved", parent);
    snprintf(place->copy, sizeof place->copy, "%s/copy", parent);
    make_data(place->data);
    assert_int_equal(home_write(place->state, str_of(place->data), &err), 0);
}

/* In a mount namespace, so that whatever happens no mount stays. */
static int make_place(void **state)
{
    static struct place place;

    if (geteuid() != 0)
        return 0;
    snprintf(place.root, sizeof place.root, "/tmp/haar-home-XXXXXX");
    assert_non_null(mkdtemp(place.root));
    snprintf(place.state, sizeof place.state, "%s/state", place.root);
    snprintf(place.mount, sizeof place.mount, "%s/mount", place.root);
    snprintf(place.disk, sizeof place.disk, "%s/disk", place.root);
    if (mkdir(place.state, 0700) < 0 || mkdir(place.mount, 0700) < 0 || mkdir(place.disk, 0700) < 0)
        return -1;
    *state = &place;
    return 0;
}

static int remove_place(void **state)
{
    struct place *place = *state;
    struct err err = ERR_INIT;

    if (!place)
        return 0;
    while (umount2(place->mount, MNT_DETACH) == 0)
        ;
    return tree_remove(AT_FDCWD, place->root, &err);
}

static int own_mounts(void **state)
{
    if (geteuid() != 0)
        return 0;
    if (unshare(CLONE_NEWNS) < 0)
        return -1;
    /* In a chroot "/" is no mount. */
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 && errno != EINVAL ? -1 : 0;
}

static struct place *place_of(void **state)
{
    if (!*state)
        skip();
    return *state;
}

static void mount_memory(const struct place *place)
{
    assert_int_equal(mount("tmpfs", place->mount, "tmpfs", 0, "size=1m"), 0);
}

static void remove_data(const char *path)
{
    struct err err = ERR_INIT;

    assert_int_equal(tree_remove(AT_FDCWD, path, &err), 0);
}

/* As if the host had been booted anew since. */
static void reboot_since(const struct place *place)
{
    AUTO_BUF text = BUF_INIT;
    char path[128];
    struct err err = ERR_INIT;

    snprintf(path, sizeof path, "%s/home", place->state);
    assert_int_equal(file_read(AT_FDCWD, path, &text, 8192, &err), 0);
    assert_true(str_starts(buf_str(&text), S("folder ")));
    memset(text.p + strlen("folder "), '0', 8);
    assert_int_equal(file_write(AT_FDCWD, path, buf_str(&text), 0600, &err), 0);
}

static void follows_a_folder(struct place *place, const char *parent)
{
    put_data(place, parent);
    assert_int_equal(home_look(place->state, ID), HOME_THERE);
    assert_int_equal(rename(place->data, place->moved), 0);
    assert_int_equal(home_look(place->state, ID), HOME_THERE);
    remove_data(place->moved);
    assert_int_equal(home_look(place->state, ID), HOME_GONE);
}

static void a_folder_is_followed_on_a_disk_until_it_is_deleted(void **state)
{
    struct place *place = place_of(state);

    follows_a_folder(place, place->disk);
}

static void a_folder_is_followed_in_memory_until_it_is_deleted(void **state)
{
    struct place *place = place_of(state);

    mount_memory(place);
    follows_a_folder(place, place->mount);
}

static void a_folder_that_was_made_anew_at_the_same_path_is_another(void **state)
{
    struct place *place = place_of(state);

    put_data(place, place->disk);
    remove_data(place->data);
    make_data(place->data);
    assert_int_equal(home_look(place->state, ID), HOME_GONE);
}

static void a_folder_with_another_owners_id_is_gone(void **state)
{
    struct place *place = place_of(state);
    char owner[160];
    struct err err = ERR_INIT;

    put_data(place, place->disk);
    snprintf(owner, sizeof owner, "%s/owner", place->data);
    assert_int_equal(file_write(AT_FDCWD, owner, S("zzzzzzzz"), 0600, &err), 0);
    assert_int_equal(home_look(place->state, ID), HOME_GONE);
    assert_int_equal(unlink(owner), 0);
    assert_int_equal(home_look(place->state, ID), HOME_GONE);
}

static void nobody_knows_of_a_folder_on_a_disk_that_is_not_mounted(void **state)
{
    struct place *place = place_of(state);

    mount_memory(place);
    put_data(place, place->mount);
    assert_int_equal(umount2(place->mount, MNT_DETACH), 0);
    assert_int_equal(home_look(place->state, ID), HOME_UNKNOWN);
    mount_memory(place); /* another one at the same place, with a folder like it */
    make_data(place->data);
    assert_int_equal(home_look(place->state, ID), HOME_UNKNOWN);
}

static void a_reboot_takes_what_was_in_memory_and_no_disk(void **state)
{
    struct place *place = place_of(state);

    put_data(place, place->disk);
    reboot_since(place);
    assert_int_equal(home_look(place->state, ID), HOME_THERE);
    remove_data(place->data);
    assert_int_equal(home_look(place->state, ID), HOME_GONE);
    mount_memory(place);
    put_data(place, place->mount);
    reboot_since(place);
    assert_int_equal(home_look(place->state, ID), HOME_GONE);
}

static void an_owner_without_a_folder_says_so(void **state)
{
    struct place *place = place_of(state);
    struct err err = ERR_INIT;

    assert_int_equal(home_look(place->state, ID), HOME_UNKNOWN);
    assert_int_equal(home_write(place->state, (struct str){0}, &err), 0);
    assert_int_equal(home_look(place->state, ID), HOME_NONE);
}

static void a_record_that_is_not_whole_says_nothing(void **state)
{
    static const char *const records[] = {
        "",          "folder", "folder x 1 2 3 1 zz\n/tmp", "folder x 1 2 3 1 0102\ntmp", "folder x 1 2 3 1 010\n/tmp",
        "nonesuch\n"};
    struct place *place = place_of(state);
    char path[128];
    struct err err = ERR_INIT;

    snprintf(path, sizeof path, "%s/home", place->state);
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        assert_int_equal(file_write(AT_FDCWD, path, str_of(records[i]), 0600, &err), 0);
        assert_int_equal(home_look(place->state, ID), HOME_UNKNOWN);
    }
}

static void a_copy_is_told_from_a_folder_that_was_moved(void **state)
{
    struct place *place = place_of(state);
    AUTO_BUF original = BUF_INIT;

    put_data(place, place->disk);
    assert_false(home_is_copy(place->state, ID, str_of(place->data), &original));
    assert_int_equal(rename(place->data, place->moved), 0);
    assert_false(home_is_copy(place->state, ID, str_of(place->moved), &original));
    make_data(place->data); /* at the old path, even */
    assert_true(home_is_copy(place->state, ID, str_of(place->data), &original));
    assert_true(str_equal(buf_str(&original), str_of(place->moved)));
    remove_data(place->moved);
    assert_false(home_is_copy(place->state, ID, str_of(place->data), &original));
}

int main(void)
{
#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)
    const struct CMUnitTest tests[] = {
        IN_A_PLACE(a_folder_is_followed_on_a_disk_until_it_is_deleted),
        IN_A_PLACE(a_folder_is_followed_in_memory_until_it_is_deleted),
        IN_A_PLACE(a_folder_that_was_made_anew_at_the_same_path_is_another),
        IN_A_PLACE(a_folder_with_another_owners_id_is_gone),
        IN_A_PLACE(nobody_knows_of_a_folder_on_a_disk_that_is_not_mounted),
        IN_A_PLACE(a_reboot_takes_what_was_in_memory_and_no_disk),
        IN_A_PLACE(an_owner_without_a_folder_says_so),
        IN_A_PLACE(a_record_that_is_not_whole_says_nothing),
        IN_A_PLACE(a_copy_is_told_from_a_folder_that_was_moved),
    };

    return cmocka_run_group_tests(tests, own_mounts, NULL);
}
