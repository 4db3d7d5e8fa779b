/* Listeners, limits, the sweep once a second over all connections, and the server's end. */
#include "http/server.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <unistd.h>

enum { BACKLOG = 1024, SWEEP_MS = 1000, IDLE_KEPT_MS = 2000 };

/* ---- addresses ---- */

bool address_is_loopback(const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

    if (address->sa_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    if (address->sa_family != AF_INET6)
        return false;
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return v6->sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

uint16_t address_port(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (address->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return 0;
}

/* "1.2.3.4:80", "[::1]:80" */
static int address_parse(struct str text, struct sockaddr_storage *ret, struct err *err)
{
    size_t colon = text.len;
    int64_t port;
    char host[64];
    struct str name;

    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    name = str_first(text, colon ? colon - 1 : 0);
    if (colon == 0 || !str_to_int(str_skip(text, colon), &port) || port < 0 || port > 65535)
        return err_plain(err, "'" STR_FMT "' is not ADDR:PORT", STR_ARG(text));
    bool v6 = name.len > 2 && name.p[0] == '[' && name.p[name.len - 1] == ']';
    if (v6)
        name = str_first(str_skip(name, 1), name.len - 2);
    if (!str_to_z(name, host, sizeof host) || (v6 ? uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)ret)
                                                  : uv_ip4_addr(host, (int)port, (struct sockaddr_in *)ret)) < 0)
        return err_plain(err, "'" STR_FMT "' is not an IP address and port", STR_ARG(text));
    return 0;
}

/* ---- connections ---- */

static bool is_expired(const struct http_connection *c, uint64_t now)
{
    return now >= c->deadline;
}

static void expire(struct http_connection *c)
{
    if (c->phase == PHASE_HEAD || c->phase == PHASE_BODY)
        connection_refuse(c, 408);
    else
        connection_close(c);
}

static bool write_is_stuck(struct http_connection *c, uint64_t now)
{
    size_t queued = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);

    if (queued == 0 || queued < c->queued_last)
        c->write_progress_at = now;
    c->queued_last = queued;
    return queued && now - c->write_progress_at >= c->server->limits.write_ms;
}

/* An idle connection keeps no buffers for long. */
static void slim(struct http_connection *c, uint64_t now)
{
    uint64_t idle_ms = c->server->limits.idle_ms;

    if (c->phase != PHASE_IDLE || c->in.len || !c->in.capacity || c->deadline - now > idle_ms - IDLE_KEPT_MS)
        return;
    buf_free(&c->in);
    connection_account(c);
}

static void sweep_one(struct http_connection *c, uint64_t now)
{
    if (is_expired(c, now)) {
        expire(c);
        return;
    }
    if (write_is_stuck(c, now) || connection_is_lost(c)) {
        connection_close(c);
        return;
    }
    slim(c, now);
    answer_drained(c); /* when it was not its own queue that held it */
}

static void on_sweep(uv_timer_t *timer)
{
    struct http_server *server = timer->data;
    uint64_t now = uv_now(server->loop);

    for (struct http_connection *c = server->connections, *next; c; c = next) {
        next = c->next;
        if (c->phase != PHASE_CLOSED)
            sweep_one(c, now);
    }
    if (!server->connections)
        uv_timer_stop(timer);
}

void server_adopt(struct http_server *server, struct http_connection *c)
{
    c->next = server->connections;
    if (c->next)
        c->next->previous = c;
    server->connections = c;
    server->connection_count++;
    c->listener->references++;
    if (!uv_is_active((uv_handle_t *)&server->sweep))
        uv_timer_start(&server->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

static void server_try_end(struct http_server *server);

static void listener_release(struct http_listener *listener)
{
    if (--listener->references == 0)
        free(listener);
}

void server_forget(struct http_server *server, struct http_connection *c)
{
    if (c->previous)
        c->previous->next = c->next;
    else
        server->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    server->connection_count--;
    listener_release(c->listener);
    server_try_end(server);
}

/* ---- listeners ---- */

static void on_connection(uv_stream_t *stream, int status)
{
    struct http_listener *listener = stream->data;

    if (status < 0)
        log_warning("http: accept on port %u: %s", listener->port, uv_strerror(status));
    else
        connection_open(listener->server, listener);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct http_listener *listener = handle->data;
    struct http_server *server = listener->server;

    server->listener_count--;
    listener_release(listener);
    server_try_end(server);
}

static void listener_stop(struct http_listener *listener)
{
    struct http_server *server = listener->server;

    if (listener->previous)
        listener->previous->next = listener->next;
    else
        server->listeners = listener->next;
    if (listener->next)
        listener->next->previous = listener->previous;
    uv_close((uv_handle_t *)&listener->tcp, on_listener_closed);
}

static struct http_listener *listener_new(struct http_server *server, const struct http_handler *handler)
{
    struct http_listener *listener = mem_alloc(sizeof *listener);

    listener->server = server;
    listener->handler = *handler;
    listener->references = 1;
    uv_tcp_init(server->loop, &listener->tcp);
    listener->tcp.data = listener;
    listener->next = server->listeners;
    if (listener->next)
        listener->next->previous = listener;
    server->listeners = listener;
    server->listener_count++;
    return listener;
}

static int listener_start(struct http_listener *listener)
{
    struct sockaddr_storage address = {0};
    int size = sizeof address;
    int r = uv_listen((uv_stream_t *)&listener->tcp, BACKLOG, on_connection);

    if (r < 0)
        return r;
    r = uv_tcp_getsockname(&listener->tcp, (struct sockaddr *)&address, &size);
    listener->port = address_port((struct sockaddr *)&address);
    listener->is_loopback = address_is_loopback((struct sockaddr *)&address);
    return r;
}

int http_server_listen(struct http_server *server, struct str address, const struct http_handler *handler,
                       struct http_listener **ret, struct err *err)
{
    struct sockaddr_storage where = {0};
    struct http_listener *listener;
    int r = address_parse(address, &where, err);

    if (r < 0)
        return r;
    listener = listener_new(server, handler);
    r = uv_tcp_bind(&listener->tcp, (struct sockaddr *)&where, 0);
    if (r == 0)
        r = listener_start(listener);
    if (r < 0) {
        listener_stop(listener);
        return err_os(err, -r, "listen on " STR_FMT, STR_ARG(address));
    }
    *ret = listener;
    return 0;
}

int http_server_listen_fd(struct http_server *server, int fd, const struct http_handler *handler,
                          struct http_listener **ret, struct err *err)
{
    struct http_listener *listener = listener_new(server, handler);
    int r = uv_tcp_open(&listener->tcp, fd);

    if (r < 0)
        close(fd);
    else
        r = listener_start(listener);
    if (r < 0) {
        listener_stop(listener);
        return err_os(err, -r, "listen on a ready socket");
    }
    *ret = listener;
    return 0;
}

uint16_t http_listener_port(const struct http_listener *listener)
{
    return listener->port;
}

bool http_listener_is_loopback(const struct http_listener *listener)
{
    return listener->is_loopback;
}

void http_listener_close(struct http_listener *listener)
{
    for (struct http_connection *c = listener->server->connections; c; c = c->next)
        if (c->listener == listener)
            connection_ready(c, READY_CLOSE);
    listener_stop(listener);
}

/* ---- the server ---- */

static void set_defaults(struct http_limits *limits)
{
#define DEFAULT(member, value) \
    if (!limits->member)       \
    limits->member = (value)
    DEFAULT(body_bytes, 64u << 20);
    DEFAULT(buffered_bytes, 256u << 20);
    DEFAULT(connections, 4096);
    DEFAULT(header_count, 100);
    DEFAULT(header_bytes, 32 * 1024);
    DEFAULT(uri_bytes, 16 * 1024);
    DEFAULT(idle_ms, 120 * 1000);
    DEFAULT(header_ms, 15 * 1000);
    DEFAULT(body_ms, 30 * 1000);
    DEFAULT(write_ms, 60 * 1000);
    DEFAULT(probe_ms, 15 * 1000);
    DEFAULT(answer_bytes, 256 * 1024);
#undef DEFAULT
}

struct http_server *http_server_new(uv_loop_t *loop, const struct http_limits *limits)
{
    struct http_server *server = mem_alloc(sizeof *server);

    signal(SIGPIPE, SIG_IGN);
    server->loop = loop;
    if (limits)
        server->limits = *limits;
    set_defaults(&server->limits);
    uv_timer_init(loop, &server->sweep);
    uv_timer_init(loop, &server->grace);
    uv_idle_init(loop, &server->ready_idle);
    server->sweep.data = server->grace.data = server->ready_idle.data = server;
    server->open_handles = 3;
    return server;
}

struct http_counts http_server_counts(const struct http_server *server)
{
    return (struct http_counts){.connections = server->connection_count,
                                .in_flight = server->in_flight,
                                .buffered_bytes = server->buffered,
                                .requests = server->requests};
}

static void server_free(struct http_server *server)
{
    void (*done)(void *) = server->done;
    void *arg = server->done_arg;

    while (server->free_exchanges) {
        struct http_exchange *x = server->free_exchanges;

        server->free_exchanges = x->next_free;
        buf_free(&x->body);
        buf_free(&x->request.answer);
        arena_free(&x->arena);
        free(x);
    }
    buf_free(&server->head);
    free(server);
    if (done)
        done(arg);
}

static void on_own_handle_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;

    if (--server->open_handles == 0)
        server_free(server);
}

static void server_try_end(struct http_server *server)
{
    if (!server->stopping || server->connections || server->listener_count ||
        uv_is_closing((uv_handle_t *)&server->sweep))
        return;
    uv_close((uv_handle_t *)&server->sweep, on_own_handle_closed);
    uv_close((uv_handle_t *)&server->grace, on_own_handle_closed);
    uv_close((uv_handle_t *)&server->ready_idle, on_own_handle_closed);
}

static void on_grace_over(uv_timer_t *timer)
{
    struct http_server *server = timer->data;

    for (struct http_connection *c = server->connections; c; c = c->next)
        connection_close(c);
    server_try_end(server);
}

/* With nothing of an answer left to send it closes at once. */
static void end_idle(struct http_connection *c)
{
    if (uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp))
        connection_linger(c);
    else
        connection_close(c);
}

void http_server_stop(struct http_server *server, unsigned grace_ms, void (*done)(void *arg), void *arg)
{
    if (!server->stopping || grace_ms < uv_timer_get_due_in(&server->grace))
        uv_timer_start(&server->grace, on_grace_over, grace_ms, 0);
    if (server->stopping)
        return;
    server->stopping = true;
    server->done = done;
    server->done_arg = arg;
    while (server->listeners)
        listener_stop(server->listeners);
    for (struct http_connection *c = server->connections; c; c = c->next)
        if (c->phase == PHASE_IDLE && !c->in.len)
            end_idle(c);
    server_try_end(server);
}
