#include "store/wal.h"

#include "base/fd.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
    HEADER = 32,
    FRAME = 24,
    MAGIC = 0x377f0682, /* or one more: sums are then of big-endian words */
    PAGE_MIN = 512,
    PAGE_MAX = 65536,
};

static uint32_t word(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t salt_of(const unsigned char *at)
{
    return (uint64_t)word(at) << 32 | word(at + 4);
}

struct sum {
    bool big_endian;
    uint32_t first, second;
};

static uint32_t summand(const struct sum *sum, const unsigned char *p)
{
    return sum->big_endian ? word(p) : __builtin_bswap32(word(p));
}

static void add(struct sum *sum, const unsigned char *p, size_t size)
{
    for (size_t i = 0; i < size; i += 8) {
        sum->first += summand(sum, p + i) + sum->second;
        sum->second += summand(sum, p + i + 4) + sum->first;
    }
}

static bool is(const struct sum *sum, const unsigned char *at)
{
    return sum->first == word(at) && sum->second == word(at + 4);
}

/* The page's size; 0: the header is not whole. */
static size_t take_header(FILE *file, struct sum *sum, uint64_t *ret_salt)
{
    unsigned char header[HEADER];
    size_t page;

    if (fread(header, 1, sizeof header, file) != sizeof header || (word(header) & ~1u) != MAGIC)
        return 0;
    page = word(header + 8);
    sum->big_endian = word(header) & 1;
    add(sum, header, 24);
    if (page < PAGE_MIN || page > PAGE_MAX || !is(sum, header + 24))
        return 0;
    *ret_salt = salt_of(header + 16);
    return page;
}

static void take_frames(FILE *file, struct sum *sum, size_t page, struct wal *wal)
{
    AUTO_FREE unsigned char *frame = mem_alloc(FRAME + page);

    for (uint64_t n = 1; fread(frame, 1, FRAME + page, file) == FRAME + page; n++) {
        add(sum, frame, 8);
        add(sum, frame + FRAME, page);
        if (salt_of(frame + 8) != wal->salt || !is(sum, frame + 16))
            return;
        if (word(frame + 4)) /* the last of a transaction */
            wal->frames = n;
    }
}

int wal_read(const char *path, struct wal *ret, struct err *err)
{
    FILE *file = fopen(path, "re");
    struct sum sum = {0};
    size_t page;

    *ret = (struct wal){0};
    if (!file)
        return errno == ENOENT ? 0 : err_os(err, errno, "open %s", path);
    page = take_header(file, &sum, &ret->salt);
    if (page)
        take_frames(file, &sum, page, ret);
    fclose(file);
    return 0;
}

uint64_t wal_salt(const char *path)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned char salt[8];

    return fd >= 0 && pread(fd, salt, sizeof salt, 16) == sizeof salt ? salt_of(salt) : 0;
}
