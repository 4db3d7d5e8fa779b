#include "http/client.h"

#include "base/fd.h"
#include "base/mem.h"
#include "base/time.h"
#include "http/parser.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECT_MS = 5000,
    HEADER_COUNT_MAX = 100,
    HEADER_BYTES_MAX = 64 * 1024,
    BODY_MAX = 64 * 1024 * 1024,
    READ_SIZE = 64 * 1024,
};

struct url {
    char host[256], port[8];
    struct str authority, target;
};

/* What the parser's callbacks need. */
struct exchange {
    const struct http_call *call;
    struct http_reply *reply;
    struct http_header *headers;
    struct buf text; /* of the open header: name, then value */
    size_t name_length;
    bool in_value, done, stopped, too_big;
    size_t header_bytes;
};

/* ---- the URL ---- */

static int url_parse(struct str text, struct url *url, struct err *err)
{
    struct str rest = text, host, port;
    size_t end = 0;

    if (!str_starts(text, S("http://")))
        return err_plain(err, "'" STR_FMT "' is not an http:// address", STR_ARG(text));
    rest = str_skip(rest, 7);
    while (end < rest.len && rest.p[end] != '/' && rest.p[end] != '?')
        end++;
    url->authority = str_first(rest, end);
    url->target = str_skip(rest, end);
    port = url->authority;
    if (port.len && port.p[0] == '[') {
        port = str_skip(port, 1);
        host = str_cut(&port, ']');
        port = port.len && port.p[0] == ':' ? str_skip(port, 1) : (struct str){0};
    } else {
        host = str_cut(&port, ':');
    }
    if (!port.p)
        port = S("80");
    if (!host.len || !port.len || !str_to_z(host, url->host, sizeof url->host) ||
        !str_to_z(port, url->port, sizeof url->port))
        return err_plain(err, "'" STR_FMT "' names no host", STR_ARG(text));
    return 0;
}

/* ---- the socket ---- */

/* Until one of `events` is there. 0, or -ETIMEDOUT, or another -errno. timeout_ms 0: for ever. */
static int wait_for(int fd, short events, unsigned timeout_ms, short *ret)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    int64_t deadline = time_monotonic_us() + (int64_t)timeout_ms * 1000;

    for (;;) {
        int64_t left = timeout_ms ? (deadline - time_monotonic_us() + 999) / 1000 : -1;
        int n = poll(&poll_fd, 1, timeout_ms && left < 0 ? 0 : (int)left);

        if (n > 0) {
            *ret = poll_fd.revents;
            return 0;
        }
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static int connect_one(const struct addrinfo *address, unsigned timeout_ms)
{
    AUTO_FD fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0, result, on = 1;
    socklen_t size = sizeof error;
    short events;

    if (fd < 0)
        return -errno;
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0) {
        if (errno != EINPROGRESS)
            return -errno;
        int r = wait_for(fd, POLLOUT, timeout_ms, &events);
        if (r < 0)
            return r;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
            return -errno;
        if (error)
            return -error;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    result = fd;
    fd = -1;
    return result;
}

static int connect_any(const struct url *url, unsigned timeout_ms, int *ret_fd, struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int r = getaddrinfo(url->host, url->port, &hints, &list), fd = -ENOENT;

    if (r)
        return err_plain(err, "find %s: %s", url->host, gai_strerror(r));
    for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
        fd = connect_one(at, timeout_ms);
    freeaddrinfo(list);
    if (fd < 0)
        return err_os(err, -fd, "connect to %s port %s", url->host, url->port);
    *ret_fd = fd;
    return 0;
}

/* ---- sending ---- */

static bool has_line_end(struct str s)
{
    return s.len && (memchr(s.p, '\r', s.len) || memchr(s.p, '\n', s.len));
}

static int make_head(const struct http_call *call, const struct url *url, struct buf *head, struct err *err)
{
    if (has_line_end(call->method) || has_line_end(call->url))
        return err_plain(err, "a line end in the request");
    buf_printf(head, STR_FMT " " STR_FMT STR_FMT " HTTP/1.1\r\nHost: " STR_FMT "\r\n", STR_ARG(call->method),
               STR_ARG(url->target.len && url->target.p[0] == '/' ? S("") : S("/")), STR_ARG(url->target),
               STR_ARG(url->authority));
    for (size_t i = 0; i < call->header_count; i++) {
        if (has_line_end(call->headers[i].name) || has_line_end(call->headers[i].value))
            return err_plain(err, "a line end in a header");
        buf_printf(head, STR_FMT ": " STR_FMT "\r\n", STR_ARG(call->headers[i].name), STR_ARG(call->headers[i].value));
    }
    if (call->body.len || str_equal(call->method, S("POST")) || str_equal(call->method, S("PUT")))
        buf_printf(head, "Content-Length: %zu\r\n", call->body.len);
    if (call->upgrade.p)
        buf_printf(head, "Connection: Upgrade\r\nUpgrade: " STR_FMT "\r\n\r\n", STR_ARG(call->upgrade));
    else
        buf_append(head, S("Connection: close\r\n\r\n"));
    return 0;
}

/* All of it, unless the server answers first: what it says then matters more. */
static int send_all(int fd, struct str bytes, unsigned silence_ms, struct err *err)
{
    while (bytes.len) {
        short events;
        int r = wait_for(fd, POLLOUT | POLLIN, silence_ms, &events);
        ssize_t n;

        if (r < 0)
            return err_os(err, -r, "send the request");
        if (events & POLLIN)
            return 0;
        n = send(fd, bytes.p, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return 0; /* its answer may be there */
        if (n < 0)
            return err_os(err, errno, "send the request");
        bytes = str_skip(bytes, (size_t)n);
    }
    return 0;
}

/* ---- the answer ---- */

static void close_header(struct exchange *x)
{
    struct http_reply *reply = x->reply;
    struct str text = buf_str(&x->text);

    if (!x->in_value)
        return;
    x->headers[reply->header_count++] = (struct http_header){
        arena_str(&reply->arena, str_first(text, x->name_length)),
        str_trim(arena_str(&reply->arena, str_skip(text, x->name_length)))};
    x->text.len = 0;
    x->in_value = false;
}

static int append_header(struct exchange *x, const char *at, size_t len)
{
    x->header_bytes += len;
    if (x->header_bytes > HEADER_BYTES_MAX || x->reply->header_count >= HEADER_COUNT_MAX) {
        x->too_big = true;
        return HPE_USER;
    }
    buf_append(&x->text, (struct str){at, len});
    return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
    struct exchange *x = parser->data;

    close_header(x);
    return append_header(x, at, len);
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
    struct exchange *x = parser->data;

    if (!x->in_value)
        x->name_length = x->text.len;
    x->in_value = true;
    return append_header(x, at, len);
}

static int on_headers_complete(llhttp_t *parser)
{
    struct exchange *x = parser->data;

    close_header(x);
    x->reply->status = parser->status_code;
    return str_equal(x->call->method, S("HEAD")) ? 1 : 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct exchange *x = parser->data;

    if (x->call->on_body && x->reply->status / 100 == 2) {
        x->stopped = !x->call->on_body(x->call->cookie, (struct str){at, len});
        return x->stopped ? HPE_USER : 0;
    }
    if (x->reply->body.len + len > BODY_MAX) {
        x->too_big = true;
        return HPE_USER;
    }
    buf_append(&x->reply->body, (struct str){at, len});
    return 0;
}

/* 100 (Continue) and its like come before the answer. */
static int on_message_complete(llhttp_t *parser)
{
    struct exchange *x = parser->data;

    if (x->reply->status / 100 == 1 && x->reply->status != 101) {
        x->reply->header_count = 0;
        return 0;
    }
    x->done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static int parse(llhttp_t *parser, struct str bytes, struct err *err)
{
    struct exchange *x = parser->data;
    llhttp_errno_t error = llhttp_execute(parser, bytes.p, bytes.len);

    if (x->done) {
        size_t taken = (size_t)(llhttp_get_error_pos(parser) - bytes.p);
        if (x->reply->status == 101)
            buf_append(&x->reply->early, str_skip(bytes, taken));
        return 0;
    }
    if (error == HPE_OK || x->stopped)
        return 0;
    if (x->too_big)
        return err_plain(err, "the answer is too long");
    return err_plain(err, "the answer is not HTTP: %s", llhttp_errno_name(error));
}

static int parse_end(llhttp_t *parser, struct err *err)
{
    struct exchange *x = parser->data;
    llhttp_errno_t error = llhttp_finish(parser);

    if ((error == HPE_OK || error == HPE_PAUSED) && x->done)
        return 0;
    return err_os(err, ECONNRESET, "the server closed the connection before its answer was whole");
}

static int receive(int fd, llhttp_t *parser, unsigned silence_ms, struct err *err)
{
    struct exchange *x = parser->data;
    AUTO_FREE char *bytes = mem_resize(NULL, READ_SIZE);

    while (!x->done && !x->stopped) {
        short events;
        ssize_t n;
        int r = wait_for(fd, POLLIN, silence_ms, &events);

        if (r < 0)
            return err_os(err, -r, "wait for the answer");
        n = recv(fd, bytes, READ_SIZE, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return err_os(err, errno, "read the answer");
        r = n ? parse(parser, (struct str){bytes, (size_t)n}, err) : parse_end(parser, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int exchange_run(const struct http_call *call, struct http_reply *reply, int fd, struct err *err)
{
    struct exchange x = {.call = call, .reply = reply};
    llhttp_t parser;
    int r;

    x.headers = arena_array(&reply->arena, struct http_header, HEADER_COUNT_MAX + 1);
    reply->headers = x.headers;
    llhttp_init(&parser, HTTP_RESPONSE, &settings);
    parser.data = &x;
    r = receive(fd, &parser, call->silence_ms, err);
    buf_free(&x.text);
    return r;
}

int http_call(const struct http_call *call, struct http_reply *reply, struct err *err)
{
    struct url url;
    AUTO_BUF request = BUF_INIT;
    AUTO_FD fd = -1;
    int r = url_parse(call->url, &url, err);

    if (r < 0)
        return r;
    r = make_head(call, &url, &request, err);
    if (r < 0)
        return r;
    r = connect_any(&url, call->connect_ms ? call->connect_ms : CONNECT_MS, &fd, err);
    if (r < 0)
        return r;
    buf_append(&request, call->body);
    r = send_all(fd, buf_str(&request), call->silence_ms, err);
    if (r == 0)
        r = exchange_run(call, reply, fd, err);
    if (r == 0 && reply->status == 101) {
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        reply->fd = fd;
        fd = -1;
    }
    return r;
}

struct str http_reply_header(const struct http_reply *reply, struct str name)
{
    for (size_t i = 0; i < reply->header_count; i++)
        if (str_equal_nocase(reply->headers[i].name, name))
            return reply->headers[i].value;
    return (struct str){0};
}

void http_reply_free(struct http_reply *reply)
{
    fd_close(&reply->fd);
    buf_free(&reply->body);
    buf_free(&reply->early);
    arena_free(&reply->arena);
    *reply = HTTP_REPLY_INIT;
}
