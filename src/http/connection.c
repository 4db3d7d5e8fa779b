/* One connection's life: reading, the state machine over its phases, refusals, the end. See connection.h. */
#include "http/connection.h"

#include "base/mem.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

static void tell(struct http_connection *c)
{
    if (c->exchange->told)
        return;
    c->exchange->told = true;
    c->server->in_flight++;
}

static void set_deadline(struct http_connection *c, unsigned ms)
{
    c->deadline = uv_now(c->server->loop) + ms;
}

/* ---- what a connection holds ---- */

bool server_is_full(const struct http_server *server, size_t more)
{
    return server->buffered + more > server->limits.buffered_bytes;
}

/* A closed one counts for nothing, whoever still has it on the stack. */
static size_t held(const struct http_connection *c)
{
    if (c->phase == PHASE_CLOSED)
        return 0;
    return c->in.capacity + c->ahead.len + uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp) +
           (c->exchange ? c->exchange->body.len : 0);
}

void connection_account(struct http_connection *c)
{
    size_t now = held(c);

    c->server->buffered += now - c->counted;
    c->counted = now;
}

/* ---- the ready list ---- */

static void on_ready_idle(uv_idle_t *idle)
{
    struct http_server *server = idle->data;
    struct http_connection *c;

    for (size_t left = server->connection_count; left > 0 && (c = server->ready); left--) {
        unsigned what = c->ready;

        server->ready = c->next_ready;
        c->ready = 0;
        if (what & READY_CLOSE) {
            connection_close(c);
            continue;
        }
        if (c->phase == PHASE_UPGRADED)
            socket_pump(c, S(""));
        else
            connection_run(c);
        if (c->phase != PHASE_CLOSED && !c->reading && c->ahead.len < AHEAD_MAX)
            connection_read(c);
        connection_account(c);
    }
    if (!server->ready)
        uv_idle_stop(idle);
}

void connection_ready(struct http_connection *c, unsigned what)
{
    struct http_server *server = c->server;

    if (c->phase == PHASE_CLOSED)
        return;
    if (!c->ready) {
        struct http_connection **end = &server->ready;

        while (*end)
            end = &(*end)->next_ready;
        *end = c;
        c->next_ready = NULL;
        uv_idle_start(&server->ready_idle, on_ready_idle);
    }
    c->ready |= what;
}

static void unready(struct http_connection *c)
{
    struct http_connection **at = &c->server->ready;

    if (!c->ready)
        return;
    while (*at != c)
        at = &(*at)->next_ready;
    *at = c->next_ready;
    c->ready = 0;
}

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
    struct http_connection *c = handle->data;
    struct http_server *server = c->server;

    buf_free(&c->in);
    buf_free(&c->ahead);
    server_forget(server, c);
    free(c);
}

static void leave_exchange(struct http_connection *c)
{
    struct http_exchange *x = c->exchange;

    if (x && x->told && !x->finished && x->gone) {
        x->finished = true;
        x->gone(x->gone_arg, &x->request);
    }
    exchange_release(c);
}

void connection_close(struct http_connection *c)
{
    enum phase phase = c->phase;

    if (phase == PHASE_CLOSED)
        return;
    unready(c);
    c->phase = PHASE_CLOSED;
    leave_exchange(c);
    if (phase == PHASE_UPGRADED)
        socket_closed(c);
    connection_account(c);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_shut(uv_shutdown_t *request, int status)
{
    struct http_connection *c = request->data;

    c->shut_done = true;
    if (c->phase == PHASE_CLOSED)
        return;
    if (status < 0 || c->eof)
        connection_close(c);
    else if (c->phase == PHASE_LINGER)
        set_deadline(c, LINGER_MS);
}

void connection_shut(struct http_connection *c)
{
    if (c->shut)
        return;
    c->shut = true;
    c->shutdown.data = c;
    if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shut) < 0)
        connection_ready(c, READY_CLOSE);
}

void connection_linger(struct http_connection *c)
{
    if (c->phase == PHASE_CLOSED)
        return;
    c->phase = PHASE_LINGER;
    c->deadline = UINT64_MAX; /* until on_shut; the write timeout holds meanwhile */
    buf_free(&c->in);
    buf_free(&c->ahead);
    c->start = c->at = 0;
    connection_shut(c);
    if (!c->reading)
        connection_read(c);
}

void connection_refuse(struct http_connection *c, int status)
{
    struct http_exchange *x = c->exchange;
    bool begun = x && x->begun, is_head = x && c->parser.method == HTTP_HEAD;

    if (begun) {
        connection_close(c);
        return;
    }
    leave_exchange(c);
    c->keep = false;
    answer_refusal(c, status, is_head);
    connection_linger(c);
}

/* ---- parsing ---- */

/* How many bytes llhttp took; -1 when what it got is no HTTP of ours. */
static ssize_t parse(struct http_connection *c, struct str bytes)
{
    llhttp_errno_t error = llhttp_execute(&c->parser, bytes.p, bytes.len);

    if (error == HPE_OK)
        return (ssize_t)bytes.len;
    if (error == HPE_PAUSED)
        llhttp_resume(&c->parser);
    else if (error == HPE_PAUSED_UPGRADE)
        llhttp_resume_after_upgrade(&c->parser);
    else
        return -1;
    return llhttp_get_error_pos(&c->parser) - bytes.p;
}

static void refuse_parse(struct http_connection *c)
{
    connection_refuse(c, c->exchange && c->exchange->refusal ? c->exchange->refusal : 400);
}

static void dispatch_request(struct http_connection *c)
{
    const struct http_handler *handler = &c->listener->handler;

    c->phase = PHASE_HANDLED;
    c->deadline = UINT64_MAX;
    tell(c);
    handler->on_request(handler->cookie, &c->exchange->request);
}

static void expect_body(struct http_connection *c)
{
    struct http_exchange *x = c->exchange;
    bool has_length = !(c->parser.flags & F_CHUNKED);

    if (!x->streamed && has_length && c->parser.content_length > c->server->limits.body_bytes) {
        connection_refuse(c, 413);
        return;
    }
    if (!x->streamed && has_length && server_is_full(c->server, c->parser.content_length)) {
        connection_refuse(c, 503);
        return;
    }
    if (x->expects && c->at == c->in.len && !c->ahead.len && !c->fresh.len)
        answer_send(c, S("HTTP/1.1 100 Continue\r\n\r\n"), S(""), NULL, S(""));
    x->body_started = uv_now(c->server->loop);
    set_deadline(c, c->server->limits.body_ms);
}

static void dispatch_head(struct http_connection *c)
{
    struct http_exchange *x = c->exchange;
    const struct http_handler *handler = &c->listener->handler;

    c->server->requests++;
    c->phase = PHASE_BODY;
    if (handler->on_head) {
        tell(c);
        x->streamed = handler->on_head(handler->cookie, &x->request) == HTTP_BODY_STREAMED;
        if (c->exchange != x || x->finished)
            return;
    }
    if (x->complete)
        dispatch_request(c);
    else
        expect_body(c);
}

/* A request's head is in `in` only: what the last read brought behind the last request moves there. */
static void gather(struct http_connection *c)
{
    if (c->phase != PHASE_IDLE || !c->fresh.len)
        return;
    connection_compact(c);
    buf_append(&c->in, c->fresh);
    c->fresh = (struct str){0};
}

static bool step_head(struct http_connection *c)
{
    ssize_t taken;
    struct http_exchange *x;

    gather(c);
    if (c->at == c->in.len)
        return false;
    taken = parse(c, str_skip(buf_str(&c->in), c->at));
    if (taken < 0) {
        refuse_parse(c);
        return false;
    }
    c->at += (size_t)taken;
    x = c->exchange;
    if (c->at - c->start > c->server->limits.header_bytes) {
        connection_refuse(c, 431);
        return false;
    }
    if (x && (x->head_complete || x->complete)) {
        int status = parse_head(c);

        if (status)
            connection_refuse(c, status);
        else
            dispatch_head(c);
    }
    return true;
}

/* The next bytes of a body, parsed from where they are. */
static ssize_t parse_body(struct http_connection *c)
{
    ssize_t taken;

    if (c->at < c->in.len) {
        taken = parse(c, str_skip(buf_str(&c->in), c->at));
        c->at += taken > 0 ? (size_t)taken : 0;
    } else if (c->ahead.len) {
        taken = parse(c, buf_str(&c->ahead));
        if (taken > 0)
            buf_drop(&c->ahead, (size_t)taken);
    } else {
        taken = parse(c, c->fresh.p ? c->fresh : S(""));
        c->fresh = str_skip(c->fresh, taken > 0 ? (size_t)taken : 0);
    }
    return taken;
}

static void renew_body_deadline(struct http_connection *c)
{
    const struct http_limits *limits = &c->server->limits;
    struct http_exchange *x = c->exchange;
    uint64_t on_the_whole = x->body_started + limits->body_ms + x->body_seen * 1000 / 1024;

    set_deadline(c, limits->body_ms);
    if (on_the_whole < c->deadline)
        c->deadline = on_the_whole;
    if (x->paused)
        c->deadline = UINT64_MAX;
}

static bool step_body(struct http_connection *c)
{
    struct http_exchange *x = c->exchange;
    ssize_t taken;

    if (x->finished) { /* answered before it came whole */
        c->keep = false;
        exchange_end(c);
        return false;
    }
    if (x->paused || (c->at == c->in.len && !c->ahead.len && !c->fresh.len && !x->resumed))
        return false;
    x->resumed = false;
    taken = parse_body(c);
    if (c->exchange != x)
        return false;
    if (taken < 0) {
        if (!x->finished)
            refuse_parse(c);
        return x->finished;
    }
    if (x->complete && !x->finished && !x->paused)
        dispatch_request(c);
    else
        renew_body_deadline(c);
    return true;
}

static bool step(struct http_connection *c)
{
    switch (c->phase) {
    case PHASE_IDLE:
    case PHASE_HEAD:
        return step_head(c);
    case PHASE_BODY:
        return step_body(c);
    case PHASE_HANDLED:
        if (!c->exchange->finished)
            return false;
        exchange_end(c);
        return true;
    case PHASE_LINGER:
    case PHASE_UPGRADED:
    case PHASE_CLOSED:
        break;
    }
    return false;
}

/* What it is in the middle of would need bytes that never come. A paused body still has its end to tell. */
static bool is_cut_short(const struct http_connection *c)
{
    if (!c->eof || c->at < c->in.len || c->ahead.len)
        return false;
    return c->phase == PHASE_IDLE || c->phase == PHASE_HEAD || (c->phase == PHASE_BODY && !c->exchange->paused);
}

/* Answers to what came whole still go out. */
static void cut_short(struct http_connection *c)
{
    leave_exchange(c);
    if (uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp))
        connection_linger(c);
    else
        connection_close(c);
}

void connection_run(struct http_connection *c)
{
    if (c->running)
        return;
    c->running = true;
    while (step(c))
        ;
    c->running = false;
    if (is_cut_short(c))
        cut_short(c);
    if (c->fresh.len && c->phase != PHASE_LINGER && c->phase != PHASE_CLOSED)
        buf_append(&c->ahead, c->fresh);
    c->fresh = (struct str){0};
    if (c->phase == PHASE_UPGRADED && c->ahead.len)
        connection_ready(c, READY_RUN);
}

/* ---- reading ---- */

void connection_compact(struct http_connection *c)
{
    const char *old = c->in.p + c->start;

    if (c->start == 0)
        return;
    c->in.len -= c->start;
    c->at -= c->start;
    c->start = 0;
    memmove(c->in.p, old, c->in.len);
    if (c->exchange)
        parse_rebase(c, old);
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct http_connection *c = handle->data;
    const char *old;

    if (c->phase != PHASE_IDLE && c->phase != PHASE_HEAD) {
        *buf = uv_buf_init(c->server->read_buffer, READ_SIZE);
        return;
    }
    if (c->in.capacity - c->in.len < IN_FIRST / 8)
        connection_compact(c);
    old = c->in.p;
    if (c->in.capacity - c->in.len < IN_FIRST / 8)
        buf_reserve(&c->in, IN_FIRST);
    if (c->in.p != old && c->exchange)
        parse_rebase(c, old);
    *buf = uv_buf_init(c->in.p + c->in.len, (unsigned)(c->in.capacity - c->in.len));
}

/*
 * From here on nothing is read, and so a reset would not be seen: the kernel asks the client's from time to time
 * whether it is still there, and the sweep asks the kernel (connection_is_lost). A client that has closed both halves
 * is answered with a reset as soon as its kernel has forgotten it (tcp_fin_timeout), or at the first byte sent to it.
 */
static void probe_half_closed(struct http_connection *c)
{
    int seconds = (int)(c->server->limits.probe_ms + 999) / 1000, count = 3, fd;

    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

bool connection_is_lost(const struct http_connection *c)
{
    struct pollfd at = {0};

    if (!c->eof || uv_fileno((const uv_handle_t *)&c->tcp, &at.fd) < 0)
        return false;
    return poll(&at, 1, 0) == 1 && at.revents & (POLLERR | POLLHUP);
}

/* The client sends no more. It may wait for answers all the same, to all that came whole. */
static void on_eof(struct http_connection *c)
{
    c->eof = true;
    switch (c->phase) {
    case PHASE_IDLE:
    case PHASE_HEAD:
    case PHASE_BODY:
        connection_run(c);
        break;
    case PHASE_UPGRADED:
        socket_pump(c, S(""));
        break;
    case PHASE_LINGER:
        if (c->shut_done)
            connection_close(c);
        break;
    case PHASE_HANDLED:
    case PHASE_CLOSED:
        break;
    }
    if (c->phase != PHASE_CLOSED)
        probe_half_closed(c);
    connection_account(c);
}

static void on_bytes(struct http_connection *c, struct str bytes)
{
    switch (c->phase) {
    case PHASE_IDLE:
    case PHASE_HEAD:
        c->in.len += bytes.len;
        connection_run(c);
        break;
    case PHASE_BODY:
        c->fresh = bytes;
        connection_run(c);
        break;
    case PHASE_HANDLED:
        buf_append(&c->ahead, bytes);
        break;
    case PHASE_UPGRADED:
        socket_pump(c, bytes);
        break;
    case PHASE_LINGER:
        c->linger_bytes += bytes.len;
        if (c->linger_bytes > LINGER_BYTES)
            connection_close(c);
        break;
    case PHASE_CLOSED:
        break;
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct http_connection *c = stream->data;

    if (n == 0)
        return;
    if (n == UV_EOF) {
        uv_read_stop(stream);
        on_eof(c);
        return;
    }
    if (n < 0) {
        connection_close(c);
        return;
    }
    on_bytes(c, (struct str){buf->base, (size_t)n});
    if (c->phase == PHASE_CLOSED)
        return;
    if (c->ahead.len >= AHEAD_MAX) {
        uv_read_stop(stream);
        c->reading = false;
    }
    connection_account(c);
}

void connection_read(struct http_connection *c)
{
    if (c->eof || c->phase == PHASE_CLOSED)
        return;
    c->reading = uv_read_start((uv_stream_t *)&c->tcp, give_room, on_read) == 0;
    if (!c->reading)
        connection_ready(c, READY_CLOSE);
}
