/* Upgraded connections: raw bytes both ways. */
#include "http/connection.h"

/* What came behind the request is the stream's first. */
void socket_begin(struct http_connection *c, const struct http_socket_events *events)
{
    struct buf first = BUF_INIT;

    buf_append(&first, str_skip(buf_str(&c->in), c->at));
    buf_append(&first, buf_str(&c->ahead));
    buf_free(&c->ahead);
    buf_free(&c->in);
    c->ahead = first;
    c->start = c->at = 0;
    c->phase = PHASE_UPGRADED;
    c->deadline = UINT64_MAX;
    c->socket = (struct http_socket){.connection = c, .events = *events};
    exchange_release(c);
    if (c->ahead.len || c->eof || !c->reading)
        connection_ready(c, READY_RUN);
}

static void deliver(struct http_socket *socket, struct str bytes)
{
    if (!socket->events.on_bytes(socket->events.cookie, socket, bytes))
        socket->paused = true;
}

static void deliver_end(struct http_connection *c)
{
    struct http_socket *socket = &c->socket;

    socket->end_told = true;
    if (socket->events.on_end)
        socket->events.on_end(socket->events.cookie, socket);
    if (!socket->events.on_end || c->shut_done)
        connection_close(c);
}

void socket_pump(struct http_connection *c, struct str bytes)
{
    struct http_socket *socket = &c->socket;

    if (socket->paused || c->ahead.len)
        buf_append(&c->ahead, bytes);
    else if (bytes.len)
        deliver(socket, bytes);
    if (!socket->paused && c->ahead.len) {
        AUTO_BUF waiting = c->ahead;

        c->ahead = BUF_INIT;
        deliver(socket, buf_str(&waiting));
    }
    if (c->eof && !socket->paused && !socket->end_told && !(c->ready & READY_CLOSE))
        deliver_end(c);
}

void socket_closed(struct http_connection *c)
{
    if (c->socket.events.on_close)
        c->socket.events.on_close(c->socket.events.cookie, &c->socket);
}

void http_socket_resume(struct http_socket *socket)
{
    if (!socket->paused)
        return;
    socket->paused = false;
    connection_ready(socket->connection, READY_RUN);
}

void http_socket_end(struct http_socket *socket)
{
    if (socket->connection->phase != PHASE_UPGRADED)
        return;
    socket->ended = true;
    connection_shut(socket->connection);
}

void http_socket_close(struct http_socket *socket)
{
    connection_ready(socket->connection, READY_CLOSE);
}
