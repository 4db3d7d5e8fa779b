/* How a connection begins, and who makes room for it. */
#include "http/connection.h"

#include "base/mem.h"

static void name_peer(struct http_connection *c)
{
    struct sockaddr_storage address = {0};
    int size = sizeof address;

    uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &size);
    c->peer_is_loopback = address_is_loopback((struct sockaddr *)&address);
    c->peer_port = address_port((struct sockaddr *)&address);
    uv_ip_name((struct sockaddr *)&address, c->peer, sizeof c->peer);
}

/* Of those that ask for nothing; NULL: all do. */
static struct http_connection *longest_idle(const struct http_server *server, const struct http_connection *but)
{
    struct http_connection *longest = NULL;

    for (struct http_connection *c = server->connections; c; c = c->next)
        if (c != but && c->phase == PHASE_IDLE && (!longest || c->deadline < longest->deadline))
            longest = c;
    return longest;
}

/* Who only holds a place makes room for who comes: else some thousand silent connections keep everybody else out. */
static bool make_room(struct http_server *server, const struct http_connection *newest)
{
    struct http_connection *idle;

    if (server->connection_count <= server->limits.connections)
        return true;
    idle = longest_idle(server, newest);
    if (idle)
        connection_close(idle);
    return idle != NULL;
}

void connection_open(struct http_server *server, struct http_listener *listener)
{
    struct http_connection *c = mem_alloc(sizeof *c);

    c->server = server;
    c->listener = listener;
    uv_tcp_init(server->loop, &c->tcp);
    c->tcp.data = c;
    c->phase = PHASE_IDLE;
    c->deadline = uv_now(server->loop) + server->limits.idle_ms;
    llhttp_init(&c->parser, HTTP_REQUEST, &parse_settings);
    c->parser.data = c;
    server_adopt(server, c);
    if (uv_accept((uv_stream_t *)&listener->tcp, (uv_stream_t *)&c->tcp) < 0 ||
        server->connection_count > server->limits.connections + REFUSED_MAX) {
        connection_close(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    if (!make_room(server, c)) {
        connection_refuse(c, 503);
        return;
    }
    uv_tcp_keepalive(&c->tcp, 1, 60); /* a parked client whose host has died is noticed */
    name_peer(c);
    connection_read(c);
}
