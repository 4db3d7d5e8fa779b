#include "workload/owner.h"
#include "base/fd.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN "/run/haar"
#define STATE "/var/lib/haar"

static bool valid_id(struct str id)
{
    for (size_t i = 0; i < id.len; i++) {
        if (!((id.p[i] >= 'a' && id.p[i] <= 'z') || (id.p[i] >= '0' && id.p[i] <= '9')))
            return false;
    }
    return id.len == OWNER_ID_SIZE - 1;
}

static void set_paths(struct owner *owner)
{
    snprintf(owner->run, sizeof owner->run, RUN "/%s", owner->id);
    snprintf(owner->state, sizeof owner->state, STATE "/%s", owner->id);
}

/* From getrandom, not base/id: owners are made where there is no loop yet. */
static int new_id(char id[OWNER_ID_SIZE], struct err *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char bytes[OWNER_ID_SIZE - 1];

    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return err_os(err, errno, "make an owner id");
    for (size_t i = 0; i < sizeof bytes; i++)
        id[i] = letters[bytes[i] % 32];
    id[sizeof bytes] = '\0';
    return 0;
}

static int id_of_folder(struct str data, char id[OWNER_ID_SIZE], struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    char path[512];
    struct stat st;
    int r;

    if (snprintf(path, sizeof path, STR_FMT "/owner", STR_ARG(data)) >= (int)sizeof path)
        return err_os(err, ENAMETOOLONG, "data folder " STR_FMT, STR_ARG(data));
    if (stat(path, &st) < 0 && errno == ENOENT) {
        r = new_id(id, err);
        return r == 0 ? file_write_atomic(AT_FDCWD, path, str_of(id), 0600, err) : r;
    }
    r = file_read(AT_FDCWD, path, &text, 256, err);
    if (r < 0)
        return r;
    if (!valid_id(str_trim(buf_str(&text))))
        return err_plain(err, "%s does not hold an owner id", path);
    str_to_z(str_trim(buf_str(&text)), id, OWNER_ID_SIZE);
    return 0;
}

enum { LOCK_TRIES = 25, LOCK_PAUSE_US = 20000 };

/* Positive: somebody holds it. */
static int lock(struct owner *owner, int flags, struct err *err)
{
    char path[OWNER_PATH + 8];
    struct stat held, named;

    snprintf(path, sizeof path, "%s/lock", owner->run);
    owner->lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (owner->lock < 0)
        return err_os(err, errno, "open %s", path);
    if (flock(owner->lock, LOCK_EX | LOCK_NB) < 0) {
        fd_close(&owner->lock);
        return 1;
    }
    /* Another server may have reaped the folder between the two steps. */
    if (fstat(owner->lock, &held) < 0 || stat(path, &named) < 0 || held.st_ino != named.st_ino) {
        fd_close(&owner->lock);
        return 1;
    }
    return 0;
}

/*
 * A copy of a data folder bears its original's owner id: it would take the original's machines for its own. One that
 * was moved is the only one with that id.
 */
static int check_copy(const struct owner *owner, struct str data, struct err *err)
{
    AUTO_BUF text = BUF_INIT, id = BUF_INIT;
    char path[512];
    struct str original;

    if (!data.p || fd_read_to_end(owner->lock, &text, 4096) < 0)
        return 0;
    original = buf_str(&text);
    if (!original.len || str_equal(original, data) ||
        snprintf(path, sizeof path, STR_FMT "/owner", STR_ARG(original)) >= (int)sizeof path ||
        file_read(AT_FDCWD, path, &id, 256, &ERR_INIT) < 0 || !str_equal(str_trim(buf_str(&id)), str_of(owner->id)))
        return 0;
    return err_plain(err,
                     STR_FMT " is a copy of " STR_FMT ", whose machines it would take over; remove " STR_FMT
                             "/owner for a server of its own, with the records and without the disks",
                     STR_ARG(data), STR_ARG(original), STR_ARG(data));
}

static int write_token(const struct owner *owner, struct err *err)
{
    unsigned char bytes[16];
    char path[OWNER_PATH + 8], text[2 * sizeof bytes + 1];

    snprintf(path, sizeof path, "%s/token", owner->run);
    if (access(path, F_OK) == 0)
        return 0;
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return err_os(err, errno, "make a token");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return file_write_atomic(AT_FDCWD, path, str_of(text), 0600, err);
}

int owner_take(struct str data, struct owner *ret_owner, struct err *err)
{
    struct owner owner = {.lock = -1};
    int r = data.p ? id_of_folder(data, owner.id, err) : new_id(owner.id, err);

    if (r < 0)
        return r;
    set_paths(&owner);
    r = dir_make(owner.run, 0711, err);
    /* A server that has just been killed may hold it a moment longer, by a child that had not yet become its program.
     */
    for (int tries = 0; r == 0 && (r = lock(&owner, O_CREAT, err)) > 0 && tries < LOCK_TRIES; tries++, r = 0)
        usleep(LOCK_PAUSE_US);
    if (r > 0)
        return err_plain(err, "another haar serves this data folder (it holds %s/lock)", owner.run);
    if (r == 0)
        r = check_copy(&owner, data, err);
    if (r == 0 && (lseek(owner.lock, 0, SEEK_SET) < 0 || ftruncate(owner.lock, 0) < 0 ||
                   fd_write_all(owner.lock, data.p ? data.p : "", data.len) < 0))
        r = err_os(err, errno, "write %s/lock", owner.run);
    if (r == 0)
        r = write_token(&owner, err);
    if (r == 0)
        r = dir_make(owner.state, 0711, err);
    if (r < 0) {
        fd_close(&owner.lock);
        return r;
    }
    *ret_owner = owner;
    return 0;
}

void owner_release(struct owner *owner, bool gone)
{
    struct err err = ERR_INIT;

    if (gone && (tree_remove(AT_FDCWD, owner->state, &err) < 0 || tree_remove(AT_FDCWD, owner->run, &err) < 0))
        log_warning("%s", err.text);
    if (gone) { /* the folders that all owners share, if this was the last */
        rmdir(RUN);
        rmdir(STATE);
    }
    fd_close(&owner->lock);
}

static bool has_data_folder(const struct owner *owner)
{
    AUTO_BUF text = BUF_INIT;

    return fd_read_to_end(owner->lock, &text, 4096) < 0 || text.len > 0;
}

static void reap_one(const char *id, int (*reap)(const struct owner *dead, struct err *err))
{
    struct owner owner = {.lock = -1};
    struct err err = ERR_INIT;

    if (!str_to_z(str_of(id), owner.id, sizeof owner.id))
        return;
    set_paths(&owner);
    if (lock(&owner, 0, &err) != 0)
        return;
    if (has_data_folder(&owner)) {
        owner_release(&owner, false);
        return;
    }
    log_info("removing what a dead server left (owner %s)", owner.id);
    if (reap(&owner, &err) < 0)
        log_warning("what owner %s left: %s", owner.id, err.text);
    owner_release(&owner, true);
}

void owner_reap_dead(int (*reap)(const struct owner *dead, struct err *err))
{
    DIR *dir = opendir(RUN);

    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (valid_id(str_of(entry->d_name)))
            reap_one(entry->d_name, reap);
    }
    closedir(dir);
}
