/*
 * The HTTP/1.1 server: any number of listeners on one libuv loop; all calls and callbacks on its thread.
 *
 * A request goes: on_head (optional: it may choose how the body comes, or answer at once) → its body, whole or
 * streamed → on_request → an answer, at once or any time later (a parked request). Requests of one connection
 * are handled one after the other, in order.
 *
 * An answer is one of
 *   http_answer                                   whole
 *   http_answer_begin, _chunk …, _end             in pieces, with back-pressure
 *   http_upgrade                                  101, then raw bytes both ways
 * After http_answer, http_answer_end or http_upgrade the request no longer exists for the handler. If its client
 * leaves before that, on_gone is called, exactly once, and the request no longer exists when it returns; no answer
 * may be given then. Answering before the whole body came ends the connection after the answer.
 *
 * A client that closes its sending half has not left: what came whole is answered. One that closes both looks the same
 * (TCP tells of one half only) until something is sent to it or a probe finds its socket gone: about a minute with
 * Linux's defaults. So on_gone comes at once for a reset, and for an end in the middle of a request; for a full close
 * it comes at the next piece of an answer, or with the probe. What a handler holds for a client that may have left must
 * be bearable for so long. A call whose answer comes within that time is simply answered.
 *
 * No function here calls back into its caller: callbacks come from the loop only.
 *
 * The server itself answers malformed or ambiguous framing (400), too long URIs (414), headers (431) and bodies
 * (413), slow clients (408), unknown expectations (417), versions (505), and too many connections or buffered
 * bytes (503), and closes the connection.
 */
#pragma once

#include "base/err.h"
#include "http/request.h"

#include <uv.h>

struct http_server;
struct http_listener;
struct http_socket;

/* Zero in a member means its default. Times in milliseconds, kept to the second. */
struct http_limits {
    size_t body_bytes;     /* of one request held whole; 64 MiB. Streamed bodies have no limit */
    size_t buffered_bytes; /* over all connections, in and out; 256 MiB */
    size_t connections;    /* 4096; the longest idle one makes room, and where none is, who comes is told 503 */
    size_t header_count;   /* 100 */
    size_t header_bytes;   /* of a request's whole head, and of its trailers; 32 KiB */
    size_t uri_bytes;      /* 16 KiB */
    unsigned idle_ms;      /* a kept connection between requests; 120 s */
    unsigned header_ms;    /* from a request's first byte to the end of its head; 15 s */
    unsigned body_ms;      /* without progress in a body; slower than 1 KiB/s on the whole counts as none; 30 s */
    unsigned write_ms;     /* a client that takes nothing of an answer; 60 s */
    unsigned probe_ms;     /* how often a client that sends no more is asked whether it is there; 15 s */
    size_t answer_bytes;   /* queued on one connection when http_answer_chunk says stop; 256 KiB */
};

enum http_body {
    HTTP_BODY_WHOLE,    /* buffered up to limits.body_bytes, then on_request */
    HTTP_BODY_STREAMED, /* on_body for each piece, then on_request with an empty body */
};

struct http_handler {
    void *cookie; /* the first argument of each */
    /* Headers are there, the body is not. May answer, and then its result means nothing. NULL: HTTP_BODY_WHOLE. */
    enum http_body (*on_head)(void *cookie, struct http_request *request);
    /* A piece of a streamed body. False pauses it (after this piece) until http_body_resume. May answer. */
    bool (*on_body)(void *cookie, struct http_request *request, struct str piece);
    /* The request is whole. Not called when it has been answered already. */
    void (*on_request)(void *cookie, struct http_request *request);
};

struct http_server *http_server_new(uv_loop_t *loop, const struct http_limits *limits); /* NULL: defaults */

/*
 * Listens on "ADDR:PORT" ("127.0.0.1:4566", "[::1]:0"; numeric; port 0 takes a free one), or on a bound stream
 * socket (taken, also on failure). The handler is copied. The listener is the server's.
 */
int http_server_listen(struct http_server *server, struct str address, const struct http_handler *handler,
                       struct http_listener **ret, struct err *err);
int http_server_listen_fd(struct http_server *server, int fd, const struct http_handler *handler,
                          struct http_listener **ret, struct err *err);
uint16_t http_listener_port(const struct http_listener *listener); /* the real one */
bool http_listener_is_loopback(const struct http_listener *listener);
/* Stops it and drops its connections (on_gone, on_close come from the loop). The listener no longer exists. */
void http_listener_close(struct http_listener *listener);

/*
 * Ends the server: stops accepting, closes idle connections now, others when their answer is out, and all that are
 * left after grace_ms. Then done(arg), and the server no longer exists. A second call may only shorten the grace.
 */
void http_server_stop(struct http_server *server, unsigned grace_ms, void (*done)(void *arg), void *arg);

struct http_counts {
    size_t connections, in_flight /* requests with a handler */, buffered_bytes;
    uint64_t requests; /* ever */
};
struct http_counts http_server_counts(const struct http_server *server);

/* The body as memory of the caller's: moved when it is big, copied when it came with the head. request->body is empty
 * then. */
struct buf http_take_body(struct http_request *request);

/* Streamed bodies: go on after on_body returned false. */
void http_body_resume(struct http_request *request);

/* Parked requests and answers in pieces. One each; set again replaces. */
void http_on_gone(struct http_request *request, void (*gone)(void *arg, struct http_request *request), void *arg);
void http_on_drain(struct http_request *request, void (*drain)(void *arg, struct http_request *request), void *arg);

/*
 * The whole answer. Takes *body (left empty); NULL for none. content_type absent: none sent. Date, Content-Length and
 * Connection are the server's. Control bytes in header values become spaces. HEAD, 204 and 304 send no body.
 */
void http_answer(struct http_request *request, int status, struct str content_type, const struct http_header *headers,
                 size_t header_count, struct buf *body);

/*
 * The answer in pieces: chunked, or until close for HTTP/1.0. _chunk copies; false means that answer_bytes are queued:
 * stop until on_drain. (More is queued still, but past 16 times answer_bytes the connection is dropped.)
 */
void http_answer_begin(struct http_request *request, int status, struct str content_type,
                       const struct http_header *headers, size_t header_count);
bool http_answer_chunk(struct http_request *request, struct str bytes);
void http_answer_end(struct http_request *request);

/* What happens on an upgraded connection. `socket` is valid until on_close returns. */
struct http_socket_events {
    void *cookie;
    bool (*on_bytes)(void *cookie, struct http_socket *socket, struct str bytes); /* false: pause until _resume */
    void (*on_end)(void *cookie, struct http_socket *socket);   /* the client sends no more; may be NULL */
    void (*on_drain)(void *cookie, struct http_socket *socket); /* after _write said false; may be NULL */
    void (*on_close)(void *cookie, struct http_socket *socket); /* exactly once, the last */
};

/*
 * 101 with `Upgrade: protocol`. The events are copied. NULL, and nothing sent, where request->upgrade_asked is not set
 * (answer 426 then) or the request is not whole yet.
 */
struct http_socket *http_upgrade(struct http_request *request, struct str protocol, const struct http_header *headers,
                                 size_t header_count, const struct http_socket_events *events);
bool http_socket_write(struct http_socket *socket, struct str bytes); /* copies; false: stop until on_drain */
void http_socket_resume(struct http_socket *socket);
void http_socket_end(struct http_socket *socket);   /* sends no more, behind what is queued */
void http_socket_close(struct http_socket *socket); /* both ways, at once what is not yet sent is lost */
