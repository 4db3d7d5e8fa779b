#include "cli/serve.h"

#include "base/log.h"
#include "base/mem.h"
#include "operation/endpoint.h"
#include "operation/park.h"
#include "reconcile/instances.h"
#include "services/ec2/default_world.h"
#include "services/services.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>

static int start(struct str address, struct err *err)
{
    static struct engine engine;
    static const struct endpoint_route no_routes[] = {{0}};
    static struct access_config access;
    struct endpoint_config endpoint = {&engine, services, no_routes, NULL, &access, service_region_exists};
    struct store_options options = {service_kinds, service_kind_count, NULL, uv_default_loop()};
    struct http_server *server;
    struct http_listener *listener;
    struct http_handler handler;
    int r;

    engine.loop = uv_default_loop();
    engine.account = S("000000000000");
    engine.region = S("us-east-1");
    engine.pool = work_pool_new(engine.loop, 32);
    r = store_open(&options, &engine.store, err);
    if (r < 0)
        return r;
    store_set_seed(engine.store, ec2_seed_world, NULL);
    engine.parking = parking_new(&engine);
    instances_start(instances_new(&engine), &(struct workload_backend){0}, S(""));
    server = http_server_new(engine.loop, NULL);
    handler = endpoint_handler(endpoint_new(&endpoint), true);
    r = http_server_listen(server, address, &handler, &listener, err);
    if (r < 0)
        return r;
    printf("haar: listening on http://" STR_FMT "\n", STR_ARG(address));
    fflush(stdout);
    uv_run(engine.loop, UV_RUN_DEFAULT);
    return 0;
}

int serve_main(int argc, char **argv)
{
    struct err err = ERR_INIT;

    signal(SIGPIPE, SIG_IGN);
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 32 << 20);
    if (start(S("127.0.0.1:4566"), &err) < 0) {
        log_error("%s", err.text);
        return 1;
    }
    return 0;
}
