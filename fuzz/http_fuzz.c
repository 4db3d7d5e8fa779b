/*
 * A server on loopback fed with arbitrary bytes, over a real socket. The first byte of the input says where the rest
 * is cut into two writes, and how handlers behave (bits of the second). Handlers read all that they are given and use
 * every way to answer.
 */
#include "base/mem.h"
#include "http/access.h"
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    uv_loop_t loop;
    struct http_server *server;
    struct http_listener *listener;
    struct http_request *parked, *paused;
    uint8_t way;
    unsigned sum;
} fuzz;

/* Touches every byte, so that AddressSanitizer sees a view that lies. */
static void touch(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        fuzz.sum += (unsigned char)s.p[i];
}

static void touch_all(struct http_request *request)
{
    struct access_config config = {.token = S("token")};

    touch(request->method);
    touch(request->path);
    touch(request->query);
    touch(request->host);
    touch(request->body);
    for (size_t i = 0; i < request->header_count; i++) {
        touch(request->headers[i].name);
        touch(request->headers[i].value);
    }
    fuzz.sum += access_check_own(&config, request, false, true);
}

static void on_gone(void *arg, struct http_request *request)
{
    touch_all(request);
    if (fuzz.parked == request)
        fuzz.parked = NULL;
    if (fuzz.paused == request)
        fuzz.paused = NULL;
}

static enum http_body on_head(void *cookie, struct http_request *request)
{
    touch_all(request);
    http_on_gone(request, on_gone, NULL);
    if (request->path.len > 8 && request->path.p[1] == 'n')
        http_answer(request, 403, S("text/plain"), request->headers, request->header_count, NULL);
    return fuzz.way & 1 ? HTTP_BODY_STREAMED : HTTP_BODY_WHOLE;
}

static bool on_body(void *cookie, struct http_request *request, struct str piece)
{
    touch(piece);
    if (fuzz.way & 2)
        return true;
    fuzz.paused = request;
    return false;
}

static bool on_bytes(void *cookie, struct http_socket *socket, struct str bytes)
{
    touch(bytes);
    return http_socket_write(socket, bytes);
}

static void on_close(void *cookie, struct http_socket *socket)
{
}

static void on_request(void *cookie, struct http_request *request)
{
    struct http_socket_events events = {.on_bytes = on_bytes, .on_close = on_close};

    fuzz.paused = NULL;
    touch_all(request);
    if (request->upgrade_asked && fuzz.way & 4) {
        http_upgrade(request, S("raw"), request->headers, request->header_count, &events);
    } else if (fuzz.way & 8) {
        fuzz.parked = request;
    } else if (fuzz.way & 16) {
        http_answer_begin(request, 200, S("text/plain"), NULL, 0);
        http_answer_chunk(request, request->body);
        http_answer_end(request);
    } else {
        struct buf body = http_take_body(request);
        http_answer(request, 200, request->query, NULL, 0, &body);
    }
}

static void turn(void)
{
    for (int i = 0; i < 3; i++)
        uv_run(&fuzz.loop, UV_RUN_NOWAIT);
    if (fuzz.paused) {
        struct http_request *paused = fuzz.paused;
        fuzz.paused = NULL;
        http_body_resume(paused);
    }
    if (fuzz.parked) {
        struct http_request *parked = fuzz.parked;
        fuzz.parked = NULL;
        http_answer(parked, 200, S("text/plain"), NULL, 0, NULL);
    }
    uv_run(&fuzz.loop, UV_RUN_NOWAIT);
}

static void start(void)
{
    struct http_handler handler = {NULL, on_head, on_body, on_request};
    struct err err = ERR_INIT;

    uv_loop_init(&fuzz.loop);
    fuzz.server = http_server_new(&fuzz.loop, NULL);
    if (http_server_listen(fuzz.server, S("127.0.0.1:0"), &handler, &fuzz.listener, &err) < 0)
        abort();
}

/* Ports run out when the server closes first a few hundred thousand times; the kernel gives them back in a second. */
static bool reach(int fd, const struct sockaddr_in *to)
{
    for (int tries = 0; tries < 500; tries++) {
        if (connect(fd, (const struct sockaddr *)to, sizeof *to) == 0 || errno == EISCONN)
            return true;
        if (errno == EINTR || errno == EALREADY) /* libFuzzer's own timer */
            continue;
        if (errno != EADDRNOTAVAIL)
            return false;
        usleep(20000);
    }
    return false;
}

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(http_listener_port(fuzz.listener))};
    struct linger hard = {1, 0}; /* leaves no TIME_WAIT */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!reach(fd, &to))
        abort();
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static bool is_quiet(void)
{
    struct http_counts counts = http_server_counts(fuzz.server);

    return counts.connections == 0 && counts.buffered_bytes == 0;
}

/* On a busy host the kernel hands a reset over a little later. */
static void settle(void)
{
    turn();
    for (int tries = 0; tries < 1000 && !is_quiet(); tries++) {
        if (tries > 2)
            usleep(1000);
        turn();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t cut;
    int fd;

    if (!fuzz.server)
        start();
    if (size < 2)
        return 0;
    fuzz.way = data[1];
    cut = data[0] * (size - 2) / 255;
    fd = dial();
    send(fd, data + 2, cut, MSG_NOSIGNAL);
    turn();
    send(fd, data + 2 + cut, size - 2 - cut, MSG_NOSIGNAL);
    turn();
    turn();
    close(fd);
    settle();
    if (!is_quiet())
        abort(); /* the reset was not noticed, or bytes are counted wrongly */
    return 0;
}
