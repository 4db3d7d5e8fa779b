/*
 * What the HTTP server costs by itself: serves a fixed small answer at 127.0.0.1:PORT until SIGTERM, then prints its
 * processor time a request.
 *
 *     http_floor PORT & wrk -c16 -t1 -d5 http://127.0.0.1:PORT/; kill %1
 */
#include "http/server.h"

#include <signal.h>
#include <sys/resource.h>

static struct http_server *server;
static struct http_counts last;

static void on_request(void *cookie, struct http_request *request)
{
    buf_append(&request->answer, S("{\"status\":\"ok\"}"));
    http_answer(request, 200, S("application/json"), NULL, 0, &request->answer);
}

static double ms(struct timeval t)
{
    return (double)t.tv_sec * 1e3 + (double)t.tv_usec / 1e3;
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct rusage usage;
    double requests;

    last = http_server_counts(server);
    requests = last.requests ? (double)last.requests : 1;
    getrusage(RUSAGE_SELF, &usage);
    printf("%.0f requests: user %.2f us, system %.2f us a request; %ld KiB resident at most\n", requests,
           ms(usage.ru_utime) * 1e3 / requests, ms(usage.ru_stime) * 1e3 / requests, usage.ru_maxrss);
    uv_close((uv_handle_t *)signal, NULL);
    http_server_stop(server, 0, NULL, NULL);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    struct http_handler handler = {.on_request = on_request};
    struct http_listener *listener;
    struct err err = ERR_INIT;
    char address[32];
    uv_signal_t term;

    snprintf(address, sizeof address, "127.0.0.1:%s", argc > 1 ? argv[1] : "0");
    server = http_server_new(loop, NULL);
    if (http_server_listen(server, str_of(address), &handler, &listener, &err) < 0) {
        fprintf(stderr, "http_floor: %s\n", err.text);
        return 1;
    }
    printf("http_floor: http://127.0.0.1:%u\n", http_listener_port(listener));
    fflush(stdout);
    uv_signal_init(loop, &term);
    uv_signal_start(&term, on_signal, SIGTERM);
    return uv_run(loop, UV_RUN_DEFAULT);
}
