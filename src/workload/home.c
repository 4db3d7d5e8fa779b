/* One line, "none" or "folder BOOT DEVICE TYPE FSID KIND HANDLE" (numbers in hex, KIND 0: no handle); then the path. */
#include "workload/home.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { HANDLE = 128, PATH = 4096 };

struct handle {
    struct file_handle head;
    unsigned char bytes[HANDLE]; /* where head's own array has its place */
};
_Static_assert(offsetof(struct handle, bytes) == offsetof(struct file_handle, f_handle), "no gap between them");

/* Which file system. */
struct volume {
    uint64_t device, type, id;
};

struct home {
    bool none;
    char boot[40];
    struct volume volume;
    struct handle handle; /* head.handle_bytes 0: the file system gives none */
    char path[PATH];
};

/* ---- what the kernel says ---- */

static bool read_boot(char boot[40])
{
    AUTO_BUF text = BUF_INIT;

    return file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &text, 64, &ERR_INIT) == 0 &&
           str_to_z(str_trim(buf_str(&text)), boot, 40);
}

static bool volume_of(int fd, struct volume *ret)
{
    struct stat st;
    struct statfs fs;

    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return false;
    ret->device = st.st_dev;
    ret->type = (uint32_t)fs.f_type;
    memcpy(&ret->id, &fs.f_fsid, sizeof ret->id);
    return true;
}

static void handle_of(int fd, struct handle *ret)
{
    int mount;

    ret->head.handle_bytes = HANDLE;
    if (name_to_handle_at(fd, "", &ret->head, &mount, AT_EMPTY_PATH) < 0)
        ret->head.handle_bytes = 0;
}

/* The nearest folder of a path that there is. */
static int open_nearest(const char *path)
{
    char at[PATH];

    snprintf(at, sizeof at, "%s", path);
    for (;;) {
        int fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char *slash = strrchr(at, '/');

        if (fd >= 0 || (errno != ENOENT && errno != ENOTDIR) || !slash || !at[1])
            return fd;
        slash[slash == at] = '\0'; /* "/" is the last to try */
    }
}

/*
 * Device numbers are given anew at every boot; an ext4's or btrfs's id is in the file system itself. A tmpfs is another
 * at every boot.
 */
static bool is_volume_of(const struct home *home, bool same_boot, const struct volume *volume)
{
    if (volume->type != home->volume.type || volume->id != home->volume.id)
        return false;
    if (same_boot)
        return volume->device == home->volume.device;
    return volume->id && (volume->type == EXT4_SUPER_MAGIC || volume->type == BTRFS_SUPER_MAGIC);
}

/* ---- the record ---- */

static void home_path(const char *state_dir, char path[PATH])
{
    snprintf(path, PATH, "%s/home", state_dir);
}

static int describe(struct str data, struct home *home, struct err *err)
{
    AUTO_FD fd = -1;

    if (!str_to_z(data, home->path, sizeof home->path))
        return err_os(err, ENAMETOOLONG, "data folder");
    fd = open(home->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || !volume_of(fd, &home->volume) || !read_boot(home->boot))
        return err_os(err, errno, "look at data folder %s", home->path);
    handle_of(fd, &home->handle);
    return 0;
}

int home_write(const char *state_dir, struct str data, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    struct home home = {0};
    char path[PATH];
    int r = data.p ? describe(data, &home, err) : 0;

    if (r < 0)
        return r;
    if (!data.p)
        buf_append(&text, S("none\n"));
    else
        buf_printf(&text, "folder %s %lx %lx %lx %x ", home.boot, home.volume.device, home.volume.type, home.volume.id,
                   home.handle.head.handle_bytes ? (unsigned)home.handle.head.handle_type : 0);
    for (unsigned i = 0; i < home.handle.head.handle_bytes; i++)
        buf_printf(&text, "%02x", home.handle.bytes[i]);
    if (data.p)
        buf_printf(&text, "\n%s", home.path);
    home_path(state_dir, path);
    return file_write_atomic(AT_FDCWD, path, buf_str(&text), 0600, err);
}

static bool cut_hex(struct str *line, uint64_t *ret)
{
    struct str word = str_cut(line, ' ');
    char z[20], *end;

    if (!word.len || !str_to_z(word, z, sizeof z))
        return false;
    *ret = strtoull(z, &end, 16);
    return !*end;
}

static bool read_handle(struct str hex, unsigned kind, struct handle *ret)
{
    if (hex.len % 2 || hex.len / 2 > HANDLE)
        return false;
    ret->head.handle_type = (int)kind;
    ret->head.handle_bytes = (unsigned)(hex.len / 2);
    for (size_t i = 0; i < hex.len / 2; i++) {
        struct str byte = {hex.p + 2 * i, 2};
        uint64_t value;

        if (!cut_hex(&byte, &value))
            return false;
        ret->bytes[i] = (unsigned char)value;
    }
    return true;
}

static bool home_read(const char *state_dir, struct home *ret)
{
    AUTO_BUF text = BUF_INIT;
    char path[PATH];
    struct str rest, line;
    uint64_t kind;

    home_path(state_dir, path);
    if (file_read(AT_FDCWD, path, &text, 2 * PATH, &ERR_INIT) < 0)
        return false;
    rest = buf_str(&text);
    line = str_cut(&rest, '\n');
    *ret = (struct home){.none = str_equal(line, S("none"))};
    if (ret->none)
        return true;
    return str_equal(str_cut(&line, ' '), S("folder")) && str_to_z(str_cut(&line, ' '), ret->boot, sizeof ret->boot) &&
           cut_hex(&line, &ret->volume.device) && cut_hex(&line, &ret->volume.type) &&
           cut_hex(&line, &ret->volume.id) && cut_hex(&line, &kind) &&
           read_handle(line, (unsigned)kind, &ret->handle) && str_to_z(rest, ret->path, sizeof ret->path) &&
           ret->path[0] == '/';
}

/* ---- what has become of it ---- */

/* Who a data folder belongs to, by the file in it. Where records are without that, it has been lost: home_is_of. */
static enum home_state look_inside(int folder, const char *id)
{
    AUTO_BUF text = BUF_INIT;
    int r = file_read(folder, "owner", &text, 256, &ERR_INIT);

    if (r == -ENOENT)
        return faccessat(folder, "state.db", F_OK, 0) == 0 ? HOME_UNKNOWN : HOME_GONE;
    if (r < 0)
        return HOME_UNKNOWN;
    return str_equal(str_trim(buf_str(&text)), str_of(id)) ? HOME_THERE : HOME_GONE;
}

/* The folder itself, wherever it is now: a descriptor, -1 with a state that says why not. */
static int find_folder(const struct home *home, enum home_state *ret_state)
{
    AUTO_FD nearest = -1;
    struct handle handle = home->handle;
    struct volume volume;
    char boot[40];
    bool same_boot;
    int fd;

    *ret_state = HOME_UNKNOWN;
    if (!read_boot(boot))
        return -1;
    same_boot = strcmp(boot, home->boot) == 0;
    if (!same_boot && home->volume.type == TMPFS_MAGIC)
        *ret_state = HOME_GONE; /* it was in memory */
    nearest = handle.head.handle_bytes ? open_nearest(home->path) : -1;
    if (nearest < 0 || !volume_of(nearest, &volume) || !is_volume_of(home, same_boot, &volume))
        return -1;
    fd = open_by_handle_at(nearest, &handle.head, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ESTALE)
        *ret_state = HOME_GONE;
    return fd;
}

enum home_state home_look(const char *state_dir, const char *id)
{
    AUTO_FD folder = -1;
    struct home home;
    enum home_state state;

    if (!home_read(state_dir, &home))
        return HOME_UNKNOWN;
    if (home.none)
        return HOME_NONE;
    folder = find_folder(&home, &state);
    return folder < 0 ? state : look_inside(folder, id);
}

static bool is_same(const struct home *home, const struct home *other)
{
    const struct file_handle *a = &home->handle.head, *b = &other->handle.head;

    if (!a->handle_bytes || a->handle_bytes != b->handle_bytes)
        return strcmp(home->path, other->path) == 0;
    return home->volume.id == other->volume.id && a->handle_type == b->handle_type &&
           memcmp(home->handle.bytes, other->handle.bytes, a->handle_bytes) == 0;
}

bool home_is_of(const char *state_dir, struct str data)
{
    struct home home, given = {0};

    return home_read(state_dir, &home) && !home.none && describe(data, &given, &ERR_INIT) == 0 &&
           is_same(&home, &given);
}

/* Where an open folder is now. */
static void name_folder(int fd, struct buf *ret)
{
    char link[32], path[PATH];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path);
    if (n > 0)
        buf_append(ret, (struct str){path, (size_t)n});
}

bool home_is_copy(const char *state_dir, const char *id, struct str data, struct buf *ret_original)
{
    struct home home, given = {0};
    enum home_state state;
    AUTO_FD original = -1;

    if (!home_read(state_dir, &home) || home.none || describe(data, &given, &ERR_INIT) < 0 || is_same(&home, &given))
        return false;
    original = find_folder(&home, &state);
    if (original < 0 && state == HOME_UNKNOWN && strcmp(home.path, given.path) != 0)
        original = open(home.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (original < 0 || look_inside(original, id) != HOME_THERE)
        return false;
    name_folder(original, ret_original);
    return true;
}
