#include "image/tree.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_DEPTH = 12, COPY_FILE_MAX = 16 * 1024 * 1024, COPY_PATH = 512 };

int tree_folder(int root, const char *path, unsigned mode, struct err *err)
{
    if (mkdirat(root, path, mode) < 0 && errno != EEXIST)
        return err_os(err, errno, "make folder %s", path);
    return 0;
}

int tree_link(int root, const char *path, const char *target, struct err *err)
{
    if (symlinkat(target, root, path) < 0 && errno != EEXIST)
        return err_os(err, errno, "make link %s", path);
    return 0;
}

int tree_file(int root, const char *path, struct str text, unsigned mode, struct err *err)
{
    AUTO_FD fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

    if (fd < 0 && errno == EEXIST)
        return 0;
    if (fd < 0 || fd_write_all(fd, text.p, text.len) < 0)
        return err_os(err, errno, "write %s", path);
    return 0;
}

static int copy_file(const char *from, int root, const char *to, struct err *err)
{
    AUTO_FD in = open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    AUTO_FD out = -1;
    struct stat st; /* of what is open: another file may stand at the path by now */
    off_t left;

    if (in < 0 || fstat(in, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & S_IROTH) || st.st_size > COPY_FILE_MAX)
        return 0;
    left = st.st_size;
    out = openat(root, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, st.st_mode & 0777);
    if (out < 0)
        return errno == EEXIST ? 0 : err_os(err, errno, "make %s", to);
    while (left > 0) {
        ssize_t n = sendfile(out, in, NULL, (size_t)left);

        if (n < 0)
            return err_os(err, errno, "copy %s", from);
        if (n == 0)
            break; /* it shrank meanwhile */
        left -= n;
    }
    return 0;
}

static int copy_link(const char *from, int root, const char *to, struct err *err)
{
    char target[COPY_PATH];
    ssize_t n = readlink(from, target, sizeof target - 1);

    if (n < 0)
        return 0;
    target[n] = '\0';
    if (str_starts(str_of(target), S("/usr/share/man/"))) /* a quarter of /etc/alternatives, for pages few read here */
        return 0;
    return tree_link(root, to, target, err);
}

static int copy(const char *from, int root, const char *to, int depth, const atomic_bool *cancel, struct err *err);

static int copy_folder(const char *from, int root, const char *to, int depth, const atomic_bool *cancel,
                       struct err *err)
{
    DIR *dir = depth > 0 ? opendir(from) : NULL;
    int r = tree_folder(root, to, 0755, err);

    for (struct dirent *entry; dir && r == 0 && (entry = readdir(dir));) {
        char inner_from[COPY_PATH], inner_to[COPY_PATH];

        if (str_equal(str_of(entry->d_name), S(".")) || str_equal(str_of(entry->d_name), S("..")))
            continue;
        if (snprintf(inner_from, COPY_PATH, "%s/%s", from, entry->d_name) < COPY_PATH &&
            snprintf(inner_to, COPY_PATH, "%s/%s", to, entry->d_name) < COPY_PATH)
            r = copy(inner_from, root, inner_to, depth - 1, cancel, err);
    }
    if (dir)
        closedir(dir);
    return r;
}

static int copy(const char *from, int root, const char *to, int depth, const atomic_bool *cancel, struct err *err)
{
    struct stat st;

    if (cancel && atomic_load(cancel))
        return err_os(err, ECANCELED, "copy %s", from);
    if (lstat(from, &st) < 0)
        return 0;
    if (S_ISLNK(st.st_mode))
        return copy_link(from, root, to, err);
    if (S_ISREG(st.st_mode))
        return copy_file(from, root, to, err);
    if (S_ISDIR(st.st_mode) && (st.st_mode & 05) == 05)
        return copy_folder(from, root, to, depth, cancel, err);
    return 0;
}

int tree_copy(const char *from, int root, const char *to, const atomic_bool *cancel, struct err *err)
{
    return copy(from, root, to, COPY_DEPTH, cancel, err);
}
