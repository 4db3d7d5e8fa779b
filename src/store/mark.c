#include "store/mark.h"

#include "store/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

enum { LOCK_TRIES = 50, LOCK_PAUSE_US = 20000 };

static const char magic[8] = "haarmark";

struct stored {
    char magic[8];
    struct mark mark;
    uint64_t sum;
};

static uint64_t sum_of(const struct mark *mark)
{
    return bytes_sum((struct str){(const char *)mark, sizeof *mark});
}

int mark_write(int fd, const struct mark *mark)
{
    struct stored stored = {.mark = *mark, .sum = sum_of(mark)};
    ssize_t n;

    memcpy(stored.magic, magic, sizeof magic);
    n = pwrite(fd, &stored, sizeof stored, 0);
    return n == sizeof stored ? 0 : n < 0 ? -errno : -EIO;
}

/* A server that was killed while it started a program leaves a child that has the descriptor too, until it is that
 * program: so not at once. */
static int take_lock(int fd)
{
    for (int i = 1; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK)
            return -errno;
        if (i == LOCK_TRIES)
            return -EBUSY;
        usleep(LOCK_PAUSE_US);
    }
    return 0;
}

int mark_open(const char *path, struct mark *ret, int *ret_fd, struct err *err)
{
    struct stored stored;
    bool whole;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), r;

    if (fd < 0)
        return err_os(err, errno, "open %s", path);
    r = take_lock(fd);
    if (r < 0) {
        close(fd);
        return err_os(err, -r, "lock %s", path);
    }
    whole = pread(fd, &stored, sizeof stored, 0) == sizeof stored && memcmp(stored.magic, magic, sizeof magic) == 0 &&
            stored.sum == sum_of(&stored.mark);
    *ret = whole ? stored.mark : (struct mark){0};
    *ret_fd = fd;
    return whole;
}
