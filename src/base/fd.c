#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int *fd)
{
    int keep = errno;

    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = keep;
}

int fd_write_all(int fd, const void *p, size_t size)
{
    for (const char *at = p; size;) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

int fd_read_to_end(int fd, struct buf *out, size_t limit)
{
    for (size_t total = 0;;) {
        ssize_t n = read(fd, buf_reserve(out, 4096), 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        total += (size_t)n;
        if (total > limit)
            return -EFBIG;
        out->len += (size_t)n;
    }
}

int file_read(int dir, const char *path, struct buf *out, size_t limit, struct err *err)
{
    AUTO_FD fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return err_os(err, errno, "open %s", path);
    r = fd_read_to_end(fd, out, limit);
    return r < 0 ? err_os(err, -r, "read %s", path) : 0;
}

int file_write(int dir, const char *path, struct str text, unsigned mode, struct err *err)
{
    AUTO_FD fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    int r;

    if (fd < 0)
        return err_os(err, errno, "open %s", path);
    r = fd_write_all(fd, text.p, text.len);
    return r < 0 ? err_os(err, -r, "write %s", path) : 0;
}

int file_write_atomic(int dir, const char *path, struct str text, unsigned mode, struct err *err)
{
    char draft[PATH_MAX];
    int r;

    if ((size_t)snprintf(draft, sizeof draft, "%s.new", path) >= sizeof draft)
        return err_os(err, ENAMETOOLONG, "write %s", path);
    r = file_write(dir, draft, text, mode, err);
    if (r < 0)
        return r;
    if (renameat(dir, draft, dir, path) < 0)
        return err_os(err, errno, "rename %s", draft);
    return 0;
}

int dir_make(const char *path, unsigned mode, struct err *err)
{
    char part[PATH_MAX];

    if (!str_to_z(str_of(path), part, sizeof part))
        return err_os(err, ENAMETOOLONG, "make folder %s", path);
    for (char *at = part + 1;; at++) {
        char c = *at;

        if (c != '/' && c != '\0')
            continue;
        *at = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return err_os(err, errno, "make folder %s", part);
        *at = c;
        if (c == '\0')
            return 0;
    }
}

/*
 * A tree may be nested deeper than descriptors, memory or a path reach: what lies DEEP_LEVELS down is moved up to the
 * tree's own folder, and removed from there in another pass.
 */
enum { DEEP_LEVELS = 32, DEEP_NAMES = 1000 };

struct removal {
    int top; /* the tree's folder */
    dev_t device;
    unsigned moved, named;
};

static int empty_dir(struct removal *removal, int fd, unsigned level, struct err *err);

static int move_up(struct removal *removal, int dir, const char *name, struct err *err)
{
    removal->moved++;
    for (int i = 0; i < DEEP_NAMES; i++) {
        char to[32];

        snprintf(to, sizeof to, ".deep-%u", removal->named++);
        if (renameat(dir, name, removal->top, to) == 0)
            return 0;
        if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
            break;
    }
    return err_os(err, errno, "move up %s", name);
}

static int remove_entry(struct removal *removal, int dir, const char *name, unsigned level, struct err *err)
{
    struct stat st;
    int r, fd;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : err_os(err, errno, "stat %s", name);
    if (S_ISDIR(st.st_mode)) {
        /* Of folders only: an overlay's files may have other device numbers than it has. */
        if (st.st_dev != removal->device)
            return err_os(err, EXDEV, "remove %s", name);
        if (level == DEEP_LEVELS)
            return move_up(removal, dir, name, err);
        fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return err_os(err, errno, "open %s", name);
        r = empty_dir(removal, fd, level + 1, err);
        if (r < 0)
            return r;
    }
    if (unlinkat(dir, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
        return err_os(err, errno, "remove %s", name);
    return 0;
}

/* Takes fd. */
static int empty_dir(struct removal *removal, int fd, unsigned level, struct err *err)
{
    DIR *dir = fdopendir(fd);
    int r = 0;

    if (!dir) {
        r = err_os(err, errno, "list folder");
        close(fd);
        return r;
    }
    for (struct dirent *entry; r == 0 && (entry = readdir(dir));) {
        if (str_equal(str_of(entry->d_name), S(".")) || str_equal(str_of(entry->d_name), S("..")))
            continue;
        r = remove_entry(removal, dirfd(dir), entry->d_name, level, err);
    }
    closedir(dir);
    return r;
}

/* Until nothing has been moved up that this pass may not have seen. */
static int empty_top(int dir, const char *path, dev_t device, struct err *err)
{
    AUTO_FD top = openat(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct removal removal = {.top = top, .device = device};
    int r = top < 0 ? err_os(err, errno, "open %s", path) : 0;

    do {
        int fd = r < 0 ? -1 : openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        removal.moved = 0;
        if (r == 0)
            r = fd < 0 ? err_os(err, errno, "open %s", path) : empty_dir(&removal, fd, 0, err);
    } while (r == 0 && removal.moved);
    return r;
}

int tree_remove(int dir, const char *path, struct err *err)
{
    struct stat st;
    int r = 0;

    if (fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT)
            return 0;
        r = err_os(err, errno, "stat %s", path);
    }
    if (r == 0 && S_ISDIR(st.st_mode))
        r = empty_top(dir, path, st.st_dev, err);
    if (r == 0 && unlinkat(dir, path, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0 && errno != ENOENT)
        r = err_os(err, errno, "remove %s", path);
    return r < 0 ? err_wrap(err, "remove tree %s", path) : 0;
}
