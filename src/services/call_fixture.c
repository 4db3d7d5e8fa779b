#include "services/call_fixture.h"

#include "aws/query.h"
#include "operation/park.h"
#include "services/ec2/default_world.h"
#include "services/services.h"

#include <stdio.h>
#include <stdlib.h>

enum { WORKERS = 2 };

struct engine fixture_engine;

static uv_timer_t keep; /* the loop turns while nothing else is to be done */

static void on_tick(uv_timer_t *timer)
{
}

void fixture_open(void)
{
    struct err err = ERR_INIT;
    struct store_options options = {service_kinds, service_kind_count, NULL, uv_default_loop()};

    fixture_engine = (struct engine){.loop = options.loop,
                                     .account = S("123456789012"),
                                     .region = S("us-east-1"),
                                     .backend = S("none"),
                                     .default_image = S("tiny"),
                                     .public_network = 0xc6120000,
                                     .public_prefix = 20};
    if (store_open(&options, &fixture_engine.store, &err) < 0)
        abort();
    store_set_seed(fixture_engine.store, ec2_seed_world, NULL);
    fixture_engine.pool = work_pool_new(fixture_engine.loop, WORKERS);
    fixture_engine.parking = parking_new(&fixture_engine);
    uv_timer_init(fixture_engine.loop, &keep);
    uv_timer_start(&keep, on_tick, 1 << 30, 1 << 30);
}

void fixture_close(void)
{
    while (work_pending(fixture_engine.pool))
        uv_run(fixture_engine.loop, UV_RUN_ONCE);
    parking_free(fixture_engine.parking);
    kept_free(&fixture_engine.kept);
    store_close(fixture_engine.store);
    work_pool_free(fixture_engine.pool);
    uv_close((uv_handle_t *)&keep, NULL);
    uv_run(fixture_engine.loop, UV_RUN_DEFAULT);
    uv_loop_close(fixture_engine.loop);
}

const struct operation *fixture_operation(struct str name, const struct service **ret_service)
{
    for (const struct service *const *at = services; *at; at++) {
        const struct operation *operation = service_operation(*at, name);

        if (operation && operation->handler) {
            *ret_service = *at;
            return operation;
        }
    }
    return NULL;
}

static void on_done(struct call *call, int r, struct err *err)
{
    struct fixture_call *made = call->cookie;

    made->done = true;
    made->r = r;
    if (r == 0) {
        operation_answer(call, &made->body);
        return;
    }
    if (!err->aws) { /* InternalError, to a client: nothing that these do should be */
        fprintf(stderr, "%s\n", err->text);
        abort();
    }
    made->code = str_of(err->aws->code);
    codec_error(call->service, err->aws, str_of(err->text), str_of(call->request_id), &made->body);
}

bool fixture_start(struct fixture_call *made, const char *account, const struct service *service,
                   const struct operation *operation, struct str text)
{
    struct form form = {0};
    struct err err = ERR_INIT;
    void *in = NULL;

    *made = (struct fixture_call){.before = store_last(fixture_engine.store)};
    if (operation->input != NO_SHAPE)
        in = arena_alloc(&made->arena, service->shapes[operation->input].size);
    if (form_parse(&made->arena, text, &form, &err) < 0 ||
        query_decode(service, operation, &form, &made->arena, in, &err) < 0) {
        arena_free(&made->arena);
        return false;
    }
    made->call = (struct call){.engine = &fixture_engine,
                               .account = arena_str(&made->arena, str_of(account)),
                               .region = fixture_engine.region,
                               .service = service,
                               .operation = operation,
                               .arena = &made->arena,
                               .in = in,
                               .done = on_done,
                               .cookie = made};
    id_uuid(made->call.request_id);
    operation_call(&made->call);
    return true;
}

void fixture_wait(struct fixture_call *made)
{
    while (!made->done)
        uv_run(fixture_engine.loop, UV_RUN_ONCE);
}

void fixture_end(struct fixture_call *made)
{
    if (!made->done)
        operation_cancel(&made->call);
    buf_free(&made->body);
    arena_free(&made->arena);
}
