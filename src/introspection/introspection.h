/*
 * The server's own paths: health, reset, what machines there are and how they are connected, metrics; and, with the
 * token, a machine's console and exec. All under /_haar/ and again under /_fakecloud/; some also under the names that
 * other emulators gave them, so that test suites move over unchanged.
 */
#pragma once

#include "operation/endpoint.h"
#include "workload/workload.h"

struct reset;
struct exec_session;
struct console_reader;

/* Wired by who starts the server, before it listens. */
struct introspection {
    struct engine *engine;
    struct http_server *http;
    struct endpoint *endpoint;
    struct workload_backend backend; /* driver NULL: no machines */
    struct str image;                /* what an instance boots */
    struct str owner;                /* absent: none (not root) */
    int64_t started_us;              /* time_monotonic_us at the start */
    /* Calls done(arg) when the workloads of records that are gone are gone too. NULL: at once. */
    void (*drain)(void *cookie, void (*done)(void *arg), void *arg);
    void *drain_cookie;
    /* Its own. */
    struct reset *resets_new, *resets_draining;
    struct exec_session *sessions;
    struct console_reader *readers;
};

/* The cookie of each is the struct introspection. Ends with path NULL. */
extern const struct endpoint_route introspection_routes[];

/* The server ends: closes sessions and followed consoles. http_server_stop waits for no one after that. */
void introspection_stop(struct introspection *own);
