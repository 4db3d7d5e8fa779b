/* Bytes on the wire: golden answers, and everything that must be refused. */
#include "http/test_server.h"

#define OK_CLOSED "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
#define BAD                                                                                                       \
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nConnection: close\r\n\r\nBad " \
    "Request\n"

static struct fixture fixture;

static int start(void **state)
{
    fixture_start(&fixture, NULL);
    return 0;
}

static int stop(void **state)
{
    fixture_stop(&fixture);
    return 0;
}

static void a_small_request_gets_these_bytes(void **state)
{
    assert_exchange(&fixture, S("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), OK_CLOSED);
}

static void a_date_is_sent(void **state)
{
    int fd = dial(&fixture);
    char bytes[256];

    say(&fixture, fd, S("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    turn_for(&fixture, 20);
    assert_true(recv(fd, bytes, sizeof bytes, 0) > 60);
    assert_memory_equal(bytes + 17, "Date: ", 6);
    assert_memory_equal(bytes + 17 + 6 + 25, " GMT\r\n", 6);
    close(fd);
}

static void a_kept_connection_serves_again(void **state)
{
    int fd = dial(&fixture);

    for (int i = 0; i < 3; i++) {
        say(&fixture, fd, S("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_heard(hear_until(&fixture, fd, S("ok")),
                     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok");
    }
    close(fd);
}

static void http_1_0_closes_unless_asked_to_keep(void **state)
{
    int fd = dial(&fixture);

    assert_exchange(&fixture, S("GET / HTTP/1.0\r\n\r\n"), OK_CLOSED);
    say(&fixture, fd, S("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    assert_heard(hear_until(&fixture, fd, S("ok")), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "
                                                    "2\r\nConnection: keep-alive\r\n\r\nok");
    close(fd);
}

static void head_has_the_length_without_the_body(void **state)
{
    assert_exchange(&fixture, S("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
}

static void no_content_has_no_length(void **state)
{
    assert_exchange(&fixture, S("GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                    "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}

static void an_answer_in_pieces_is_chunked(void **state)
{
    assert_exchange(&fixture, S("GET /chunks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: "
                    "close\r\n\r\n3\r\none\r\n14\r\ntwenty characters ok\r\n0\r\n\r\n");
}

static void an_answer_in_pieces_ends_with_the_connection_for_http_1_0(void **state)
{
    assert_exchange(&fixture, S("GET /chunks HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nonetwenty characters ok");
}

static void a_header_value_cannot_split_the_answer(void **state)
{
    assert_exchange(&fixture, S("GET /inject HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Note: a  Set-Cookie: b\r\nContent-Length: "
                    "0\r\nConnection: close\r\n\r\n");
}

#define ECHO_OF(length, text) \
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " length "\r\nConnection: close\r\n\r\n" text

static void bodies_come_by_length_and_by_chunks(void **state)
{
    assert_exchange(&fixture,
                    S("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"),
                    ECHO_OF("5", "hello"));
    assert_exchange(&fixture,
                    S("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                      "3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nTrailer: ignored\r\n\r\n"),
                    ECHO_OF("5", "hello"));
}

static void a_request_may_come_byte_by_byte(void **state)
{
    static const char request[] = "POST /echo HTTP/1.1\r\nHost: a\r\nX-Long-Header: some value here\r\nConnection: "
                                  "close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    int fd = dial(&fixture);

    for (size_t i = 0; i < sizeof request - 1; i++)
        say(&fixture, fd, (struct str){request + i, 1});
    assert_heard(hear_end(&fixture, fd), ECHO_OF("5", "hello"));
    close(fd);
}

static void a_head_that_outgrows_its_buffer_keeps_its_headers(void **state)
{
    AUTO_BUF request = BUF_INIT;
    int fd = dial(&fixture);

    buf_append(&request, S("GET /header HTTP/1.1\r\nHost: a\r\nX-Test: here\r\nConnection: close\r\nX-Filler: "));
    for (int i = 0; i < 20000; i++)
        buf_byte(&request, 'f');
    buf_append(&request, S("\r\n\r\n"));
    for (size_t at = 0; at < request.len; at += 1000)
        say(&fixture, fd, str_first(str_skip(buf_str(&request), at), 1000));
    assert_heard(hear_end(&fixture, fd), ECHO_OF("4", "here"));
    close(fd);
}

static void target_query_and_headers_are_told_apart(void **state)
{
    assert_exchange(&fixture, S("GET /query?a=1?b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                    ECHO_OF("5", "a=1?b"));
    assert_exchange(&fixture, S("GET /query HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), ECHO_OF("6", "absent"));
    assert_exchange(&fixture, S("GET /header HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-TEST: \t v w \t\r\n\r\n"),
                    ECHO_OF("3", "v w"));
    assert_exchange(&fixture, S("GET http://b:1/host HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                    ECHO_OF("3", "b:1"));
    assert_exchange(&fixture, S("GET http://b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), OK_CLOSED);
}

static void a_request_knows_its_peer_and_its_listener(void **state)
{
    assert_exchange(&fixture, S("GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                    ECHO_OF("13", "127.0.0.1 1 1"));
}

static void a_listener_on_every_address_is_not_loopback(void **state)
{
    fixture_stop(&fixture);
    fixture_start_at(&fixture, NULL, S("0.0.0.0:0"));
    assert_exchange(&fixture, S("GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                    ECHO_OF("13", "127.0.0.1 1 0"));
}

static void a_listener_may_be_ipv6(void **state)
{
    int v6 = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

    if (v6 < 0 || bind(v6, (struct sockaddr *)&to, sizeof to) < 0)
        skip();
    close(v6);
    fixture_stop(&fixture);
    fixture_start_at(&fixture, NULL, S("[::1]:0"));
    to.sin6_port = htons(http_listener_port(fixture.listener));
    v6 = socket(AF_INET6, SOCK_STREAM, 0);
    assert_int_equal(connect(v6, (struct sockaddr *)&to, sizeof to), 0);
    fcntl(v6, F_SETFL, O_NONBLOCK);
    say(&fixture, v6, S("GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert_heard(hear_end(&fixture, v6), ECHO_OF("7", "::1 1 1"));
    close(v6);
}

static void an_empty_line_before_a_request_is_skipped(void **state)
{
    assert_exchange(&fixture, S("\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), OK_CLOSED);
}

static void continue_is_said_only_when_the_body_is_wanted(void **state)
{
    int fd = dial(&fixture);

    say(&fixture, fd, S("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"));
    assert_heard(hear_until(&fixture, fd, S("\r\n\r\n")), "HTTP/1.1 100 Continue\r\n\r\n");
    say(&fixture, fd, S("hi"));
    assert_true(str_ends(hear_until(&fixture, fd, S("\r\n\r\nhi")), S("\r\n\r\nhi")));
    close(fd);
    assert_exchange(
        &fixture, S("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"),
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    assert_exchange(&fixture,
                    S("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none"
                      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
                      "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\none"
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\ntwo" OK_CLOSED);
}

#define H "Host: a\r\n"
static const struct str smuggled[] = {
    S("POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
    S("POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    S("POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\nabc"),
    S("POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc"),
    S("POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\nabc"),
    S("POST / HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\nabc"),
    S("POST / HTTP/1.1\r\n" H "Content-Length: 3 3\r\n\r\nabc"),
    S("POST / HTTP/1.1\r\n" H "Content-Length: \r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\nabc"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\nabc"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding:\x0b"
      "chunked\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc"),
    S("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"),
    S("GET / HTTP/1.1\r\n" H "X: a\r\n folded\r\n\r\n"),
    S("GET / HTTP/1.1\r\n" H "X: a\r\n\tfolded\r\n\r\n"),
    S("GET / HTTP/1.1\r\n" H "X: \r\n \r\n\r\n"),
    S("GET / HTTP/1.1\r\n X: a\r\n" H "\r\n"),
    S("GET / HTTP/1.1\n" H "\r\n"),
    S("GET / HTTP/1.1\r\nHost: a\n\r\n"),
    S("GET / HTTP/1.1\r\nHost: a\r\n\n"),
    S("GET / HTTP/1.1\r\nHost: a\r\nX: b\n\nGET / HTTP/1.1\r\n" H "\r\n"),
    S("GET / HTTP/1.1\r\n" H "X: a\rY: b\r\n\r\n"),
    S("GET / HTTP/1.1\r\r\n" H "\r\n"),
    S("GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n"),
    S("GET / HTTP/1.1\r\n" H "X\0: b\r\n\r\n"),
    S("GET /\0 HTTP/1.1\r\n" H "\r\n"),
    S("GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    S("GET / HTTP/1.1\r\n" H "X Y: b\r\n\r\n"),
    S("GET / HTTP/1.1\r\n" H ": b\r\n\r\n"),
    S("GET / HTTP/1.1\r\n" H "no colon\r\n\r\n"),
    S("GET / HTTP/1.1\r\n\r\n"),
    S("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    S("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"),
    S("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    S("GET  / HTTP/1.1\r\n" H "\r\n"),
    S("GET /  HTTP/1.1\r\n" H "\r\n"),
    S("GET / HTTP/1.1 \r\n" H "\r\n"),
    S("GET /\tHTTP/1.1\r\n" H "\r\n"),
    S("GET /a b HTTP/1.1\r\n" H "\r\n"),
    S("GET /#x HTTP/1.1\r\n" H "\r\n"),
    S("GET a HTTP/1.1\r\n" H "\r\n"),
    S("GET * HTTP/1.1\r\n" H "\r\n"),
    S("GET http:///x HTTP/1.1\r\n" H "\r\n"),
    S("GET https://a/x HTTP/1.1\r\n" H "\r\n"),
    S("get / HTTP/1.1\r\n" H "\r\n"),
    S("G@T / HTTP/1.1\r\n" H "\r\n"),
    S("GET / http/1.1\r\n" H "\r\n"),
    S("GET / HTTP/11.1\r\n" H "\r\n"),
    S("GET / HTTP/1.10\r\n" H "\r\n"),
    S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    S("\x16\x03\x01\x02"),
};

static void malformed_or_ambiguous_framing_is_refused_and_closed(void **state)
{
    size_t wrong = 0;

    for (size_t i = 0; i < ARRAY_LEN(smuggled); i++) {
        int fd = dial(&fixture), before = fixture.requests;

        say(&fixture, fd, smuggled[i]);
        if (!str_equal(hear_until(&fixture, fd, S("Bad Request\n")), str_of(BAD)) || fixture.requests != before) {
            print_message("not refused: " STR_FMT "\n", STR_ARG(smuggled[i]));
            wrong++;
        } else {
            assert_int_equal(hear_end(&fixture, fd).len, 0);
        }
        close(fd);
    }
    assert_int_equal(wrong, 0);
}

static void nothing_smuggled_behind_a_refusal_is_run(void **state)
{
    assert_exchange(&fixture,
                    S("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n"
                      "GET /second HTTP/1.1\r\nHost: a\r\n\r\n"),
                    BAD);
    assert_int_equal(fixture.requests, 0);
}

static void other_versions_and_connect_are_refused(void **state)
{
    int fd = dial(&fixture);

    say(&fixture, fd, S("GET / HTTP/2.0\r\nHost: a\r\n\r\n"));
    assert_true(str_starts(hear_end(&fixture, fd), S("HTTP/1.1 505 ")));
    close(fd);
    fd = dial(&fixture);
    say(&fixture, fd, S("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_true(str_starts(hear_end(&fixture, fd), S("HTTP/1.1 405 ")));
    close(fd);
    fd = dial(&fixture);
    say(&fixture, fd, S("GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n"));
    assert_true(str_starts(hear_end(&fixture, fd), S("HTTP/1.1 417 ")));
    close(fd);
}

#define T(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_small_request_gets_these_bytes),
        T(a_date_is_sent),
        T(a_kept_connection_serves_again),
        T(http_1_0_closes_unless_asked_to_keep),
        T(head_has_the_length_without_the_body),
        T(no_content_has_no_length),
        T(an_answer_in_pieces_is_chunked),
        T(an_answer_in_pieces_ends_with_the_connection_for_http_1_0),
        T(a_header_value_cannot_split_the_answer),
        T(bodies_come_by_length_and_by_chunks),
        T(a_request_may_come_byte_by_byte),
        T(a_head_that_outgrows_its_buffer_keeps_its_headers),
        T(target_query_and_headers_are_told_apart),
        T(a_request_knows_its_peer_and_its_listener),
        T(a_listener_on_every_address_is_not_loopback),
        T(a_listener_may_be_ipv6),
        T(an_empty_line_before_a_request_is_skipped),
        T(continue_is_said_only_when_the_body_is_wanted),
        T(pipelined_requests_are_answered_in_order),
        T(malformed_or_ambiguous_framing_is_refused_and_closed),
        T(nothing_smuggled_behind_a_refusal_is_run),
        T(other_versions_and_connect_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
