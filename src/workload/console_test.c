#include "workload/console.h"
#include "base/fd.h"
#include "guest/monitor.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct ring {
    char path[32];
    int fd;
};

static int make_ring(void **state)
{
    static struct ring ring;

    snprintf(ring.path, sizeof ring.path, "/tmp/haar-ring-XXXXXX");
    ring.fd = mkstemp(ring.path);
    *state = &ring;
    return ring.fd < 0 ? -1 : 0;
}

static int remove_ring(void **state)
{
    struct ring *ring = *state;

    fd_close(&ring->fd);
    return unlink(ring->path);
}

static void write_text(const struct ring *ring, const char *text)
{
    struct err err = ERR_INIT;

    assert_int_equal(console_append(ring->path, str_of(text), &err), 0);
}

/* 16 bytes a line: "line 0000000000\n", … */
static void write_lines(const struct ring *ring, unsigned first, unsigned count)
{
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;

    for (unsigned i = first; i < first + count; i++)
        buf_printf(&text, "line %010u\n", i);
    assert_int_equal(console_append(ring->path, buf_str(&text), &err), 0);
}

static struct console_piece read_from(const struct ring *ring, uint64_t from, size_t limit, struct buf *out)
{
    struct console_piece piece;
    struct err err = ERR_INIT;

    out->len = 0;
    assert_int_equal(console_read_from(ring->fd, from, limit, out, &piece, &err), 0);
    assert_int_equal(piece.to - piece.from, out->len);
    return piece;
}

static void an_empty_ring_has_nothing_to_read(void **state)
{
    AUTO_BUF out = BUF_INIT;
    struct console_piece piece = read_from(*state, 7, 100, &out);

    assert_int_equal(piece.from, 7);
    assert_int_equal(piece.to, 7);
    assert_int_equal(piece.total, 0);
}

static void a_reader_goes_on_where_it_was(void **state)
{
    AUTO_BUF out = BUF_INIT;
    struct console_piece piece;

    write_text(*state, "hello, ");
    piece = read_from(*state, 0, 100, &out);
    assert_true(str_equal(buf_str(&out), S("hello, ")));
    write_text(*state, "world");
    piece = read_from(*state, piece.to, 3, &out);
    assert_true(str_equal(buf_str(&out), S("wor")));
    assert_int_equal(piece.total, 12);
    piece = read_from(*state, piece.to, 100, &out);
    assert_true(str_equal(buf_str(&out), S("ld")));
    piece = read_from(*state, piece.to, 100, &out);
    assert_int_equal(out.len, 0);
    assert_int_equal(piece.from, 12);
}

static void a_reader_that_was_overtaken_is_told_where_it_is(void **state)
{
    AUTO_BUF out = BUF_INIT;
    struct console_piece piece;
    char first[24];

    write_lines(*state, 0, 200000); /* 3.2 MB */
    piece = read_from(*state, 160, 32, &out);
    assert_int_equal(piece.total, 3200000);
    assert_true(piece.from > piece.total - MONITOR_RING);
    assert_int_equal(piece.to, piece.from + 32);
    snprintf(first, sizeof first, "%010llu", (unsigned long long)((piece.from + 15) / 16));
    assert_non_null(memmem(out.p, out.len, first, 10));
}

static void the_last_bytes_are_those_at_the_end(void **state)
{
    const struct ring *ring = *state;
    AUTO_BUF out = BUF_INIT;
    struct err err = ERR_INIT;
    uint64_t total;

    write_lines(ring, 0, 100000);
    assert_int_equal(console_read_last(ring->path, 32, &out, &total, &err), 0);
    assert_true(str_equal(buf_str(&out), S("line 0000099998\nline 0000099999\n")));
    assert_int_equal(total, 1600000);
    out.len = 0;
    assert_int_equal(console_read_last(ring->path, SIZE_MAX, &out, &total, &err), 0);
    assert_in_range(out.len, MONITOR_RING - 65536, MONITOR_RING);
    assert_true(str_ends(buf_str(&out), S("line 0000099999\n")));
}

/* A console in which each eight bytes say where they stand. */
enum { PIECE = 48 * 1024, PIECES = 1000 };

static void *write_much(void *arg)
{
    const struct ring *ring = arg;
    uint64_t words[PIECE / 8];
    struct err err = ERR_INIT;

    for (uint64_t at = 0; at < (uint64_t)PIECES * PIECE; at += PIECE) {
        for (size_t i = 0; i < PIECE / 8; i++)
            words[i] = at + i * 8;
        if (console_append(ring->path, (struct str){(const char *)words, PIECE}, &err) < 0)
            return arg;
    }
    return NULL;
}

static void assert_is_what_was_written(const struct console_piece *piece, struct str bytes)
{
    for (uint64_t at = (piece->from + 7) / 8 * 8; at + 8 <= piece->to; at += 8)
        assert_memory_equal(bytes.p + (at - piece->from), &at, 8);
}

/* The whole ring is read, again and again, while another thread writes over it. */
static void what_is_overwritten_while_it_is_read_is_not_shown(void **state)
{
    AUTO_BUF out = BUF_INIT;
    struct console_piece piece = {0};
    pthread_t writer;
    void *failed;

    assert_int_equal(pthread_create(&writer, NULL, write_much, *state), 0);
    while (piece.total < (uint64_t)PIECES * PIECE) {
        piece = read_from(*state, 0, MONITOR_RING, &out);
        assert_is_what_was_written(&piece, buf_str(&out));
    }
    pthread_join(writer, &failed);
    assert_null(failed);
}

static void a_ring_can_be_read_after_it_was_removed(void **state)
{
    struct ring *ring = *state;
    AUTO_BUF out = BUF_INIT;

    write_text(ring, "last words");
    assert_int_equal(unlink(ring->path), 0);
    read_from(ring, 0, 100, &out);
    assert_true(str_equal(buf_str(&out), S("last words")));
    write_text(ring, "another's"); /* for the teardown to remove */
}

int main(void)
{
#define WITH_RING(test) cmocka_unit_test_setup_teardown(test, make_ring, remove_ring)
    const struct CMUnitTest tests[] = {
        WITH_RING(an_empty_ring_has_nothing_to_read),
        WITH_RING(a_reader_goes_on_where_it_was),
        WITH_RING(a_reader_that_was_overtaken_is_told_where_it_is),
        WITH_RING(the_last_bytes_are_those_at_the_end),
        WITH_RING(what_is_overwritten_while_it_is_read_is_not_shown),
        WITH_RING(a_ring_can_be_read_after_it_was_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
