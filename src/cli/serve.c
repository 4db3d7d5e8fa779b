/*
 * Start: settings → owner and its lock → store (the journal is loaded) → listen → which backend → the line on stdout.
 * Behind it: the backend is opened and adopts what still runs, what dead servers left is removed.
 *
 * End, at the first signal that asks for it (SIGTERM and others: `endings`): stop accepting and finish answers → the
 * reconciler → the backend (without --data its machines too) → close the store → let go of the owner. A second one has
 * its default effect: the process ends at once. What else would end a process by default and says nothing to a server
 * is ignored (`ignored`). Left to their default are SIGKILL and what tells of a fault of the program's own (SIGSEGV,
 * SIGABRT, SIGTRAP, SIGSYS, …).
 */
#include "cli/serve.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "cli/backend.h"
#include "cli/memory.h"
#include "cli/run_folder.h"
#include "cli/settings.h"
#include "operation/park.h"
#include "reconcile/instances.h"
#include "reconcile/networks.h"
#include "services/ec2/default_world.h"
#include "introspection/introspection.h"
#include "services/services.h"
#include "workload/native.h"
#include "workload/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    GRACE_MS = 4000,  /* for answers that are on their way */
    END_SECONDS = 10, /* the whole end; then the kernel ends it */
    MAX_WORKERS = 32,
};

static const struct ending {
    int number;
    const char *name;
} endings[] = {
    {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"},   {SIGHUP, "SIGHUP"}, /* its terminal has gone */
    {SIGQUIT, "SIGQUIT"}, {SIGXCPU, "SIGXCPU"},                     /* its CPU time is used up */
};

/* And all real-time signals. SIGXFSZ: the write that was too much fails. SIGPIPE likewise, see serve_main. */
static const int ignored[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT, SIGXFSZ};

struct server {
    struct settings settings;
    struct arena arena; /* what lives as long as the server */
    struct str data;    /* absolute; absent: in memory */
    struct owner owner;
    bool owned;
    struct run_folder run_folder;
    struct backend_choice choice;
    struct workload_backend backend; /* once opened; driver NULL: none */
    struct workload_sink sink;
    bool opening, http_stopped, failed;
    bool ended; /* in order: what was to be removed is */
    struct err open_err;
    int opened;
    struct engine engine;
    struct instances *instances;
    struct networks *network;
    struct access_config access;
    struct introspection own;
    struct endpoint *endpoint;
    struct http_server *http;
    struct http_listener *listener;
    uv_signal_t signals[ARRAY_LEN(endings)];
    bool reaping, workloads_closed;
    atomic_bool reap_no_more; /* what dead servers left is the next one's */
    struct memory memory;
    uv_timer_t hold; /* keeps the loop going until the end is over: the handles that do the work do not */
};

/* An absolute path: the owner's lock records it. */
static int make_data_folder(struct server *server, struct err *err)
{
    char given[4096], *absolute;
    int r;

    if (!server->settings.data.p)
        return 0;
    if (!str_to_z(server->settings.data, given, sizeof given))
        return err_os(err, ENAMETOOLONG, "data folder");
    r = dir_make(given, 0700, err);
    if (r < 0)
        return err_wrap(err, "data folder");
    absolute = realpath(given, NULL);
    if (!absolute)
        return err_os(err, errno, "data folder %s", given);
    server->data = arena_str(&server->arena, str_of(absolute));
    free(absolute);
    return 0;
}

/* Who cannot write to /run (not root, or a read-only container) serves the API all the same: such a server has no
 * machines to own. */
static int take_owner(struct server *server, struct err *err)
{
    int r = owner_take(server->data, &server->owner, err);

    server->owned = r == 0;
    if (server->owned || (err->number != EACCES && err->number != EPERM && err->number != EROFS))
        return r;
    log_info("no folder in /run/haar (%s): exec and logs need HAAR_TOKEN", err->text);
    return 0;
}

/* What privileged calls must show: HAAR_TOKEN, else the owner's own. */
static void choose_token(struct server *server)
{
    server->access.token = server->settings.token;
    if (!server->access.token.p && server->owned)
        server->access.token = str_of(server->owner.token);
}

/* The host in a URL whose form has been checked. */
static struct str url_host(struct str url)
{
    struct str rest = url;

    str_cut(&rest, '/');
    rest = str_skip(rest, 1);
    rest = str_cut(&rest, '/');
    return str_cut(&rest, ':');
}

static void set_access(struct server *server)
{
    const struct settings *settings = &server->settings;

    server->access.allowed_hosts = settings->allowed_hosts.items;
    server->access.allowed_host_count = settings->allowed_hosts.count;
    server->access.allowed_origins = settings->allowed_origins.items;
    server->access.allowed_origin_count = settings->allowed_origins.count;
    if (settings->k8s_self_url.p)
        server->access.self_host = url_host(settings->k8s_self_url);
}

static int open_store(struct server *server, struct err *err)
{
    struct store_options options = {service_kinds, service_kind_count, server->data.p, server->engine.loop};
    int r = store_open(&options, &server->engine.store, err);

    if (r < 0)
        return r;
    store_set_seed(server->engine.store, ec2_seed_world, NULL);
    server->network = networks_new(&server->engine, &clock_of_host);
    server->engine.parking = parking_new(&server->engine); /* asks the network about what that has seen */
    server->instances = instances_new(&server->engine, &clock_of_host);
    return 0;
}

static int read_console(void *cookie, struct str id, size_t limit, struct buf *out, struct err *err)
{
    const struct workload_backend *backend = cookie;
    uint64_t written;

    return backend->driver->console(backend->cookie, id, limit, out, &written, err);
}

/* On a worker, behind the first answers: what servers that are dead and have no data folder left on this host. */
static void reap_dead(void *arg)
{
    struct server *server = arg;

    owner_reap_dead(workload_native_reap, &server->reap_no_more);
}

static void close_rest(struct server *server);

static void on_reaped(void *arg)
{
    struct server *server = arg;

    server->reaping = false;
    if (server->workloads_closed)
        close_rest(server);
}

static void have_no_machines(struct server *server)
{
    server->backend = (struct workload_backend){0};
    server->engine.backend = S("none");
    server->engine.backend_reason = server->choice.reason;
    log_warning("there are no machines: " STR_FMT ". Every API call still works.", STR_ARG(server->choice.reason));
}

/* Where public addresses come from: what the driver routes or, where there are no machines, what a setting says. */
static void choose_public_pool(struct server *server)
{
    struct engine *engine = &server->engine;

    if (server->backend.driver) {
        struct fabric_status status = {0};
        if (server->backend.driver->network_status)
            server->backend.driver->network_status(server->backend.cookie, &status);
        engine->public_network = status.public_pool.network;
        engine->public_prefix = status.public_pool.prefix;
        if (!status.public_pool.prefix)
            log_warning("there are no public addresses: %s", status.internet_reason);
        return;
    }
    engine->public_network = server->settings.public_pool.set ? server->settings.public_pool.value.network : 0xc6120000;
    engine->public_prefix = server->settings.public_pool.set ? server->settings.public_pool.value.prefix : 16;
}

/* What runs has its rules as the records have them: now others may start. */
static void on_network_told(void *arg)
{
    struct server *server = arg;

    instances_start(server->instances, &server->backend, server->choice.image);
}

static void start_instances(struct server *server)
{
    choose_public_pool(server);
    server->own.backend = server->backend;
    server->own.image = server->choice.image;
    if (server->backend.driver) {
        server->engine.console_cookie = &server->backend;
        server->engine.console = read_console;
        server->reaping = true;
        work_run(server->engine.pool, reap_dead, on_reaped, server);
    }
    networks_start(server->network, &server->backend, on_network_told, server);
}

static void begin_end(struct server *server);
static void stop_instances(struct server *server);

/* On a worker. */
static void open_backend(void *arg)
{
    struct server *server = arg;

    server->opened = backend_open(&server->choice, &server->settings, &server->owner, &server->sink, &server->backend,
                                  &server->open_err);
}

/* A driver whose probe was well and that does not open all the same: asked for by name, the server ends; else there
 * are no machines. */
static void on_opened(void *arg)
{
    struct server *server = arg;

    server->opening = false;
    if (server->opened < 0) {
        server->choice.reason = arena_printf(&server->arena, "%s: %s", server->choice.name, server->open_err.text);
        have_no_machines(server);
    }
    start_instances(server);
    if (server->http_stopped) {
        stop_instances(server);
    } else if (server->opened < 0 && server->choice.asked) {
        server->failed = true;
        begin_end(server);
    }
}

static int choose_backend(struct server *server, struct err *err)
{
    int r = backend_choose(&server->settings, server->owned ? &server->owner : NULL, &server->arena, &server->choice,
                           err);

    if (r < 0)
        return r;
    if (server->choice.reason.p) {
        have_no_machines(server);
        start_instances(server);
        return 0;
    }
    server->engine.backend = str_of(server->choice.name);
    server->sink = instances_sink(server->instances);
    server->opening = true;
    work_run(server->engine.pool, open_backend, on_opened, server);
    return 0;
}

static void drain(void *cookie, void (*done)(void *arg), void *arg)
{
    struct server *server = cookie;

    instances_when_idle(server->instances, done, arg);
}

static void make_endpoint(struct server *server)
{
    struct endpoint_config config = {&server->engine, services,        introspection_routes,
                                     &server->own,    &server->access, service_region_exists};

    server->endpoint = endpoint_new(&config);
    server->http = http_server_new(server->engine.loop, NULL);
    server->own.engine = &server->engine;
    server->own.http = server->http;
    server->own.endpoint = server->endpoint;
    server->own.drain = drain;
    server->own.drain_cookie = server;
    if (server->owned)
        server->own.owner = str_of(server->owner.id);
}

/* The address it got, as a client writes it; beside the token, so that the command line knows whose token it is. */
static int announce(struct server *server, struct err *err)
{
    struct str listen = server->settings.listen;
    struct str address;
    size_t port = listen.len;
    int r = 0;

    while (listen.p[port - 1] != ':')
        port--;
    address = arena_printf(&server->arena, STR_FMT "%u", STR_ARG(str_first(listen, port)),
                           http_listener_port(server->listener));
    if (server->owned)
        r = run_folder_open(&server->run_folder, server->engine.loop, &server->owner, server->data, address, err);
    printf("haar: listening on http://" STR_FMT "\n", STR_ARG(address));
    fflush(stdout);
    return r;
}

static void close_rest(struct server *server)
{
    instances_free(server->instances);
    networks_free(server->network);
    parking_free(server->engine.parking);
    kept_free(&server->engine.kept);
    store_close(server->engine.store);
    work_pool_free(server->engine.pool);
    for (size_t i = 0; i < ARRAY_LEN(server->signals); i++)
        uv_close((uv_handle_t *)&server->signals[i], NULL);
    uv_close((uv_handle_t *)&server->hold, NULL);
    memory_close(&server->memory);
    run_folder_close(&server->run_folder);
}

/* The pool goes last, with no job in it. */
static void on_workloads_closed(void *arg)
{
    struct server *server = arg;

    server->workloads_closed = true;
    if (!server->reaping) /* else on_reaped goes on here */
        close_rest(server);
}

/* On a worker: removing machines takes time. */
static void close_backend(void *arg)
{
    struct server *server = arg;
    const struct workload_backend *backend = &server->backend;
    struct err err = ERR_INIT;

    server->ended = !backend->driver ||
                    backend->driver->close(backend->cookie, !server->data.p || server->settings.remove_on_exit, &err) ==
                        0;
    if (!server->ended)
        log_error("end of the %s backend: %s", backend->driver->name, err.text);
}

static void on_network_stopped(void *arg)
{
    struct server *server = arg;

    work_run(server->engine.pool, close_backend, on_workloads_closed, server);
}

static void on_instances_stopped(void *arg)
{
    struct server *server = arg;

    networks_stop(server->network, on_network_stopped, server);
}

static void stop_instances(struct server *server)
{
    instances_stop(server->instances, on_instances_stopped, server);
}

static void on_http_stopped(void *arg)
{
    struct server *server = arg;

    server->http_stopped = true;
    if (!server->opening) /* else on_opened goes on here */
        stop_instances(server);
}

static void on_hold(uv_timer_t *timer)
{
}

static void begin_end(struct server *server)
{
    for (size_t i = 0; i < ARRAY_LEN(server->signals); i++)
        uv_signal_stop(&server->signals[i]); /* back to their default: a second one ends at once */
    signal(SIGALRM, SIG_DFL);
    alarm(END_SECONDS);
    uv_timer_start(&server->hold, on_hold, 1000 * END_SECONDS, 0);
    server->reap_no_more = true;
    introspection_stop(&server->own);
    http_server_stop(server->http, GRACE_MS, on_http_stopped, server);
}

static void on_signal(uv_signal_t *handle, int number)
{
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        if (endings[i].number == number)
            log_info("%s: ending", endings[i].name);
    begin_end(handle->data);
}

/* nohup's server outlives its terminal. */
static bool is_left_ignored(int number)
{
    struct sigaction now;

    return number == SIGHUP && sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

static void catch_signals(struct server *server)
{
    uv_timer_init(server->engine.loop, &server->hold);
    memory_open(&server->memory, server->engine.loop);
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        uv_signal_init(server->engine.loop, &server->signals[i]);
        server->signals[i].data = server;
        if (!is_left_ignored(endings[i].number))
            uv_signal_start(&server->signals[i], on_signal, endings[i].number);
    }
}

static void do_nothing(int number)
{
}

/* By a handler, not by SIG_IGN: that would be inherited by every program that the server starts, to the machines'. */
static void ignore_signals(void)
{
    struct sigaction nothing = {.sa_handler = do_nothing, .sa_flags = SA_RESTART};

    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        sigaction(ignored[i], &nothing, NULL);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        sigaction(number, &nothing, NULL);
}

static void make_engine(struct server *server)
{
    struct engine *engine = &server->engine;

    engine->loop = uv_default_loop();
    engine->account = server->settings.account_id;
    engine->region = server->settings.region;
    engine->default_image = server->settings.ec2_image;
    engine->pool = work_pool_new(engine->loop, MAX_WORKERS);
}

static int prepare(struct server *server, struct err *err)
{
    int r = make_data_folder(server, err);

    if (r == 0 && server->data.p)
        r = store_make(server->data.p, err); /* before the owner: once that is there, records must be */
    if (r == 0)
        r = take_owner(server, err);
    if (r < 0)
        return r;
    choose_token(server);
    set_access(server);
    make_engine(server);
    return open_store(server, err);
}

/* The port is taken before a backend is opened, so that a busy one leaves nothing behind; nobody is answered before the
 * loop runs. */
static int start(struct server *server, struct err *err)
{
    struct http_handler handler;
    int r = prepare(server, err);

    if (r < 0)
        return r;
    make_endpoint(server);
    handler = endpoint_handler(server->endpoint, true);
    r = http_server_listen(server->http, server->settings.listen, &handler, &server->listener, err);
    if (r == 0)
        r = choose_backend(server, err);
    if (r < 0)
        return r;
    catch_signals(server);
    return announce(server, err);
}

static void run(struct server *server)
{
    uv_run(server->engine.loop, UV_RUN_DEFAULT); /* until on_workloads_closed has closed the last handle */
    endpoint_free(server->endpoint);
    uv_loop_close(server->engine.loop);
}

/* Without a data folder, or with machines that went, nothing outside of it is to be found again. */
static void let_go(struct server *server)
{
    if (server->owned)
        owner_release(&server->owner, !server->data.p || (server->ended && server->settings.remove_on_exit));
    settings_free(&server->settings);
    arena_free(&server->arena);
}

static void print_help(void)
{
    AUTO_BUF text = BUF_INIT;

    buf_printf(&text, "Usage: haar serve [FLAG…]\n\n"
                      "Answers the AWS API for compute and runs the machines that it is asked for. Point a client at\n"
                      "it with --endpoint-url http://127.0.0.1:4566; any credentials do. Ctrl-C ends it.\n\n");
    settings_help(&text);
    fwrite(text.p, 1, text.len, stdout);
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

int serve_main(int argc, char **argv)
{
    static struct server server; /* zeroed; big, and there is one */
    struct err err = ERR_INIT;
    int r;

    server.own.started_us = time_monotonic_us();
    signal(SIGPIPE, SIG_IGN);
    ignore_signals();
    memory_set();
    if (wants_help(argc, argv)) {
        print_help();
        return 0;
    }
    r = settings_read(argc, argv, environ, &server.settings, &err);
    if (r == 0) {
        log_set_level(server.settings.log_level);
        settings_warn_unknown(environ);
        r = start(&server, &err);
    }
    if (r == 0)
        run(&server);
    else
        fprintf(stderr, "haar: %s\n", err.text);
    let_go(&server);
    return r == 0 && !server.failed ? 0 : 1;
}
