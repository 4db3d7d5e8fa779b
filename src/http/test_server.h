/*
 * For tests: a real server on a loopback port and raw sockets against it, all on one thread: whoever waits for bytes
 * turns the loop meanwhile. What the handler does goes by path, see on_request.
 */
#pragma once

#include "base/mem.h"
#include "base/time.h"
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

enum { PATIENCE_MS = 3000 };
#define BIG_TOTAL (50u << 20)

struct fixture {
    uv_loop_t loop;
    struct http_server *server;
    struct http_listener *listener;
    struct buf heard; /* what the last hear… got, without Date */
    struct http_request *parked, *paused;
    struct http_socket *socket;
    int heads, requests, gone, ends, closes, pieces;
    size_t streamed, big_sent;
    bool pause, stopped;
};

#define FIXTURE_FUNCTION static __attribute__((unused))

FIXTURE_FUNCTION void answer_text(struct http_request *request, int status, struct str text)
{
    buf_append(&request->answer, text);
    http_answer(request, status, S("text/plain"), NULL, 0, &request->answer);
}

FIXTURE_FUNCTION void on_gone(void *arg, struct http_request *request)
{
    struct fixture *f = arg;

    f->gone++;
    f->parked = NULL;
}

FIXTURE_FUNCTION void send_big(void *arg, struct http_request *request)
{
    static char block[32 * 1024];
    struct fixture *f = arg;
    bool go_on = true;

    while (go_on && f->big_sent < BIG_TOTAL) {
        f->big_sent += sizeof block;
        go_on = http_answer_chunk(request, (struct str){block, sizeof block});
    }
    if (f->big_sent >= BIG_TOTAL)
        http_answer_end(request);
}

FIXTURE_FUNCTION bool socket_bytes(void *cookie, struct http_socket *socket, struct str bytes)
{
    struct fixture *f = cookie;

    f->streamed += bytes.len;
    if (str_equal(bytes, S("close")))
        http_socket_close(socket);
    else
        http_socket_write(socket, bytes);
    return !f->pause;
}

FIXTURE_FUNCTION void socket_end(void *cookie, struct http_socket *socket)
{
    struct fixture *f = cookie;

    f->ends++;
    http_socket_write(socket, S("bye"));
    http_socket_end(socket);
}

FIXTURE_FUNCTION void socket_close(void *cookie, struct http_socket *socket)
{
    struct fixture *f = cookie;

    f->closes++;
    f->socket = NULL;
}

FIXTURE_FUNCTION enum http_body fixture_head(void *cookie, struct http_request *request)
{
    struct fixture *f = cookie;

    f->heads++;
    if (str_equal(request->path, S("/refuse")))
        answer_text(request, 403, S("no"));
    if (str_equal(request->path, S("/stream-begun")))
        http_answer_begin(request, 200, S("text/plain"), NULL, 0);
    if (str_equal(request->path, S("/gone")))
        http_on_gone(request, on_gone, f);
    return str_starts(request->path, S("/stream")) ? HTTP_BODY_STREAMED : HTTP_BODY_WHOLE;
}

FIXTURE_FUNCTION bool fixture_body(void *cookie, struct http_request *request, struct str piece)
{
    struct fixture *f = cookie;

    f->pieces++;
    f->streamed += piece.len;
    f->paused = request;
    if (str_equal(request->path, S("/stream-refuse")))
        answer_text(request, 400, S("enough"));
    return !f->pause;
}

FIXTURE_FUNCTION void fixture_request(void *cookie, struct http_request *request)
{
    struct fixture *f = cookie;

    f->requests++;
    if (str_equal(request->path, S("/echo"))) {
        struct buf body = http_take_body(request);
        http_answer(request, 200, S("text/plain"), NULL, 0, &body);
    } else if (str_starts(request->path, S("/stream"))) {
        buf_printf(&request->answer, "%zu", f->streamed);
        http_answer(request, 200, S("text/plain"), NULL, 0, &request->answer);
    } else if (str_equal(request->path, S("/park"))) {
        f->parked = request;
        http_on_gone(request, on_gone, f);
    } else if (str_equal(request->path, S("/chunks"))) {
        http_answer_begin(request, 200, S("text/plain"), NULL, 0);
        http_answer_chunk(request, S("one"));
        http_answer_chunk(request, S("twenty characters ok"));
        http_answer_end(request);
    } else if (str_equal(request->path, S("/big"))) {
        http_answer_begin(request, 200, S("application/octet-stream"), NULL, 0);
        http_on_drain(request, send_big, f);
        http_on_gone(request, on_gone, f);
        send_big(f, request);
    } else if (str_equal(request->path, S("/big-whole"))) {
        AUTO_BUF body = BUF_INIT;
        memset(buf_reserve(&body, BIG_TOTAL), 'x', BIG_TOTAL);
        body.len = BIG_TOTAL;
        http_answer(request, 200, S("text/plain"), NULL, 0, &body);
    } else if (str_equal(request->path, S("/upgrade"))) {
        f->socket = http_upgrade(request, S("raw"), NULL, 0,
                                 &(struct http_socket_events){f, socket_bytes, socket_end, NULL, socket_close});
        if (!f->socket)
            answer_text(request, 426, S("upgrade"));
    } else if (str_equal(request->path, S("/none"))) {
        http_answer(request, 204, (struct str){0}, NULL, 0, NULL);
    } else if (str_equal(request->path, S("/inject"))) {
        struct http_header header = {S("X-Note"), S("a\r\nSet-Cookie: b")};
        http_answer(request, 200, S("text/plain"), &header, 1, NULL);
    } else if (str_equal(request->path, S("/query"))) {
        answer_text(request, 200, request->query.p ? request->query : S("absent"));
    } else if (str_equal(request->path, S("/peer"))) {
        buf_printf(&request->answer, STR_FMT " %d %d", STR_ARG(request->peer), request->peer_is_loopback,
                   request->listener_is_loopback);
        http_answer(request, 200, S("text/plain"), NULL, 0, &request->answer);
    } else if (str_equal(request->path, S("/host"))) {
        answer_text(request, 200, request->host);
    } else if (str_equal(request->path, S("/header"))) {
        answer_text(request, 200, http_header(request, S("x-test")));
    } else {
        answer_text(request, 200, S("ok"));
    }
}

FIXTURE_FUNCTION void fixture_start_at(struct fixture *f, const struct http_limits *limits, struct str address)
{
    struct err err = ERR_INIT;
    struct http_handler handler = {f, fixture_head, fixture_body, fixture_request};

    *f = (struct fixture){0};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->server = http_server_new(&f->loop, limits);
    assert_int_equal(http_server_listen(f->server, address, &handler, &f->listener, &err), 0);
}

FIXTURE_FUNCTION void fixture_start(struct fixture *f, const struct http_limits *limits)
{
    fixture_start_at(f, limits, S("127.0.0.1:0"));
}

FIXTURE_FUNCTION void on_stopped(void *arg)
{
    struct fixture *f = arg;

    f->stopped = true;
}

FIXTURE_FUNCTION void turn(struct fixture *f)
{
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

FIXTURE_FUNCTION void turn_for(struct fixture *f, int ms)
{
    int64_t end = time_monotonic_us() + ms * 1000;

    while (time_monotonic_us() < end) {
        turn(f);
        usleep(1000);
    }
}

FIXTURE_FUNCTION void fixture_stop(struct fixture *f)
{
    if (!f->stopped)
        http_server_stop(f->server, 0, on_stopped, f);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->stopped);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    buf_free(&f->heard);
}

FIXTURE_FUNCTION int dial_with(struct fixture *f, int receive_buffer)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(http_listener_port(f->listener))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    turn(f);
    return fd;
}

FIXTURE_FUNCTION int dial(struct fixture *f)
{
    return dial_with(f, 0);
}

/* How many it took before the server closed. */
FIXTURE_FUNCTION size_t say(struct fixture *f, int fd, struct str bytes)
{
    int64_t end = time_monotonic_us() + PATIENCE_MS * 1000;
    size_t sent = 0;

    while (sent < bytes.len && time_monotonic_us() < end) {
        ssize_t n = send(fd, bytes.p + sent, bytes.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return sent;
        sent += n > 0 ? (size_t)n : 0;
        turn(f);
    }
    return sent;
}

FIXTURE_FUNCTION void drop_dates(struct buf *heard)
{
    char *at;

    buf_byte(heard, 0);
    heard->len--;
    while ((at = memmem(heard->p, heard->len, "Date: ", 6))) {
        char *end = memmem(at, heard->len - (size_t)(at - heard->p), "\r\n", 2);
        if (!end)
            return;
        memmove(at, end + 2, heard->len - (size_t)(end + 2 - heard->p) + 1);
        heard->len -= (size_t)(end + 2 - at);
    }
}

/* Until `what` has come, or (absent) until the server closes. */
FIXTURE_FUNCTION struct str hear_until(struct fixture *f, int fd, struct str what)
{
    int64_t end = time_monotonic_us() + PATIENCE_MS * 1000;

    f->heard.len = 0;
    while (time_monotonic_us() < end) {
        ssize_t n = recv(fd, buf_reserve(&f->heard, 65536), 65536, 0);
        if (n > 0)
            f->heard.len += (size_t)n;
        else if (n == 0 || errno != EAGAIN)
            break;
        if (what.p && str_contains(buf_str(&f->heard), what))
            break;
        turn(f);
    }
    if (time_monotonic_us() >= end)
        print_message("nothing more came; so far: " STR_FMT "\n", STR_ARG(str_first(buf_str(&f->heard), 200)));
    drop_dates(&f->heard);
    return buf_str(&f->heard);
}

FIXTURE_FUNCTION struct str hear_end(struct fixture *f, int fd)
{
    return hear_until(f, fd, (struct str){0});
}

FIXTURE_FUNCTION void assert_heard(struct str heard, const char *expected)
{
    AUTO_FREE char *text = mem_printf(STR_FMT, STR_ARG(heard));

    assert_string_equal(text, expected);
}

/* One connection, one request, until the server closes. */
FIXTURE_FUNCTION void assert_exchange(struct fixture *f, struct str request, const char *expected)
{
    int fd = dial(f);

    say(f, fd, request);
    assert_heard(hear_end(f, fd), expected);
    close(fd);
}

/* Turns the loop until it holds. */
#define turn_until(f, condition)                                 \
    do {                                                         \
        int64_t end_ = time_monotonic_us() + PATIENCE_MS * 1000; \
        while (!(condition) && time_monotonic_us() < end_) {     \
            turn(f);                                             \
            usleep(200);                                         \
        }                                                        \
        assert_true(condition);                                  \
    } while (0)
