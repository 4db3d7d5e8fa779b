#include "image/hidden.h"
#include "base/fd.h"
#include "base/mem.h"
#include "image/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { HIDDEN_PATH = 1024, HIDDEN_DEPTH = 64 };

/* The folders above `path`, as the host has them. */
static int make_parents(int usr, int host, const char *path, struct err *err)
{
    char folder[HIDDEN_PATH];

    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        struct stat st = {.st_mode = 0755};

        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        fstatat(host, folder, &st, AT_SYMLINK_NOFOLLOW);
        if (mkdirat(usr, folder, 0700) == 0) {
            if (fchownat(usr, folder, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
                fchmodat(usr, folder, st.st_mode & 07777, 0) < 0)
                return err_os(err, errno, "make folder %s", folder);
        } else if (errno != EEXIST && errno != ENOTDIR) { /* what it is in may be hidden itself */
            return err_os(err, errno, "make folder %s", folder);
        }
    }
    return 0;
}

/* `path` below /usr. */
static int hide(int usr, int host, const char *path, struct err *err)
{
    int r = make_parents(usr, host, path, err);

    if (r == 0 && mknodat(usr, path, S_IFCHR, makedev(0, 0)) < 0 && errno != EEXIST && errno != ENOTDIR)
        r = err_os(err, errno, "hide /usr/%s", path);
    return r;
}

static int open_usr(struct err *err)
{
    int fd = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? err_os(err, errno, "open /usr") : fd;
}

/* ---- /usr/local ---- */

int hidden_local(int usr, struct err *err)
{
    static const char *const folders[] = {"local",     "local/bin",  "local/etc",   "local/games", "local/include",
                                          "local/lib", "local/sbin", "local/share", "local/src",   "local/share/man"};
    AUTO_FD local = -1;
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(folders) && r == 0; i++) {
        r = tree_folder(usr, folders[i], 0755, err);
        if (r == 0 && fchmodat(usr, folders[i], 0755, 0) < 0) /* whatever our umask is */
            r = err_os(err, errno, "set the mode of /usr/%s", folders[i]);
    }
    if (r < 0)
        return r;
    local = openat(usr, "local", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (local < 0 || fsetxattr(local, "trusted.overlay.opaque", "y", 1, 0) < 0)
        return err_os(err, errno, "put an empty /usr/local in the host's place");
    return tree_link(usr, "local/man", "share/man", err);
}

/* ---- what lies under mounts ---- */

/* mountinfo writes what separates its words in octal: \040. */
static bool unescape(struct str word, char path[HIDDEN_PATH])
{
    size_t at = 0;

    while (word.len && at < HIDDEN_PATH - 1) {
        if (word.len >= 4 && word.p[0] == '\\') {
            path[at++] = (char)((word.p[1] - '0') * 64 + (word.p[2] - '0') * 8 + (word.p[3] - '0'));
            word = str_skip(word, 4);
            continue;
        }
        path[at++] = word.p[0];
        word = str_skip(word, 1);
    }
    path[at] = '\0';
    return word.len == 0;
}

/* The next mount point below /usr, as mountinfo has it; absent: there is no other. */
static struct str next_below(struct str *rest)
{
    while (rest->p && rest->len) {
        struct str line = str_cut(rest, '\n');

        for (int i = 0; i < 4; i++)
            str_cut(&line, ' ');
        line = str_cut(&line, ' ');
        if (str_starts(line, S("/usr/")))
            return line;
    }
    return (struct str){0};
}

int hidden_mounts(int usr, bool local, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_FD host = open_usr(err);
    struct str rest, point;
    int r = host < 0 ? host : file_read(AT_FDCWD, "/proc/self/mountinfo", &text, 16 * 1024 * 1024, err);

    rest = buf_str(&text);
    while (r == 0 && (point = next_below(&rest)).p) {
        char path[HIDDEN_PATH];

        if (!unescape(point, path))
            return err_os(err, ENAMETOOLONG, "hide what is mounted below /usr");
        if (local || !str_starts(str_of(path), S("/usr/local/")))
            r = hide(usr, host, path + strlen("/usr/"), err);
    }
    return r;
}

uint64_t hidden_mounts_stamp(void)
{
    static int table = -1; /* kept: polled, it says whether anything has been mounted since it was read */
    static uint64_t stamp;
    struct pollfd changed = {.events = POLLPRI};
    AUTO_BUF text = BUF_INIT;
    struct str rest, point;

    if (table < 0)
        table = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    else if (changed.fd = table, poll(&changed, 1, 0) == 0)
        return stamp;
    if (table < 0 || lseek(table, 0, SEEK_SET) < 0 || fd_read_to_end(table, &text, 16 * 1024 * 1024) < 0)
        return stamp;
    stamp = 0;
    for (rest = buf_str(&text); (point = next_below(&rest)).p;)
        stamp = stamp * 31 + str_hash(point);
    return stamp;
}

/* ---- what is not everybody's ---- */

/* 0, -ENOENT: it has gone, or -EXDEV: something is mounted there (hidden_mounts' to hide). Device numbers do not tell:
 * of an overlay each file may have its layer's (overlayfs.rst, "Inode properties"). */
static int look(int folder, const char *name, mode_t *ret_mode)
{
    struct statx st;

    if (statx(folder, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_MODE, &st) < 0)
        return -ENOENT;
    *ret_mode = st.stx_mode;
    return st.stx_attributes & STATX_ATTR_MOUNT_ROOT ? -EXDEV : 0;
}

static bool is_private(mode_t mode)
{
    if (S_ISLNK(mode))
        return false;
    return S_ISDIR(mode) ? (mode & 05) != 05 : !(mode & S_IROTH);
}

struct search {
    int usr, host;
    bool local;
    const atomic_bool *cancel;
};

static int search_folder(const struct search *search, const char *folder, int depth, struct err *err)
{
    int fd = openat(search->host, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir)
        return errno == ENOENT ? 0 : err_os(err, errno, "list /usr/%s", folder);
    if (search->cancel && atomic_load(search->cancel))
        r = err_os(err, ECANCELED, "list /usr/%s", folder);
    for (struct dirent *entry; r == 0 && (entry = readdir(dir));) {
        char path[HIDDEN_PATH];
        mode_t mode;

        if (str_equal(str_of(entry->d_name), S(".")) || str_equal(str_of(entry->d_name), S("..")))
            continue;
        if (snprintf(path, sizeof path, "%s%s%s", folder[0] == '.' ? "" : folder, folder[0] == '.' ? "" : "/",
                     entry->d_name) >= HIDDEN_PATH)
            r = err_os(err, ENAMETOOLONG, "list /usr/%s", folder);
        else if (look(fd, entry->d_name, &mode) < 0 || (!search->local && str_equal(str_of(path), S("local"))))
            continue;
        else if (is_private(mode) || depth == 0)
            r = hide(search->usr, search->host, path, err);
        else if (S_ISDIR(mode))
            r = search_folder(search, path, depth - 1, err);
    }
    closedir(dir);
    return r;
}

int hidden_private(int usr, bool local, const atomic_bool *cancel, struct err *err)
{
    AUTO_FD host = open_usr(err);

    if (host < 0)
        return host;
    return search_folder(&(struct search){usr, host, local, cancel}, ".", HIDDEN_DEPTH, err);
}
