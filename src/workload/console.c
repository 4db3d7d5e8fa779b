#include "workload/console.h"
#include "base/fd.h"
#include "guest/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static bool read_head(int fd, uint64_t *ret_total)
{
    struct monitor_ring head;

    if (pread(fd, &head, sizeof head, 0) != sizeof head || memcmp(head.magic, "haarcons", sizeof head.magic) != 0)
        return false;
    *ret_total = head.total;
    return true;
}

static bool read_range(int fd, uint64_t from, uint64_t to, struct buf *out)
{
    while (from < to) {
        size_t at = from % MONITOR_RING;
        size_t n = to - from < MONITOR_RING - at ? (size_t)(to - from) : MONITOR_RING - at;

        if (pread(fd, buf_reserve(out, n), n, (off_t)(sizeof(struct monitor_ring) + at)) != (ssize_t)n)
            return false;
        out->len += n;
        from += n;
    }
    return true;
}

int console_read_last(const char *path, size_t limit, struct buf *out, uint64_t *ret_total, struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t total = 0, after;
    size_t start = out->len;

    *ret_total = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : err_os(err, errno, "open %s", path);
    /* Not the ring's last 64 KiB behind: bytes that the monitor may be overwriting as we read. */
    limit = limit < MONITOR_RING - 65536 ? limit : MONITOR_RING - 65536;
    for (int i = 0; i < 8 && read_head(fd, &total); i++) {
        out->len = start;
        if (!read_range(fd, total > limit ? total - limit : 0, total, out))
            return err_os(err, EIO, "read %s", path);
        if (read_head(fd, &after) && after - total < 65536)
            break; /* nothing that we read has been overwritten meanwhile */
    }
    *ret_total = total;
    return 0;
}

int console_append(const char *path, struct str text, struct err *err)
{
    struct monitor_ring head = {0};
    AUTO_FD fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return err_os(err, errno, "open %s", path);
    memcpy(head.magic, "haarcons", sizeof head.magic);
    read_head(fd, &head.total);
    while (text.len) {
        size_t at = head.total % MONITOR_RING;
        size_t n = text.len < MONITOR_RING - at ? text.len : MONITOR_RING - at;

        if (pwrite(fd, text.p, n, (off_t)(sizeof head + at)) != (ssize_t)n)
            return err_os(err, EIO, "write %s", path);
        head.total += n;
        text = str_skip(text, n);
    }
    return pwrite(fd, &head, sizeof head, 0) == sizeof head ? 0 : err_os(err, EIO, "write %s", path);
}
