#include "introspection/introspection.h"

#include "introspection/answer.h"

#define BOTH(method, path, is_health, needs_token, handle)         \
    {method, "/_haar" path, is_health, needs_token, handle},       \
    {                                                              \
        method, "/_fakecloud" path, is_health, needs_token, handle \
    }

static void on_machine_read(void *cookie, struct http_request *request)
{
    if (str_ends(request->path, S("/console")))
        on_console(cookie, request);
    else
        answer_failure(request, 404, (struct str){0}, "There is nothing at this path.");
}

static void on_machine_act(void *cookie, struct http_request *request)
{
    if (str_ends(request->path, S("/exec")))
        on_exec(cookie, request);
    else
        answer_failure(request, 404, (struct str){0}, "There is nothing at this path.");
}

const struct endpoint_route introspection_routes[] = {
    BOTH("GET", "/health", true, false, on_health),
    BOTH("POST", "/reset", false, false, on_reset),
    BOTH("GET", "/metrics", false, false, on_metrics),
    BOTH("GET", "/ec2/instances", false, false, on_instances),
    BOTH("GET", "/ec2/instance-networks", false, false, on_instance_networks),
    BOTH("GET", "/ec2/instances/*", false, true, on_machine_read),
    BOTH("POST", "/ec2/instances/*", false, true, on_machine_act),
    {"POST", "/_reset", false, false, on_reset},
    {"GET", "/_localstack/health", true, false, on_localstack_health},
    {"POST", "/_localstack/state/reset", false, false, on_reset},
    {"POST", "/moto-api/reset", false, false, on_reset},
    {0},
};

void introspection_stop(struct introspection *own)
{
    sessions_stop(own);
    readers_stop(own);
}
