/* Is it up, and what does it run on? */
#include "introspection/answer.h"

#include "services/services.h"

static void put_status(struct introspection *own, struct json_writer *json)
{
    bool healthy = store_healthy(own->engine->store);

    json_put_str(json, "status", healthy ? S("ok") : S("degraded"));
    if (!healthy)
        json_put_str(json, "reason", S("the journal cannot be written: nothing is changed until it can"));
    json_put_str(json, "version", S(HAAR_VERSION));
}

static void put_lacks(const struct workload_backend *backend, struct json_writer *json)
{
    size_t count = 0;
    const struct workload_lack *lacks = backend->driver && backend->driver->lacks
                                            ? backend->driver->lacks(backend->cookie, &count)
                                            : NULL;

    json_open_list(json, "lacks");
    for (size_t i = 0; i < count; i++) {
        json_open_object(json, NULL);
        json_put_str(json, "feature", str_of(lacks[i].what));
        json_put_str(json, "effect", str_of(lacks[i].effect));
        json_put_str(json, "reason", str_of(lacks[i].why));
        json_close_object(json);
    }
    json_close_list(json);
}

void on_health(void *cookie, struct http_request *request)
{
    struct introspection *own = cookie;
    struct buf body = BUF_INIT;
    struct json_writer json = {&body};

    json_open_object(&json, NULL);
    put_status(own, &json);
    json_open_object(&json, "backends");
    json_put_str(&json, "ec2", own->engine->backend);
    json_put_str(&json, "lambda", S("none"));
    json_close_object(&json);
    if (own->engine->backend_reason.len)
        json_put_str(&json, "backendReason", own->engine->backend_reason);
    put_lacks(&own->backend, &json);
    if (own->owner.p)
        json_put_str(&json, "owner", own->owner);
    json_close_object(&json);
    answer_json(request, 200, &body);
}

/* LocalStack's shape: what its clients wait for is a service that is "available" or "running". */
void on_localstack_health(void *cookie, struct http_request *request)
{
    struct introspection *own = cookie;
    struct buf body = BUF_INIT;
    struct json_writer json = {&body};

    json_open_object(&json, NULL);
    json_open_object(&json, "services");
    for (const struct service *const *at = services; *at; at++)
        json_put_str(&json, (*at)->id, S("running"));
    json_close_object(&json);
    json_put_str(&json, "edition", S("haar"));
    put_status(own, &json);
    json_close_object(&json);
    answer_json(request, 200, &body);
}
