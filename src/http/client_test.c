/* The client against our server (the client in a thread), and against answers from a script. */
#include "http/client.h"

#include "http/test_server.h"

#include <pthread.h>

static struct fixture fixture;
static struct fixture *const f = &fixture;

static int start(void **state)
{
    fixture_start(f, NULL);
    return 0;
}

static int stop(void **state)
{
    fixture_stop(f);
    return 0;
}

struct run {
    struct http_call call;
    struct http_reply reply;
    struct err err;
    int result;
    bool over;
    size_t seen;
    char url[64];
};

static void *run_thread(void *arg)
{
    struct run *run = arg;

    run->result = http_call(&run->call, &run->reply, &run->err);
    __atomic_store_n(&run->over, true, __ATOMIC_RELEASE);
    return NULL;
}

static void call(struct run *run, const char *method, const char *path)
{
    pthread_t thread;

    snprintf(run->url, sizeof run->url, "http://127.0.0.1:%u%s", http_listener_port(f->listener), path);
    run->call.url = str_of(run->url);
    run->call.method = str_of(method);
    run->call.silence_ms = 3000;
    run->reply = HTTP_REPLY_INIT;
    assert_int_equal(pthread_create(&thread, NULL, run_thread, run), 0);
    while (!__atomic_load_n(&run->over, __ATOMIC_ACQUIRE))
        turn(f);
    pthread_join(thread, NULL);
}

static bool count(void *cookie, struct str piece)
{
    struct run *run = cookie;

    run->seen += piece.len;
    return true;
}

static bool count_to_a_million(void *cookie, struct str piece)
{
    return count(cookie, piece) && ((struct run *)cookie)->seen < 1000000;
}

static void a_call_gets_status_headers_and_body(void **state)
{
    struct http_header header = {S("X-Test"), S("v")};
    struct run run = {.call = {.headers = &header, .header_count = 1}};

    call(&run, "GET", "/header?q");
    assert_int_equal(run.result, 0);
    assert_int_equal(run.reply.status, 200);
    assert_heard(buf_str(&run.reply.body), "v");
    assert_heard(http_reply_header(&run.reply, S("content-type")), "text/plain");
    assert_null(http_reply_header(&run.reply, S("x-none")).p);
    http_reply_free(&run.reply);
}

static void a_body_is_posted(void **state)
{
    static char big[3 << 20];
    struct run run = {.call = {.body = {big, sizeof big}}};

    call(&run, "POST", "/echo");
    assert_int_equal(run.result, 0);
    assert_int_equal(run.reply.body.len, sizeof big);
    http_reply_free(&run.reply);
}

static void a_refusal_in_the_middle_of_a_body_is_read(void **state)
{
    static char big[3 << 20];
    struct run run = {.call = {.body = {big, sizeof big}}};

    call(&run, "POST", "/refuse");
    assert_int_equal(run.result, 0);
    assert_int_equal(run.reply.status, 403);
    assert_heard(buf_str(&run.reply.body), "no");
    http_reply_free(&run.reply);
}

static void a_chunked_answer_streams(void **state)
{
    struct run run = {.call = {.on_body = count, .cookie = &run}};

    call(&run, "GET", "/big");
    assert_int_equal(run.result, 0);
    assert_int_equal(run.seen, BIG_TOTAL);
    assert_int_equal(run.reply.body.len, 0);
    http_reply_free(&run.reply);
}

static void a_stream_may_be_left(void **state)
{
    struct run run = {.call = {.on_body = count_to_a_million, .cookie = &run}};

    call(&run, "GET", "/big");
    assert_int_equal(run.result, 0);
    assert_in_range(run.seen, 1000000, 1200000);
    http_reply_free(&run.reply);
    turn_until(f, f->gone == 1);
}

static void head_has_no_body(void **state)
{
    struct run run = {0};

    call(&run, "HEAD", "/");
    assert_int_equal(run.result, 0);
    assert_int_equal(run.reply.body.len, 0);
    assert_heard(http_reply_header(&run.reply, S("content-length")), "2");
    http_reply_free(&run.reply);
}

static void an_upgrade_gives_the_socket(void **state)
{
    struct run run = {.call = {.upgrade = S("raw")}};

    call(&run, "POST", "/upgrade");
    assert_int_equal(run.result, 0);
    assert_int_equal(run.reply.status, 101);
    assert_true(run.reply.fd >= 0);
    assert_int_equal(send(run.reply.fd, "ping", 4, 0), 4);
    turn_for(f, 10);
    assert_heard(hear_until(f, run.reply.fd, S("ping")), "ping");
    http_reply_free(&run.reply);
    turn_until(f, f->closes == 1);
}

static void silence_ends_a_call(void **state)
{
    struct run run = {0};

    call(&run, "GET", "/park");
    assert_int_equal(run.result, -ETIMEDOUT);
    assert_non_null(strstr(run.err.text, "wait for the answer"));
    http_reply_free(&run.reply);
}

/* A server that says one thing. */
static void *say_thread(void *arg)
{
    const char *const *script = arg; /* the socket's number, then what to say */
    int listener = atoi(script[0]), fd = accept(listener, NULL, NULL);
    char request[4096];

    assert_true(recv(fd, request, sizeof request, 0) > 0);
    send(fd, script[1], strlen(script[1]), MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    while (recv(fd, request, sizeof request, 0) > 0)
        ;
    close(fd);
    return NULL;
}

static int call_script(struct http_call what, const char *answer, struct http_reply *reply, struct err *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), result;
    char number[12], url[64];
    const char *script[] = {number, answer};
    pthread_t thread;

    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&address, &size);
    snprintf(number, sizeof number, "%d", listener);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", ntohs(address.sin_port));
    pthread_create(&thread, NULL, say_thread, script);
    *reply = HTTP_REPLY_INIT;
    what.method = S("GET");
    what.url = str_of(url);
    what.silence_ms = 3000;
    result = http_call(&what, reply, err);
    if (reply->fd >= 0)
        shutdown(reply->fd, SHUT_WR);
    pthread_join(thread, NULL);
    close(listener);
    return result;
}

static void answers_of_other_kinds_are_understood(void **state)
{
    const char *const answers[] = {
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nuntil the end",
        "HTTP/1.0 200 OK\r\nX: \r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct http_reply reply;
        struct err err = ERR_INIT;

        assert_int_equal(call_script((struct http_call){0}, answers[i], &reply, &err), 0);
        assert_int_equal(reply.status, 200);
        assert_heard(buf_str(&reply.body), "until the end");
        http_reply_free(&reply);
    }
}

static void bytes_early_in_an_upgrade_are_kept(void **state)
{
    struct http_reply reply;
    struct err err = ERR_INIT;

    assert_int_equal(call_script((struct http_call){.upgrade = S("raw")},
                                 "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nearly bird",
                                 &reply, &err),
                     0);
    assert_heard(buf_str(&reply.early), "early bird");
    http_reply_free(&reply);
}

static void an_answer_cut_off_is_an_error(void **state)
{
    const char *const answers[] = {
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "SSH-2.0-OpenSSH\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct http_reply reply;
        struct err err = ERR_INIT;

        assert_true(call_script((struct http_call){0}, answers[i], &reply, &err) < 0);
        assert_true(err.text[0]);
        http_reply_free(&reply);
    }
}

static void what_cannot_be_called_is_named(void **state)
{
    const struct str urls[] = {S("https://127.0.0.1/"), S("127.0.0.1:1"), S("http://"), S("http://127.0.0.1:1/"),
                               S("http://127.0.0.1:1/\r\nX: y")};

    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct http_call what = {.method = S("GET"), .url = urls[i]};
        AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
        struct err err = ERR_INIT;

        assert_true(http_call(&what, &reply, &err) < 0);
        assert_true(err.text[0]);
    }
}

#define T(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_call_gets_status_headers_and_body),
        T(a_body_is_posted),
        T(a_refusal_in_the_middle_of_a_body_is_read),
        T(a_chunked_answer_streams),
        T(a_stream_may_be_left),
        T(head_has_no_body),
        T(an_upgrade_gives_the_socket),
        T(silence_ends_a_call),
        cmocka_unit_test(answers_of_other_kinds_are_understood),
        cmocka_unit_test(bytes_early_in_an_upgrade_are_kept),
        cmocka_unit_test(an_answer_cut_off_is_an_error),
        cmocka_unit_test(what_cannot_be_called_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
