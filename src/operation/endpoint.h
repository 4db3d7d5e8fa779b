/*
 * The API's front on HTTP: one port for all services. A request is the server's own path (a route), or
 * AWS's: its service by the signature's scope, its account by the access key, its region by the scope.
 */
#pragma once

#include "http/access.h"
#include "http/server.h"
#include "operation/call.h"

struct endpoint;

/* A path of the server's own. */
struct endpoint_route {
    const char *method, *path; /* a path that ends in * takes what begins so */
    bool is_health;            /* answers beyond loopback without the token */
    bool needs_token;          /* executes, or names a path of the host */
    void (*handle)(void *cookie, struct http_request *request);
};

struct endpoint_config {
    struct engine *engine;
    const struct service *const *services; /* ends in NULL */
    const struct endpoint_route *routes;   /* ends with path NULL */
    void *route_cookie;
    const struct access_config *access;
    bool (*region_exists)(struct str region);
};

struct endpoint *endpoint_new(const struct endpoint_config *config);
void endpoint_free(struct endpoint *endpoint);
/* For http_server_listen. with_routes: false inside a VPC, where there is the API only. */
struct http_handler endpoint_handler(struct endpoint *endpoint, bool with_routes);
uint64_t endpoint_calls(const struct endpoint *endpoint); /* answered since the start, for metrics */
