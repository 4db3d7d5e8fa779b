#include "introspection/answer.h"

#include <stdarg.h>

struct held {
    struct http_request *request;
    struct str content_type;
    struct buf body;
    struct store_wait *wait;
};

static void on_durable(void *cookie, bool durable)
{
    struct held *held = cookie;

    if (!durable) {
        buf_free(&held->body);
        answer_failure(held->request, 503, (struct str){0}, NOT_DURABLE);
        return;
    }
    http_answer(held->request, 200, held->content_type, NULL, 0, &held->body);
}

static void on_gone(void *arg, struct http_request *request)
{
    struct held *held = arg;

    store_wait_cancel(held->wait);
    buf_free(&held->body);
}

void answer_when_durable(struct introspection *own, struct http_request *request, struct str content_type,
                         struct buf *body)
{
    struct store *store = own->engine->store;
    struct held *held;

    if (store_durable(store) >= store_last(store)) {
        http_answer(request, 200, content_type, NULL, 0, body);
        return;
    }
    held = arena_new(request->arena, struct held);
    *held = (struct held){.request = request, .content_type = content_type, .body = *body};
    *body = BUF_INIT;
    http_on_gone(request, on_gone, held);
    held->wait = store_when_durable(store, store_last(store), on_durable, held);
}

void answer_json(struct http_request *request, int status, struct buf *body)
{
    http_answer(request, status, JSON_TYPE, NULL, 0, body);
}

void answer_failure(struct http_request *request, int status, struct str code, const char *format, ...)
{
    struct buf body = BUF_INIT;
    struct json_writer json = {&body};
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_open_object(&json, NULL);
    json_put_str(&json, "error", str_of(text));
    if (code.p)
        json_put_str(&json, "code", code);
    json_close_object(&json);
    answer_json(request, status, &body);
}

struct str query_value(const struct http_request *request, struct str name)
{
    for (struct str rest = request->query; rest.p;) {
        struct str value = str_cut(&rest, '&'), key = str_cut(&value, '=');

        if (str_equal(key, name))
            return value.p ? value : S("");
    }
    return (struct str){0};
}

void each_world(struct introspection *own, struct arena *arena, void (*each)(void *cookie, struct tx *tx), void *cookie)
{
    struct store *store = own->engine->store;

    for (struct world *world = NULL; (world = store_next_world(store, world));) {
        struct tx *tx = tx_begin(store, world, arena, S("introspection"));

        each(cookie, tx);
        tx_rollback(tx);
    }
}
