/* Requests: their lookups, and the exchanges that hold them, which connections borrow from the server's pool. */
#include "http/request.h"

#include "base/mem.h"
#include "http/connection.h"

struct str http_header(const struct http_request *request, struct str name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        struct str has = request->headers[i].name;

        if (has.len == name.len && ((has.p[0] ^ name.p[0]) & 0xdf) == 0 && str_equal_nocase(has, name))
            return request->headers[i].value;
    }
    return (struct str){0};
}

struct http_exchange *exchange_of(struct http_request *request)
{
    return (struct http_exchange *)request;
}

/* Everything but the memory that is used again. */
static void exchange_clear(struct http_exchange *x)
{
    struct http_request *request = &x->request;
    struct buf answer = request->answer, body = x->body;
    struct arena arena = x->arena;

    memset(x, 0, sizeof *x);
    answer.len = body.len = 0;
    request->answer = answer;
    request->headers = x->headers;
    request->arena = &x->arena;
    request->body = S("");
    x->body = body;
    x->arena = arena;
}

void exchange_begin(struct http_connection *c)
{
    struct http_server *server = c->server;
    struct http_exchange *x = server->free_exchanges;

    if (x)
        server->free_exchanges = x->next_free;
    else
        x = mem_alloc(sizeof *x + server->limits.header_count * sizeof x->headers[0]);
    exchange_clear(x);
    x->connection = c;
    x->request.peer = str_of(c->peer);
    x->request.peer_port = c->peer_port;
    x->request.peer_is_loopback = c->peer_is_loopback;
    x->request.listener_is_loopback = c->listener->is_loopback;
    c->exchange = x;
    c->phase = PHASE_HEAD;
    c->deadline = uv_now(server->loop) + server->limits.header_ms;
}

void exchange_release(struct http_connection *c)
{
    struct http_exchange *x = c->exchange;

    if (!x)
        return;
    c->exchange = NULL;
    if (x->told)
        c->server->in_flight--;
    if (x->body.capacity > ANSWER_KEPT)
        buf_free(&x->body);
    if (x->request.answer.capacity > ANSWER_KEPT)
        buf_free(&x->request.answer);
    arena_reset(&x->arena);
    x->next_free = c->server->free_exchanges;
    c->server->free_exchanges = x;
}

/* What is over is only stepped over while more waits behind it: many pipelined requests are not moved many times. */
static void drop_parsed(struct http_connection *c)
{
    c->start = c->at;
    if (c->at < c->in.len)
        return;
    c->in.len = c->start = c->at = 0;
    if (c->in.capacity > IN_KEPT)
        buf_free(&c->in);
}

void exchange_end(struct http_connection *c)
{
    bool waits = c->at < c->in.len || c->ahead.len, more = c->keep && !c->server->stopping && (waits || !c->eof);

    exchange_release(c);
    drop_parsed(c);
    if (!more) {
        connection_linger(c);
        return;
    }
    c->phase = PHASE_IDLE;
    c->deadline = uv_now(c->server->loop) + c->server->limits.idle_ms;
    if (c->ahead.len) {
        connection_compact(c);
        buf_append(&c->in, buf_str(&c->ahead));
        buf_free(&c->ahead);
    }
    if (!c->reading)
        connection_read(c);
    if (!c->running && c->in.len)
        connection_ready(c, READY_RUN);
}

struct buf http_take_body(struct http_request *request)
{
    struct http_exchange *x = exchange_of(request);
    struct buf body = BUF_INIT;

    if (x->body.len) {
        body = x->body;
        x->body = BUF_INIT;
    } else {
        buf_append(&body, request->body);
    }
    request->body = S("");
    connection_account(x->connection);
    return body;
}

void http_body_resume(struct http_request *request)
{
    struct http_exchange *x = exchange_of(request);

    if (!x->paused)
        return;
    x->paused = false;
    x->resumed = true;
    x->connection->deadline = uv_now(x->connection->server->loop) + x->connection->server->limits.body_ms;
    connection_ready(x->connection, READY_RUN);
}

void http_on_gone(struct http_request *request, void (*gone)(void *arg, struct http_request *request), void *arg)
{
    struct http_exchange *x = exchange_of(request);

    x->gone = gone;
    x->gone_arg = arg;
}

void http_on_drain(struct http_request *request, void (*drain)(void *arg, struct http_request *request), void *arg)
{
    struct http_exchange *x = exchange_of(request);

    x->drain = drain;
    x->drain_arg = arg;
}
