#include "services/introspection/introspection.h"

#include "services/introspection/answer.h"

#define BOTH(method, path, is_health, needs_token, handle)         \
    {method, "/_haar" path, is_health, needs_token, handle},       \
    {                                                              \
        method, "/_fakecloud" path, is_health, needs_token, handle \
    }

const struct endpoint_route introspection_routes[] = {
    BOTH("GET", "/health", true, false, on_health),
    BOTH("POST", "/reset", false, false, on_reset),
    {"POST", "/_reset", false, false, on_reset},
    {"GET", "/_localstack/health", true, false, on_localstack_health},
    {"POST", "/_localstack/state/reset", false, false, on_reset},
    {"POST", "/moto-api/reset", false, false, on_reset},
    {0},
};

void introspection_stop(struct introspection *own)
{
}
