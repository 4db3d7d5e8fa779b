/*
 * One HTTP request as a handler sees it. Every view lives as long as the request: until http_answer or
 * http_answer_end returns, until http_upgrade returns, or until on_gone has been called, whichever comes
 * first. Loop thread only.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

struct http_header {
    struct str name, value; /* as sent; white space around the value is gone */
};

struct http_request {
    struct str method; /* "GET" */
    struct str path;   /* as sent, not decoded: "/a%20b"; "*" for OPTIONS * */
    struct str query;  /* behind the '?', not decoded; absent without one */
    struct str host;   /* Host's value; absent only in HTTP/1.0 */
    const struct http_header *headers;
    size_t header_count;
    struct str body;     /* the whole of it, contiguous; empty in on_head and with HTTP_BODY_STREAMED */
    struct arena *arena; /* the handler's to use, as long as the request */
    struct buf answer;   /* empty, its memory warm: build the answer's body here, hand &answer to http_answer */

    struct str peer; /* its address without port: "127.0.0.1", "::1" */
    uint16_t peer_port;
    bool peer_is_loopback;
    bool listener_is_loopback; /* bound to 127.0.0.0/8 or ::1 */
    bool upgrade_asked;        /* Connection: upgrade with an Upgrade header: http_upgrade may be called */
    void *data;                /* the handler's; NULL at first */
};

/* The first header of that name, ASCII case ignored; absent (p == NULL) without one. */
struct str http_header(const struct http_request *request, struct str name);
