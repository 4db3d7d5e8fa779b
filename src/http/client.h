/*
 * A small blocking HTTP/1.1 client for our own command line: one request, one connection, no TLS. SIGPIPE is never
 * raised.
 */
#pragma once

#include "base/err.h"
#include "http/request.h"

struct http_call {
    struct str method; /* "GET" */
    struct str url;    /* http://HOST[:PORT][/path][?query]; HOST a name, an IPv4 or a [v6] address */
    const struct http_header *headers;
    size_t header_count;
    struct str body;
    struct str upgrade;  /* asks for that protocol; absent: no upgrade */
    unsigned connect_ms; /* 0: 5 s */
    unsigned silence_ms; /* longest wait for the next byte; 0: for ever */
    /*
     * Pieces of the answer's body as they come; false ends the call (not an error). NULL: the body is kept in
     * the answer. Called only when status is 2xx; the body of any other answer is kept, so that it can be shown.
     */
    bool (*on_body)(void *cookie, struct str piece);
    void *cookie;
};

struct http_reply {
    int status;
    const struct http_header *headers; /* in arena */
    size_t header_count;
    struct buf body;  /* owned; at most 64 MiB */
    int fd;           /* after a 101: the socket, blocking, the caller's; else -1 */
    struct buf early; /* owned: bytes of the upgraded stream that came with the head */
    struct arena arena;
};

#define HTTP_REPLY_INIT ((struct http_reply){.fd = -1})

/* 0 when an answer came, whatever its status; *reply is to be freed in any case. */
int http_call(const struct http_call *call, struct http_reply *reply, struct err *err);
struct str http_reply_header(const struct http_reply *reply, struct str name); /* absent without one */
void http_reply_free(struct http_reply *reply);
#define AUTO_HTTP_REPLY __attribute__((cleanup(http_reply_free))) struct http_reply
