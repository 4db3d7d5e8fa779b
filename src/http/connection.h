/*
 * Private to the server: connections and what they share.
 *
 * Buffers. `in` is what llhttp has got of the request in hand: its head always, of its body what came with the head.
 * While the head is parsed `in` may grow and move; from then on the request's views point into it and it stays.
 * What comes later is parsed from the server's one read buffer (`fresh`); what may not be parsed yet (a pipelined
 * request, a paused body) waits in `ahead`. Bytes are parsed in this order: in, ahead, fresh.
 *
 * Callbacks to handlers are made from the loop only (a read, a finished write, the sweep, or the ready list), never
 * from inside a function that a handler called. What such a function finds out (a broken pipe, more to parse) is put
 * on the ready list.
 */
#pragma once

#include "http/parser.h"
#include "http/server.h"

enum {
    READ_SIZE = 64 * 1024,      /* the server's read buffer */
    IN_FIRST = 4096,            /* a connection's, at first */
    IN_KEPT = 16 * 1024,        /* bigger ones are freed with their request */
    AHEAD_MAX = 64 * 1024,      /* reading stops when so much waits */
    ANSWER_KEPT = 64 * 1024,    /* answer bodies up to this are used again */
    EXTENSION_MAX = 16 * 1024,  /* bytes of chunk extensions in one request */
    LINGER_MS = 2000,           /* wait for the client's FIN behind our last byte */
    LINGER_BYTES = 1024 * 1024, /* what is thrown away meanwhile */
    REFUSED_MAX = 64,           /* connections over the limit that are told so; others are just closed */
};

enum phase {
    PHASE_IDLE, /* between requests */
    PHASE_HEAD,
    PHASE_BODY,
    PHASE_HANDLED,  /* whole, with its handler */
    PHASE_LINGER,   /* the last answer is on its way; what comes is thrown away */
    PHASE_UPGRADED, /* `socket` */
    PHASE_CLOSED,
};

enum ready {
    READY_RUN = 1,   /* there may be something to parse or to deliver */
    READY_CLOSE = 2, /* close it */
};

struct http_exchange {
    struct http_request request; /* first: handlers hold a pointer to it */
    struct http_connection *connection;
    struct http_exchange *next_free;
    struct arena arena;
    /* Cleared by exchange_clear but for arena, body and request.answer. */
    struct str target;     /* while the head is parsed */
    struct buf body;       /* a body that is not contiguous in `in` */
    uint64_t body_started; /* loop time */
    uint64_t body_seen;    /* bytes of it */
    size_t extension_bytes, trailer_bytes;
    void (*gone)(void *, struct http_request *);
    void *gone_arg;
    void (*drain)(void *, struct http_request *);
    void *drain_arg;
    bool told;          /* the handler knows of it */
    bool streamed;      /* its body */
    bool paused;        /* its body, by the handler */
    bool resumed;       /* and not parsed on since: the parser may have an end to tell, without more bytes */
    bool begun;         /* an answer in pieces */
    bool chunked;       /* the pieces are chunks */
    bool bodiless;      /* the answer has none: HEAD, 204, 304 */
    bool finished;      /* answered */
    bool expects;       /* 100 (Continue) */
    bool head_complete; /* parsed, and a body follows */
    bool complete;      /* parsed to its end */
    int refusal;        /* status that the parser's callbacks want, 0 if none */
    struct http_header headers[];
};

struct http_socket {
    struct http_connection *connection;
    struct http_socket_events events;
    bool paused, end_told, ended;
};

struct http_connection {
    uv_tcp_t tcp;
    uv_shutdown_t shutdown;
    struct http_server *server;
    struct http_listener *listener;
    struct http_connection *previous, *next; /* the server's */
    struct http_connection *next_ready;
    unsigned ready; /* enum ready; on the list when not 0 */
    enum phase phase;
    llhttp_t parser;
    struct http_exchange *exchange; /* NULL in IDLE, LINGER, UPGRADED */
    struct buf in;
    size_t start, at; /* in `in`: where the request in hand begins, and parsed up to here */
    struct buf ahead;
    struct str fresh;
    size_t counted;    /* bytes that it has in server->buffered */
    uint64_t deadline; /* loop time; UINT64_MAX: none */
    uint64_t write_progress_at;
    size_t queued_last; /* at the last sweep */
    size_t linger_bytes;
    bool running; /* run is on the stack */
    bool reading;
    bool keep; /* another request may follow */
    bool eof;
    bool shut; /* uv_shutdown was called */
    bool shut_done;
    bool drain_wanted;
    struct http_socket socket;
    bool peer_is_loopback;
    uint16_t peer_port;
    char peer[46];
};

struct http_listener {
    uv_tcp_t tcp;
    struct http_server *server;
    struct http_listener *previous, *next;
    struct http_handler handler;
    size_t references; /* its handle, its connections */
    uint16_t port;
    bool is_loopback;
};

struct http_server {
    uv_loop_t *loop;
    struct http_limits limits;
    struct http_listener *listeners;
    struct http_connection *connections;
    struct http_connection *ready;
    struct http_exchange *free_exchanges;
    size_t connection_count, listener_count;
    size_t buffered, in_flight;
    uint64_t requests;
    uv_timer_t sweep, grace;
    uv_idle_t ready_idle;
    unsigned open_handles; /* of these three */
    bool stopping;
    void (*done)(void *);
    void *done_arg;
    struct buf head; /* where answers' heads are made */
    time_t date_at;
    char ok_and_date[80]; /* see answer.c */
    char read_buffer[READ_SIZE];
};

/* connection.c */
void connection_open(struct http_server *server, struct http_listener *listener);
void connection_run(struct http_connection *c);                  /* parses and dispatches what is there */
void connection_close(struct http_connection *c);                /* now; from the loop only */
void connection_ready(struct http_connection *c, unsigned what); /* later, from the loop */
void connection_linger(struct http_connection *c);               /* sends what is queued, then FIN */
void connection_read(struct http_connection *c);                 /* reads again */
void connection_compact(struct http_connection *c);              /* `in` without the requests that are over */
void connection_account(struct http_connection *c);
void connection_shut(struct http_connection *c);
bool connection_is_lost(const struct http_connection *c);      /* half-closed, and since then reset or silent */
void connection_refuse(struct http_connection *c, int status); /* an answer of our own, and the end */
bool server_is_full(const struct http_server *server, size_t more);

/* exchange: request.c */
void exchange_begin(struct http_connection *c);
void exchange_end(struct http_connection *c); /* the connection goes on with the next, or lingers */
void exchange_release(struct http_connection *c);
struct http_exchange *exchange_of(struct http_request *request);

/* parse.c */
extern const llhttp_settings_t parse_settings;
int parse_head(struct http_connection *c); /* checks and completes the request; 0 or the status to refuse it with */
void parse_rebase(struct http_connection *c, const char *old);

/* answer.c. answer_send writes head, bytes or else *own (taken, left empty), tail; queues what the socket does not
 * take. */
void answer_send(struct http_connection *c, struct str head, struct str bytes, struct buf *own, struct str tail);

void answer_refusal(struct http_connection *c, int status, bool is_head);
void answer_drained(struct http_connection *c); /* calls on_drain when it is time */

/* socket.c */
void socket_begin(struct http_connection *c, const struct http_socket_events *events);
void socket_pump(struct http_connection *c, struct str bytes);
void socket_closed(struct http_connection *c);

/* server.c */
void server_adopt(struct http_server *server, struct http_connection *c);
bool address_is_loopback(const struct sockaddr *address);
uint16_t address_port(const struct sockaddr *address);
void server_forget(struct http_server *server, struct http_connection *c);
