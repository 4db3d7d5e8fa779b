/* Answers: their heads, whole or in pieces, and the queue behind a socket that does not take all at once. */
#include "base/mem.h"
#include "http/connection.h"

#include <time.h>

enum {
    QUEUE_FACTOR = 16, /* times answer_bytes: who queues more is dropped */
    PROTOCOL_MAX = 100,
    COPIED_MAX = 1024, /* bodies up to this are sent in one piece with their head: cheaper than two */
};

/* ---- the queue ---- */

struct write {
    uv_write_t request;
    struct http_connection *connection;
    struct buf own;
    char copied[];
};

static uv_stream_t *stream_of(struct http_connection *c)
{
    return (uv_stream_t *)&c->tcp;
}

static size_t queued(const struct http_connection *c)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
}

void answer_drained(struct http_connection *c)
{
    struct http_exchange *x = c->exchange;

    if (!c->drain_wanted || c->phase == PHASE_CLOSED || queued(c) > c->server->limits.answer_bytes / 2 ||
        server_is_full(c->server, 0))
        return;
    c->drain_wanted = false;
    if (c->phase == PHASE_UPGRADED) {
        if (c->socket.events.on_drain)
            c->socket.events.on_drain(c->socket.events.cookie, &c->socket);
    } else if (x && !x->finished && x->drain) {
        x->drain(x->drain_arg, &x->request);
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct write *write = (struct write *)request;
    struct http_connection *c = write->connection;

    buf_free(&write->own);
    free(write);
    if (c->phase == PHASE_CLOSED)
        return;
    if (status < 0) {
        connection_close(c);
        return;
    }
    c->write_progress_at = uv_now(c->server->loop);
    connection_account(c);
    answer_drained(c);
}

/* What is left of `part` once `*sent` bytes of all parts are out. */
static struct str unsent(struct str part, size_t *sent)
{
    size_t n = *sent < part.len ? *sent : part.len;

    *sent -= n;
    return str_skip(part, n);
}

static void enqueue(struct http_connection *c, const struct str parts[3], size_t sent, struct buf *own)
{
    struct str left[3] = {unsent(parts[0], &sent), unsent(parts[1], &sent), unsent(parts[2], &sent)};
    struct write *write = mem_resize(NULL, sizeof *write + left[0].len + (own ? 0 : left[1].len) + left[2].len);
    char *at = write->copied;
    uv_buf_t bufs[3];

    for (int i = 0; i < 3; i++) {
        bufs[i] = uv_buf_init((char *)left[i].p, (unsigned)left[i].len);
        if (i == 1 && own)
            continue;
        if (left[i].len)
            memcpy(at, left[i].p, left[i].len);
        bufs[i].base = at;
        at += left[i].len;
    }
    write->connection = c;
    write->own = own ? *own : BUF_INIT;
    if (own)
        *own = BUF_INIT;
    if (queued(c) == 0)
        c->write_progress_at = uv_now(c->server->loop);
    if (uv_write(&write->request, stream_of(c), bufs, 3, on_written) < 0) {
        buf_free(&write->own);
        free(write);
        connection_ready(c, READY_CLOSE);
    }
}

void answer_send(struct http_connection *c, struct str head, struct str bytes, struct buf *own, struct str tail)
{
    struct str parts[3] = {head, own ? buf_str(own) : bytes, tail};
    size_t total = parts[0].len + parts[1].len + parts[2].len;
    uv_buf_t bufs[3];
    unsigned count = 0;
    int sent;

    if (total == 0 || c->phase == PHASE_CLOSED)
        return;
    for (int i = 0; i < 3; i++)
        if (parts[i].len)
            bufs[count++] = uv_buf_init((char *)parts[i].p, (unsigned)parts[i].len);
    sent = queued(c) ? UV_EAGAIN : uv_try_write(stream_of(c), bufs, count);
    if (sent < 0 && sent != UV_EAGAIN) {
        connection_ready(c, READY_CLOSE);
        return;
    }
    if (sent < 0 || (size_t)sent < total) {
        enqueue(c, parts, sent < 0 ? 0 : (size_t)sent, own);
        connection_account(c);
    }
}

/* ---- heads ---- */

static struct str reason(int status)
{
    switch (status) {
    case 101:
        return S("Switching Protocols");
    case 200:
        return S("OK");
    case 201:
        return S("Created");
    case 202:
        return S("Accepted");
    case 204:
        return S("No Content");
    case 206:
        return S("Partial Content");
    case 301:
        return S("Moved Permanently");
    case 302:
        return S("Found");
    case 304:
        return S("Not Modified");
    case 307:
        return S("Temporary Redirect");
    case 308:
        return S("Permanent Redirect");
    case 400:
        return S("Bad Request");
    case 401:
        return S("Unauthorized");
    case 403:
        return S("Forbidden");
    case 404:
        return S("Not Found");
    case 405:
        return S("Method Not Allowed");
    case 408:
        return S("Request Timeout");
    case 409:
        return S("Conflict");
    case 412:
        return S("Precondition Failed");
    case 413:
        return S("Content Too Large");
    case 414:
        return S("URI Too Long");
    case 416:
        return S("Range Not Satisfiable");
    case 417:
        return S("Expectation Failed");
    case 426:
        return S("Upgrade Required");
    case 429:
        return S("Too Many Requests");
    case 431:
        return S("Request Header Fields Too Large");
    case 500:
        return S("Internal Server Error");
    case 501:
        return S("Not Implemented");
    case 502:
        return S("Bad Gateway");
    case 503:
        return S("Service Unavailable");
    case 504:
        return S("Gateway Timeout");
    case 505:
        return S("HTTP Version Not Supported");
    }
    return S(""); /* the reason may be empty (RFC 9112, section 4) */
}

enum {
    OK_LENGTH = sizeof "HTTP/1.1 200 OK\r\n" - 1,
    DATE_LENGTH = sizeof "Date: Wed, 25 Nov 2026 13:12:30 GMT\r\n" - 1
};

/* The commonest first two lines, made once a second. */
static const char *ok_and_date(struct http_server *server)
{
    time_t now = time(NULL);
    struct tm tm;

    if (now != server->date_at) {
        strftime(server->ok_and_date, sizeof server->ok_and_date,
                 "HTTP/1.1 200 OK\r\nDate: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&now, &tm));
        server->date_at = now;
    }
    return server->ok_and_date;
}

/* Heads are written behind one check of room, head_room: this runs with every request. */
static inline char *put(char *at, struct str s)
{
    memcpy(at, s.p, s.len);
    return at + s.len;
}

/* Whether one of 8 bytes is below ' '. */
static bool has_control(uint64_t eight)
{
    return (eight - 0x2020202020202020) & ~eight & 0x8080808080808080;
}

/* A value may come from a client: what would end the line does not pass. */
static char *put_value(char *at, struct str value)
{
    size_t i = 0;

    for (uint64_t eight; i + sizeof eight <= value.len; i += sizeof eight) {
        memcpy(&eight, value.p + i, sizeof eight);
        if (has_control(eight))
            break;
        memcpy(at + i, &eight, sizeof eight);
    }
    for (; i < value.len; i++)
        at[i] = (unsigned char)value.p[i] < ' ' && value.p[i] != '\t' ? ' ' : value.p[i];
    return at + value.len;
}

static char *put_header(char *at, struct str name, struct str value)
{
    at = put_value(at, name);
    at = put(at, S(": "));
    at = put_value(at, value);
    return put(at, S("\r\n"));
}

static char *put_number(char *at, uint64_t n)
{
    char digits[20];
    size_t first = sizeof digits;

    do
        digits[--first] = (char)('0' + n % 10);
    while (n /= 10);
    return put(at, (struct str){digits + first, sizeof digits - first});
}

/* All that a head can need, and a short body behind it. */
static size_t head_room(struct str type, const struct http_header *headers, size_t count)
{
    size_t room = 512 + COPIED_MAX + type.len;

    for (size_t i = 0; i < count; i++)
        room += headers[i].name.len + headers[i].value.len + 4;
    return room;
}

/* Status line, Date, what is given; where to go on. The caller adds framing and the empty line. */
static char *head_begin(struct http_connection *c, int status, struct str type, const struct http_header *headers,
                        size_t count)
{
    const char *ok = ok_and_date(c->server);
    char *at;

    c->server->head.len = 0;
    at = buf_reserve(&c->server->head, head_room(type, headers, count));
    if (status == 200) {
        at = put(at, (struct str){ok, OK_LENGTH + DATE_LENGTH});
    } else {
        at = put(at, S("HTTP/1.1 "));
        at = put_number(at, (uint64_t)status);
        *at++ = ' ';
        at = put(at, reason(status));
        at = put(at, S("\r\n"));
        at = put(at, (struct str){ok + OK_LENGTH, DATE_LENGTH});
    }
    if (type.p) {
        at = put(at, S("Content-Type: "));
        at = put_value(at, type);
        at = put(at, S("\r\n"));
    }
    for (size_t i = 0; i < count; i++)
        at = put_header(at, headers[i].name, headers[i].value);
    return at;
}

static struct str head_end(struct http_connection *c, char *at)
{
    if (!c->keep)
        at = put(at, S("Connection: close\r\n"));
    else if (c->parser.http_minor == 0)
        at = put(at, S("Connection: keep-alive\r\n"));
    at = put(at, S("\r\n"));
    return (struct str){c->server->head.p, (size_t)(at - c->server->head.p)};
}

static char *put_length(char *at, size_t length)
{
    at = put(at, S("Content-Length: "));
    at = put_number(at, length);
    return put(at, S("\r\n"));
}

void answer_refusal(struct http_connection *c, int status, bool is_head)
{
    char *at = head_begin(c, status, S("text/plain"), NULL, 0);
    struct str text = reason(status);

    at = put_length(at, text.len + 1);
    answer_send(c, head_end(c, at), is_head ? S("") : text, NULL, is_head ? S("") : S("\n"));
}

/* ---- what handlers call ---- */

static bool has_no_body(const struct http_exchange *x, int status)
{
    return status == 204 || status == 304 || str_equal(x->request.method, S("HEAD"));
}

/* Whether another request may follow this answer. */
static void decide_keep(struct http_exchange *x)
{
    struct http_connection *c = x->connection;

    if (c->server->stopping || !x->complete)
        c->keep = false;
}

static void keep_memory(struct http_exchange *x, struct buf *body)
{
    if (!x->request.answer.p && body->capacity <= ANSWER_KEPT) {
        body->len = 0;
        x->request.answer = *body;
        *body = BUF_INIT;
    }
    buf_free(body);
}

static void finish(struct http_exchange *x)
{
    x->finished = true;
    if (!x->connection->running)
        exchange_end(x->connection);
}

static void send_whole(struct http_connection *c, struct str head, struct buf *body)
{
    if (body->len > COPIED_MAX) {
        answer_send(c, head, S(""), body, S(""));
        return;
    }
    put((char *)head.p + head.len, buf_str(body));
    answer_send(c, (struct str){head.p, head.len + body->len}, S(""), NULL, S(""));
}

static bool is_over(const struct http_exchange *x)
{
    return x->finished || x->connection->phase == PHASE_CLOSED;
}

void http_answer(struct http_request *request, int status, struct str content_type, const struct http_header *headers,
                 size_t header_count, struct buf *body)
{
    struct http_exchange *x = exchange_of(request);
    struct http_connection *c = x->connection;
    struct buf own = body ? *body : BUF_INIT;
    char *at;

    if (body)
        *body = BUF_INIT;
    if (is_over(x) || x->begun) {
        buf_free(&own);
        return;
    }
    decide_keep(x);
    if (server_is_full(c->server, own.len)) {
        buf_free(&own);
        c->keep = false;
        answer_refusal(c, 503, has_no_body(x, 503));
        finish(x);
        return;
    }
    at = head_begin(c, status, content_type, headers, header_count);
    if (status != 204 && status != 304)
        at = put_length(at, own.len);
    if (has_no_body(x, status))
        own.len = 0;
    send_whole(c, head_end(c, at), &own);
    keep_memory(x, &own);
    finish(x);
}

void http_answer_begin(struct http_request *request, int status, struct str content_type,
                       const struct http_header *headers, size_t header_count)
{
    struct http_exchange *x = exchange_of(request);
    struct http_connection *c = x->connection;
    char *at;

    if (is_over(x) || x->begun)
        return;
    decide_keep(x);
    x->begun = true;
    x->bodiless = has_no_body(x, status);
    x->chunked = c->parser.http_minor == 1 && status != 204 && status != 304;
    if (!x->chunked && !x->bodiless)
        c->keep = false; /* its end is the connection's */
    at = head_begin(c, status, content_type, headers, header_count);
    if (x->chunked)
        at = put(at, S("Transfer-Encoding: chunked\r\n"));
    answer_send(c, head_end(c, at), S(""), NULL, S(""));
}

/* Whether to go on sending; drops a connection whose queue grows against all advice. */
static bool may_go_on(struct http_connection *c)
{
    size_t limit = c->server->limits.answer_bytes, now = queued(c);

    if (now <= limit && !server_is_full(c->server, 0))
        return true;
    c->drain_wanted = true;
    if (now > limit * QUEUE_FACTOR)
        connection_ready(c, READY_CLOSE);
    return false;
}

bool http_answer_chunk(struct http_request *request, struct str bytes)
{
    struct http_exchange *x = exchange_of(request);
    struct http_connection *c = x->connection;
    char size[24];

    if (is_over(x) || !x->begun || c->ready & READY_CLOSE)
        return false;
    if (bytes.len && !x->bodiless && x->chunked) {
        int n = snprintf(size, sizeof size, "%zx\r\n", bytes.len);
        answer_send(c, (struct str){size, (size_t)n}, bytes, NULL, S("\r\n"));
    } else if (bytes.len && !x->bodiless) {
        answer_send(c, S(""), bytes, NULL, S(""));
    }
    return may_go_on(c);
}

void http_answer_end(struct http_request *request)
{
    struct http_exchange *x = exchange_of(request);

    if (is_over(x) || !x->begun)
        return;
    if (x->chunked && !x->bodiless)
        answer_send(x->connection, S("0\r\n\r\n"), S(""), NULL, S(""));
    finish(x);
}

bool http_socket_write(struct http_socket *socket, struct str bytes)
{
    struct http_connection *c = socket->connection;

    if (c->phase != PHASE_UPGRADED || socket->ended || c->ready & READY_CLOSE)
        return false;
    answer_send(c, bytes, S(""), NULL, S(""));
    return may_go_on(c);
}

struct http_socket *http_upgrade(struct http_request *request, struct str protocol, const struct http_header *headers,
                                 size_t header_count, const struct http_socket_events *events)
{
    struct http_exchange *x = exchange_of(request);
    struct http_connection *c = x->connection;
    char *at;

    if (is_over(x) || x->begun || !x->complete || !request->upgrade_asked)
        return NULL;
    if (protocol.len > PROTOCOL_MAX)
        return NULL;
    at = head_begin(c, 101, (struct str){0}, headers, header_count);
    at = put(at, S("Connection: Upgrade\r\n"));
    at = put_header(at, S("Upgrade"), protocol);
    at = put(at, S("\r\n"));
    answer_send(c, (struct str){c->server->head.p, (size_t)(at - c->server->head.p)}, S(""), NULL, S(""));
    x->finished = true;
    socket_begin(c, events);
    return &c->socket;
}
