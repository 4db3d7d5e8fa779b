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

/* Older bytes may be overwritten while they are read: the monitor writes first and says so then. */
enum { KEPT = MONITOR_RING - 65536 };

static uint64_t oldest(uint64_t total)
{
    return total > KEPT ? total - KEPT : 0;
}

static void drop_at(struct buf *out, size_t at, size_t size)
{
    memmove(out->p + at, out->p + at + size, out->len - at - size);
    out->len -= size;
}

int console_read_from(int fd, uint64_t from, size_t limit, struct buf *out, struct console_piece *ret, struct err *err)
{
    uint64_t total = 0, to, kept;
    size_t start = out->len;

    *ret = (struct console_piece){from, from, 0};
    if (!read_head(fd, &total))
        return 0;
    ret->total = total;
    if (from >= total)
        return 0;
    from = from < oldest(total) ? oldest(total) : from;
    to = total - from < limit ? total : from + limit;
    if (!read_range(fd, from, to, out))
        return err_os(err, EIO, "read a console");
    if (read_head(fd, &total) && oldest(total) > from) { /* what was overwritten meanwhile is not what it was */
        kept = oldest(total) < to ? oldest(total) : to;
        drop_at(out, start, (size_t)(kept - from));
        from = kept;
    }
    *ret = (struct console_piece){from, to, total};
    return 0;
}

int console_read_last(const char *path, size_t limit, struct buf *out, uint64_t *ret_total, struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    struct console_piece piece;
    uint64_t total = 0;
    int r;

    *ret_total = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : err_os(err, errno, "open %s", path);
    read_head(fd, &total);
    r = console_read_from(fd, total > limit ? total - limit : 0, limit, out, &piece, err);
    *ret_total = piece.to;
    return r;
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
