#include "workload/owner.h"
#include "base/fd.h"
#include "base/log.h"
#include "workload/home.h"

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

/* A folder that has lost its id still has its machines: their disks' folder says that it is their home. */
static bool find_id(struct str data, char id[OWNER_ID_SIZE])
{
    DIR *dir = opendir(STATE);
    bool found = false;

    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        struct owner owner;

        if (!valid_id(str_of(entry->d_name)) || !str_to_z(str_of(entry->d_name), owner.id, sizeof owner.id))
            continue;
        set_paths(&owner);
        found = home_is_of(owner.state, data);
        if (found)
            memcpy(id, owner.id, OWNER_ID_SIZE);
    }
    if (dir)
        closedir(dir);
    if (found)
        log_warning(STR_FMT "/owner was missing: the machines of owner %s are this folder's", STR_ARG(data), id);
    return found;
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
        r = find_id(data, id) ? 0 : new_id(id, err);
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

#define NOBODY ((struct owner){.lock = -1, .hold = -1, .data = -1})

/* Whether `path` still names what is open: another server may have taken it away before it was ours. */
static bool is_named(int fd, const char *path)
{
    struct stat held, named;

    return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

static void unlock(struct owner *owner)
{
    fd_close(&owner->data);
    fd_close(&owner->hold);
    fd_close(&owner->lock);
}

/* The lock in the run folder says that the owner lives; the one on the state folder says so to whom has another /run
 * and the same /var/lib. Positive: somebody holds one, or takes them away. */
static int lock(struct owner *owner, int flags, struct err *err)
{
    char path[OWNER_PATH + 8];
    bool ours;

    snprintf(path, sizeof path, "%s/lock", owner->run);
    owner->lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (owner->lock < 0)
        return errno == ENOENT ? 1 : err_os(err, errno, "open %s", path);
    owner->hold = open(owner->state, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    ours = flock(owner->lock, LOCK_EX | LOCK_NB) == 0 && is_named(owner->lock, path);
    if (ours && owner->hold >= 0)
        ours = flock(owner->hold, LOCK_EX | LOCK_NB) == 0 && is_named(owner->hold, owner->state);
    if (ours)
        return 0;
    unlock(owner);
    return 1;
}

/* The folder itself, which is there even where /run and /var/lib are others'. A file system without locks (some NFS)
 * goes without. */
static int lock_data(struct owner *owner, struct str data, struct err *err)
{
    char path[4096];
    int fd;

    if (!str_to_z(data, path, sizeof path))
        return err_os(err, ENAMETOOLONG, "data folder");
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_os(err, errno, "open data folder %s", path);
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
        bool held = errno == EWOULDBLOCK;

        if (held && tries < LOCK_TRIES) {
            usleep(LOCK_PAUSE_US);
            continue;
        }
        fd_close(&fd);
        return held ? err_plain(err, "another haar serves this data folder (it holds the lock on %s)", path) : 0;
    }
    owner->data = fd;
    return 0;
}

/* A server that has just been killed may hold it a moment longer, by a child that had not yet become its program; one
 * that removes what dead servers left may take an empty folder away under us. */
static int lock_patiently(struct owner *owner, struct err *err)
{
    int r;

    for (int tries = 0;; tries++) {
        r = dir_make(owner->run, 0711, err);
        if (r == 0)
            r = dir_make(owner->state, 0711, err);
        if (r == 0)
            r = lock(owner, O_CREAT, err);
        if (r <= 0 || tries == LOCK_TRIES)
            break;
        usleep(LOCK_PAUSE_US);
    }
    return r > 0 ? err_plain(err, "another haar serves this data folder (it holds %s/lock)", owner->run) : r;
}

/*
 * A copy of a data folder bears its original's owner id: it would take the original's machines for its own. One that
 * was moved is the only one with that id.
 */
static int check_copy(const struct owner *owner, struct str data, struct err *err)
{
    AUTO_BUF original = BUF_INIT;

    if (!data.p || !home_is_copy(owner->state, owner->id, data, &original))
        return 0;
    return err_plain(err,
                     STR_FMT " is a copy of " STR_FMT ", whose machines it would take over; remove " STR_FMT
                             "/owner for a server of its own, with the records and without the disks",
                     STR_ARG(data), STR_ARG(buf_str(&original)), STR_ARG(data));
}

static void token_path(const struct owner *owner, char path[OWNER_PATH + 8])
{
    snprintf(path, OWNER_PATH + 8, "%s/token", owner->run);
}

/* The one that is there, else a new one. */
static int choose_token(struct owner *owner, struct err *err)
{
    AUTO_BUF kept = BUF_INIT;
    unsigned char bytes[16];
    char path[OWNER_PATH + 8];

    token_path(owner, path);
    if (file_read(AT_FDCWD, path, &kept, 1024, &ERR_INIT) == 0 &&
        str_to_z(str_trim(buf_str(&kept)), owner->token, sizeof owner->token) && owner->token[0])
        return 0;
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        return err_os(err, errno, "make a token");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(owner->token + 2 * i, 3, "%02x", bytes[i]);
    return file_write_atomic(AT_FDCWD, path, str_of(owner->token), 0600, err);
}

/* For people who look; what a later server goes by is home.h's. */
static int note_folder(const struct owner *owner, struct str data, struct err *err)
{
    if (lseek(owner->lock, 0, SEEK_SET) < 0 || ftruncate(owner->lock, 0) < 0 ||
        fd_write_all(owner->lock, data.p ? data.p : "", data.len) < 0)
        return err_os(err, errno, "write %s/lock", owner->run);
    return 0;
}

int owner_take(struct str data, struct owner *ret_owner, struct err *err)
{
    struct owner owner = NOBODY;
    int r = data.p ? lock_data(&owner, data, err) : 0;

    if (r == 0)
        r = data.p ? id_of_folder(data, owner.id, err) : new_id(owner.id, err);
    if (r == 0) {
        set_paths(&owner);
        r = lock_patiently(&owner, err);
    }
    if (r == 0)
        r = check_copy(&owner, data, err);
    if (r == 0)
        r = note_folder(&owner, data, err);
    if (r == 0)
        r = home_write(owner.state, data, err);
    if (r == 0)
        r = choose_token(&owner, err);
    if (r < 0) {
        unlock(&owner);
        return r;
    }
    *ret_owner = owner;
    return 0;
}

/* A new lock file: ours is one that no name leads to. */
static int relock(struct owner *owner, const char *path, struct err *err)
{
    AUTO_FD fd = -1;

    if (is_named(owner->lock, path))
        return 0;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_os(err, errno, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return err_os(err, errno, "lock %s", path);
    fd_close(&owner->lock);
    owner->lock = fd;
    fd = -1;
    return 0;
}

int owner_restore(struct owner *owner, struct str data, struct err *err)
{
    char lock[OWNER_PATH + 8], token[OWNER_PATH + 8];
    int r;

    snprintf(lock, sizeof lock, "%s/lock", owner->run);
    token_path(owner, token);
    if (is_named(owner->lock, lock) && access(token, F_OK) == 0)
        return 0;
    r = dir_make(owner->run, 0711, err);
    if (r == 0)
        r = relock(owner, lock, err);
    if (r == 0)
        r = note_folder(owner, data, err);
    if (r == 0)
        r = file_write_atomic(AT_FDCWD, token, str_of(owner->token), 0600, err);
    return r < 0 ? r : 1;
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
    unlock(owner);
}

/* ---- the dead ---- */

/* Its start had not got as far as to say whose it is, nor to make anything. */
static bool had_not_begun(const struct owner *owner)
{
    struct stat st;

    return fstat(owner->lock, &st) == 0 && st.st_size == 0 && (rmdir(owner->state) == 0 || errno == ENOENT);
}

/* Nobody can come back for what it left. */
static bool is_abandoned(const struct owner *owner)
{
    enum home_state home = home_look(owner->state, owner->id);

    return home == HOME_NONE || home == HOME_GONE;
}

static void reap_locked(struct owner *owner, int (*reap)(const struct owner *dead, struct err *err))
{
    struct err err = ERR_INIT;
    bool gone = is_abandoned(owner);

    if (gone) {
        log_info("removing what a dead server left (owner %s)", owner->id);
        if (reap(owner, &err) < 0)
            log_warning("what owner %s left: %s", owner->id, err.text);
    }
    owner_release(owner, gone || had_not_begun(owner));
}

/* After a reboot of the host there is no run folder: one is made for the lock, where there is something to do. */
static void reap_one(const char *id, int (*reap)(const struct owner *dead, struct err *err))
{
    struct owner owner = NOBODY;
    struct err err = ERR_INIT;
    bool bare;

    if (!str_to_z(str_of(id), owner.id, sizeof owner.id))
        return;
    set_paths(&owner);
    bare = access(owner.run, F_OK) < 0 && errno == ENOENT;
    if (bare && (!is_abandoned(&owner) || dir_make(owner.run, 0711, &err) < 0))
        return;
    if (lock(&owner, bare ? O_CREAT : 0, &err) == 0)
        reap_locked(&owner, reap);
}

static void reap_in(const char *folder, int (*reap)(const struct owner *dead, struct err *err),
                    const atomic_bool *cancel)
{
    DIR *dir = opendir(folder);

    if (!dir)
        return;
    for (struct dirent *entry; !(cancel && atomic_load(cancel)) && (entry = readdir(dir));) {
        if (valid_id(str_of(entry->d_name)))
            reap_one(entry->d_name, reap);
    }
    closedir(dir);
}

void owner_reap_dead(int (*reap)(const struct owner *dead, struct err *err), const atomic_bool *cancel)
{
    reap_in(RUN, reap, cancel);
    reap_in(STATE, reap, cancel);
}
