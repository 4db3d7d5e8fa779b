/* Every limit: what is beyond it is refused, and by what. */
#include "http/test_server.h"

static struct fixture fixture;
static struct fixture *const f = &fixture;

static void start_with(struct http_limits limits)
{
    fixture_start(f, &limits);
}

static int stop(void **state)
{
    fixture_stop(f);
    return 0;
}

static void assert_status(struct str request, const char *line)
{
    int fd = dial(f);
    struct str heard;

    say(f, fd, request);
    heard = hear_end(f, fd);
    if (!str_starts(heard, str_of(line)))
        fail_msg("expected %s, got " STR_FMT, line, STR_ARG(str_first(heard, 200)));
    assert_true(str_contains(heard, S("Connection: close\r\n")));
    close(fd);
}

static void a_body_announced_too_long_is_413_without_100(void **state)
{
    start_with((struct http_limits){.body_bytes = 10});
    assert_status(S("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"),
                  "HTTP/1.1 413 ");
    assert_int_equal(f->requests, 0);
}

static void a_chunked_body_too_long_is_413(void **state)
{
    start_with((struct http_limits){.body_bytes = 10});
    assert_status(
        S("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678"),
        "HTTP/1.1 413 ");
    assert_int_equal(f->requests, 0);
}

static void a_streamed_body_may_be_longer(void **state)
{
    int fd;

    start_with((struct http_limits){.body_bytes = 2});
    fd = dial(f);
    say(f, fd, S("POST /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"));
    assert_true(str_ends(hear_end(f, fd), S("\r\n\r\n5")));
    close(fd);
}

static void buffered_bytes_over_all_connections_are_capped(void **state)
{
    static char bytes[600 * 1024];
    int first, second;

    start_with((struct http_limits){.buffered_bytes = 1 << 20});
    first = dial(f);
    second = dial(f);
    say(f, first, S("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"));
    say(f, first, (struct str){bytes, sizeof bytes});
    turn_for(f, 20);
    say(f, second, S("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"));
    say(f, second, (struct str){bytes, sizeof bytes});
    assert_true(str_starts(hear_end(f, second), S("HTTP/1.1 503 ")));
    assert_in_range(http_server_counts(f->server).buffered_bytes, sizeof bytes, 1 << 20);
    close(first);
    close(second);
    turn_until(f, http_server_counts(f->server).connections == 0);
    assert_int_equal(http_server_counts(f->server).buffered_bytes, 0);
}

/* Its answer has begun when the body turns out to be malformed, and nothing but a resume makes the server see that. */
static void a_connection_that_closes_as_its_body_resumes_counts_for_nothing(void **state)
{
    start_with((struct http_limits){0});
    for (int i = 0; i < 5; i++) {
        int fd = dial(f);

        f->pause = true;
        f->paused = NULL;
        say(f, fd, S("POST /stream-begun HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nZZ\r\n"));
        turn_until(f, f->paused);
        http_body_resume(f->paused);
        hear_end(f, fd);
        close(fd);
        turn_until(f, http_server_counts(f->server).connections == 0);
    }
    assert_int_equal(http_server_counts(f->server).buffered_bytes, 0);
}

static void a_body_announced_beyond_the_cap_is_503(void **state)
{
    start_with((struct http_limits){.buffered_bytes = 100 * 1024});
    assert_status(S("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"), "HTTP/1.1 503 ");
}

static void an_answer_beyond_the_cap_is_503(void **state)
{
    start_with((struct http_limits){.buffered_bytes = 1 << 20});
    assert_status(S("GET /big-whole HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 503 ");
}

static void a_huge_announced_length_takes_no_memory(void **state)
{
    int fds[20];

    start_with((struct http_limits){0});
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = dial(f);
        say(f, fds[i], S("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\nx"));
    }
    turn_for(f, 20);
    assert_in_range(http_server_counts(f->server).buffered_bytes, 1, 200 * 1024);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
}

static void who_has_been_silent_for_longest_makes_room(void **state)
{
    int first, second, third;

    start_with((struct http_limits){.connections = 2});
    first = dial(f);
    turn_until(f, http_server_counts(f->server).connections == 1);
    turn_for(f, 10);
    second = dial(f);
    turn_until(f, http_server_counts(f->server).connections == 2);
    turn_for(f, 10);
    third = dial(f);
    assert_int_equal(hear_end(f, first).len, 0);
    for (int i = 0; i < 2; i++) {
        int fd = i ? third : second;

        say(f, fd, S("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_true(str_ends(hear_until(f, fd, S("ok")), S("ok")));
        close(fd);
    }
    close(first);
}

static void connections_beyond_the_limit_are_told_503(void **state)
{
    int fds[3];

    start_with((struct http_limits){.connections = 2});
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = dial(f);
        if (i < 2)
            say(f, fds[i], S("GET /")); /* the rest comes later */
        turn_until(f, http_server_counts(f->server).connections == i + 1);
        turn_for(f, 10);
    }
    assert_true(str_starts(hear_end(f, fds[2]), S("HTTP/1.1 503 ")));
    say(f, fds[1], S(" HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_true(str_ends(hear_until(f, fds[1], S("ok")), S("ok")));
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    turn_until(f, http_server_counts(f->server).connections == 0);
    fds[0] = dial(f);
    say(f, fds[0], S("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_true(str_ends(hear_until(f, fds[0], S("ok")), S("ok")));
    close(fds[0]);
}

static void too_many_headers_are_431(void **state)
{
    start_with((struct http_limits){.header_count = 3});
    assert_status(S("GET / HTTP/1.1\r\nHost: a\r\nB: b\r\nC: c\r\nD: d\r\n\r\n"), "HTTP/1.1 431 ");
    assert_status(S("GET / HTTP/1.1\r\nHost: a\r\nB: b\r\nConnection: close\r\n\r\n"), "HTTP/1.1 200 ");
}

static void a_head_too_long_is_431(void **state)
{
    start_with((struct http_limits){.header_bytes = 100});
    assert_status(S("GET / HTTP/1.1\r\nHost: a\r\nX: "
                    "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678\r\n"),
                  "HTTP/1.1 431 ");
}

static void endless_empty_lines_are_a_head_too_long(void **state)
{
    start_with((struct http_limits){.header_bytes = 10});
    assert_status(S("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"), "HTTP/1.1 431 ");
}

static void trailers_too_long_are_431(void **state)
{
    start_with((struct http_limits){.header_bytes = 100});
    assert_status(S("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
                    "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678\r\n"
                    "Y: 12345678901234567890\r\n"),
                  "HTTP/1.1 431 ");
}

static void endless_chunk_extensions_are_400(void **state)
{
    AUTO_BUF request = BUF_INIT;

    start_with((struct http_limits){0});
    buf_append(&request, S("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 4000; i++)
        buf_append(&request, S("1;abc=def\r\nx\r\n"));
    assert_status(buf_str(&request), "HTTP/1.1 400 ");
}

static void a_uri_too_long_is_414(void **state)
{
    start_with((struct http_limits){.uri_bytes = 10});
    assert_status(S("GET /234567890x HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 414 ");
    assert_status(S("GET /234567890 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), "HTTP/1.1 200 ");
}

static void an_idle_connection_is_closed_in_silence(void **state)
{
    int fd;

    start_with((struct http_limits){.idle_ms = 500});
    fd = dial(f);
    assert_int_equal(hear_end(f, fd).len, 0);
    close(fd);
}

static void a_slow_head_is_408(void **state)
{
    start_with((struct http_limits){.header_ms = 500});
    assert_status(S("GET / HTTP/1.1\r\nHos"), "HTTP/1.1 408 ");
}

static void a_slow_body_is_408(void **state)
{
    start_with((struct http_limits){.body_ms = 500});
    assert_status(S("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"), "HTTP/1.1 408 ");
}

static void a_trickling_body_is_408_too(void **state)
{
    int fd, said = 0;

    start_with((struct http_limits){.body_ms = 1000});
    fd = dial(f);
    say(f, fd, S("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"));
    while (http_server_counts(f->server).connections && said++ < 40) {
        if (say(f, fd, S("x")) == 0)
            break;
        turn_for(f, 100);
        if (recv(fd, &(char[1]){0}, 1, MSG_PEEK) > 0)
            break;
    }
    assert_true(said < 35);
    assert_true(str_starts(hear_end(f, fd), S("HTTP/1.1 408 ")));
    close(fd);
}

static void a_parked_request_has_no_time_limit(void **state)
{
    int fd;

    start_with((struct http_limits){.idle_ms = 100, .header_ms = 100, .body_ms = 100, .write_ms = 100});
    fd = dial(f);
    say(f, fd, S("GET /park HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    turn_for(f, 1500);
    assert_non_null(f->parked);
    answer_text(f->parked, 200, S("later"));
    assert_true(str_ends(hear_end(f, fd), S("later")));
    close(fd);
}

static void a_reader_that_takes_nothing_is_dropped(void **state)
{
    int fd;

    start_with((struct http_limits){.write_ms = 500});
    fd = dial_with(f, 4096);
    say(f, fd, S("GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
    turn_until(f, f->gone == 1);
    assert_int_equal(http_server_counts(f->server).buffered_bytes, 0);
    close(fd);
}

static void a_client_that_ignores_our_end_is_dropped(void **state)
{
    int fd;

    start_with((struct http_limits){0});
    fd = dial(f);
    say(f, fd, S("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    hear_end(f, fd);
    turn_for(f, 1);
    assert_int_equal(http_server_counts(f->server).connections, 1);
    turn_for(f, 3500);
    assert_int_equal(http_server_counts(f->server).connections, 0);
    close(fd);
}

#define T(test) cmocka_unit_test_teardown(test, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_body_announced_too_long_is_413_without_100),
        T(a_chunked_body_too_long_is_413),
        T(a_streamed_body_may_be_longer),
        T(buffered_bytes_over_all_connections_are_capped),
        T(a_connection_that_closes_as_its_body_resumes_counts_for_nothing),
        T(a_body_announced_beyond_the_cap_is_503),
        T(an_answer_beyond_the_cap_is_503),
        T(a_huge_announced_length_takes_no_memory),
        T(who_has_been_silent_for_longest_makes_room),
        T(connections_beyond_the_limit_are_told_503),
        T(too_many_headers_are_431),
        T(a_head_too_long_is_431),
        T(endless_empty_lines_are_a_head_too_long),
        T(trailers_too_long_are_431),
        T(endless_chunk_extensions_are_400),
        T(a_uri_too_long_is_414),
        T(an_idle_connection_is_closed_in_silence),
        T(a_slow_head_is_408),
        T(a_slow_body_is_408),
        T(a_trickling_body_is_408_too),
        T(a_parked_request_has_no_time_limit),
        T(a_reader_that_takes_nothing_is_dropped),
        T(a_client_that_ignores_our_end_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
