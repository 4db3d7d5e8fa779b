/* What happens over time: parked requests, back-pressure, upgrades, the end. */
#include "http/test_server.h"

#include <netinet/tcp.h>

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

static size_t connections(void)
{
    return http_server_counts(f->server).connections;
}

static int park(void)
{
    int fd = dial(f);

    say(f, fd, S("GET /park HTTP/1.1\r\nHost: a\r\n\r\n"));
    turn_until(f, f->parked);
    return fd;
}

static void a_parked_request_is_answered_later(void **state)
{
    int fd = park();

    assert_int_equal(http_server_counts(f->server).in_flight, 1);
    answer_text(f->parked, 200, S("later"));
    assert_true(str_ends(hear_until(f, fd, S("later")), S("\r\n\r\nlater")));
    assert_int_equal(http_server_counts(f->server).in_flight, 0);
    say(f, fd, S("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_true(str_ends(hear_until(f, fd, S("ok")), S("ok")));
    close(fd);
    turn_until(f, connections() == 0);
    assert_int_equal(f->gone, 0);
}

/* Its kernel says at once that it is gone. */
static void reset(int fd)
{
    struct linger hard = {1, 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

static void a_parked_request_notices_its_client_leaving_once(void **state)
{
    reset(park());
    turn_until(f, f->gone);
    turn_for(f, 20);
    assert_int_equal(f->gone, 1);
    assert_int_equal(connections(), 0);
}

static void a_client_that_sends_no_more_still_gets_its_answer(void **state)
{
    int fd = park();

    shutdown(fd, SHUT_WR);
    turn_for(f, 50);
    assert_int_equal(f->gone, 0);
    answer_text(f->parked, 200, S("later"));
    assert_true(str_ends(hear_end(f, fd), S("\r\n\r\nlater")));
    close(fd);
    turn_until(f, connections() == 0);
    assert_int_equal(f->gone, 0);
}

static void a_client_that_sends_no_more_gets_all_that_it_asked_for_whole(void **state)
{
    int fd = park();

    say(f, fd, S("GET /query?2 HTTP/1.1\r\nHost: a\r\n\r\nGET /query?3 HTTP/1.1\r\nHost: a\r\n\r\nGET /cut"));
    shutdown(fd, SHUT_WR);
    turn_for(f, 20);
    answer_text(f->parked, 200, S("1"));
    assert_true(str_ends(hear_end(f, fd), S("\r\n\r\n3")));
    assert_true(str_contains(buf_str(&f->heard), S("\r\n\r\n2")));
    assert_int_equal(f->requests, 3);
    close(fd);
    turn_until(f, connections() == 0);
}

static void a_paused_body_whose_sender_sends_no_more_is_still_told_to_its_end(void **state)
{
    int fd = dial(f);

    f->pause = true;
    say(f, fd, S("POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"));
    turn_until(f, f->pieces == 1);
    shutdown(fd, SHUT_WR);
    turn_for(f, 20);
    http_body_resume(f->paused);
    assert_true(str_ends(hear_end(f, fd), S("\r\n\r\n5")));
    close(fd);
}

static void a_reset_behind_a_half_close_is_noticed(void **state)
{
    int fd = park();

    shutdown(fd, SHUT_WR);
    turn_for(f, 20);
    reset(fd);
    turn_until(f, f->gone == 1);
    turn_until(f, connections() == 0);
}

/* Where it is made of what a client sent, a line of its own would be a header, or an answer, of the client's. */
static void what_would_end_a_header_does_not_pass(void **state)
{
    static const char value[] = "a\r\nSet-Cookie: b\tc\x01 a long one\r\n\r\nHTTP/1.1 200 OK";
    struct http_header header = {S("X-Said"), {value, sizeof value - 1}};
    int fd = park();
    struct str heard;

    http_answer_begin(f->parked, 200, S("text/plain"), &header, 1);
    heard = hear_until(f, fd, S("\r\n\r\n"));
    assert_true(str_contains(heard, S("X-Said: a  Set-Cookie: b\tc  a long one    HTTP/1.1 200 OK\r\n")));
    http_answer_end(f->parked);
    close(fd);
}

/* Nothing is sent to it: its kernel is asked, and has forgotten it (after a second, as it wishes here). */
static void a_client_that_has_closed_both_halves_is_missed_in_the_end(void **state)
{
    struct http_limits limits = {.probe_ms = 1000};
    int fd, second = 1;

    fixture_stop(f);
    fixture_start(f, &limits);
    fd = park();
    setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, &second, sizeof second);
    close(fd);
    for (int i = 0; i < 10 && !f->gone; i++)
        turn_for(f, 1000);
    assert_int_equal(f->gone, 1);
    turn_until(f, connections() == 0);
}

static void a_client_that_has_closed_both_halves_is_missed_at_the_next_piece(void **state)
{
    int fd = park();

    http_answer_begin(f->parked, 200, S("text/plain"), NULL, 0);
    hear_until(f, fd, S("\r\n\r\n"));
    close(fd);
    turn_for(f, 20);
    assert_int_equal(f->gone, 0);
    http_answer_chunk(f->parked, S("a line")); /* is answered with a reset */
    turn_until(f, f->gone == 1);
}

static void requests_behind_a_parked_one_wait_and_leaving_is_still_noticed(void **state)
{
    int fd = park();

    say(f, fd, S("GET /query?2 HTTP/1.1\r\nHost: a\r\n\r\nGET /query?3 HTTP/1.1\r\nHost: a\r\n\r\n"));
    turn_for(f, 10);
    assert_int_equal(f->requests, 1);
    answer_text(f->parked, 200, S("1"));
    assert_int_equal(f->requests, 1); /* never from inside an answer */
    turn_for(f, 10);
    assert_int_equal(f->requests, 3);
    assert_true(str_ends(hear_until(f, fd, S("\n3")), S("\r\n\r\n3")));
    say(f, fd, S("GET /park HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    turn_until(f, f->parked);
    reset(fd);
    turn_until(f, f->gone == 1);
    assert_int_equal(f->requests, 4);
}

static void many_pipelined_requests_are_all_answered(void **state)
{
    AUTO_BUF requests = BUF_INIT;
    int fd = park();

    for (int i = 0; i < 3000; i++)
        buf_printf(&requests, "GET /query?%04d HTTP/1.1\r\nHost: a\r\n\r\n", i);
    send(fd, requests.p, 100000, MSG_NOSIGNAL);
    turn_for(f, 10);
    answer_text(f->parked, 200, S("first"));
    say(f, fd, str_skip(buf_str(&requests), 100000));
    assert_true(str_ends(hear_until(f, fd, S("\r\n2999")), S("\r\n\r\n2999")));
    assert_int_equal(f->requests, 3001);
    close(fd);
}

static void what_is_pipelined_behind_a_parked_request_is_bounded(void **state)
{
    static char filler[4 << 20];
    int fd = park();

    memset(filler, '\n', sizeof filler);
    for (int i = 0; i < 200; i++) {
        send(fd, filler, sizeof filler, MSG_NOSIGNAL);
        turn(f);
    }
    assert_in_range(http_server_counts(f->server).buffered_bytes, 64 * 1024, 256 * 1024);
    close(fd);
}

static void a_slow_reader_of_a_long_answer_holds_little_memory(void **state)
{
    int fd = dial_with(f, 16 * 1024);
    size_t got = 0, most = 0;
    static char bytes[1 << 20];

    say(f, fd, S("GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    turn_for(f, 50);
    assert_in_range(f->big_sent, 1, 10 << 20);
    for (ssize_t n = 1; n != 0;) {
        turn(f);
        n = recv(fd, bytes, sizeof bytes, 0);
        got += n > 0 ? (size_t)n : 0;
        if (http_server_counts(f->server).buffered_bytes > most)
            most = http_server_counts(f->server).buffered_bytes;
    }
    assert_true(got > BIG_TOTAL);
    assert_in_range(most, 1, 512 * 1024);
    assert_int_equal(f->gone, 0);
    close(fd);
}

static void leaving_in_the_middle_of_an_answer_is_noticed(void **state)
{
    int fd = dial_with(f, 16 * 1024);

    say(f, fd, S("GET /big HTTP/1.1\r\nHost: a\r\n\r\n"));
    turn_for(f, 20);
    close(fd);
    turn_until(f, f->gone == 1);
}

static void a_whole_answer_of_50_mib_arrives(void **state)
{
    int fd = dial(f);

    say(f, fd, S("GET /big-whole HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert_true(hear_end(f, fd).len > BIG_TOTAL);
    close(fd);
    turn_until(f, connections() == 0);
    assert_int_equal(http_server_counts(f->server).buffered_bytes, 0);
}

static void send_body(int fd, const char *path, size_t size)
{
    AUTO_BUF body = BUF_INIT;

    buf_printf(&body, "POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", path, size);
    memset(buf_reserve(&body, size), 'b', size);
    body.len += size;
    assert_int_equal(say(f, fd, buf_str(&body)), body.len);
}

static void a_long_body_comes_back_whole(void **state)
{
    int fd = dial(f);
    size_t size = 300 * 1000;

    send_body(fd, "/echo", size);
    struct str heard = hear_end(f, fd);
    assert_true(heard.len > size);
    for (size_t i = heard.len - size; i < heard.len; i++)
        assert_int_equal(heard.p[i], 'b');
    close(fd);
}

static void a_streamed_body_comes_in_pieces(void **state)
{
    int fd = dial(f);

    send_body(fd, "/stream", 20 << 20);
    assert_true(str_ends(hear_end(f, fd), S("\r\n\r\n20971520")));
    assert_true(f->pieces > 10);
    close(fd);
}

static void a_paused_body_waits_with_its_sender(void **state)
{
    static char piece[4 << 20];
    int fd = dial(f);

    f->pause = true;
    say(f, fd, S("POST /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4194304\r\n\r\n"));
    ssize_t sent = send(fd, piece, sizeof piece, MSG_NOSIGNAL);
    turn_until(f, f->pieces == 1);
    turn_for(f, 20);
    assert_int_equal(f->pieces, 1);
    assert_in_range(http_server_counts(f->server).buffered_bytes, 0, 256 * 1024);
    f->pause = false;
    http_body_resume(f->paused);
    say(f, fd, (struct str){piece, sizeof piece - (size_t)sent});
    assert_true(str_ends(hear_end(f, fd), S("\r\n\r\n4194304")));
    close(fd);
}

static void a_body_paused_at_its_last_byte_ends_when_resumed(void **state)
{
    int fd = dial(f);

    f->pause = true;
    say(f, fd, S("POST /stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"));
    turn_until(f, f->pieces == 1);
    turn_for(f, 10);
    assert_int_equal(f->requests, 0);
    http_body_resume(f->paused);
    assert_true(str_ends(hear_end(f, fd), S("\r\n\r\n5")));
    close(fd);
}

static void an_answer_before_the_body_ends_the_connection(void **state)
{
    int fd = dial(f);

    say(f, fd, S("POST /stream-refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\nstart"));
    assert_true(str_ends(hear_until(f, fd, S("enough")), S("Connection: close\r\n\r\nenough")));
    assert_int_equal(f->requests, 0);
    close(fd);
    turn_until(f, connections() == 0);
}

static void leaving_in_the_middle_of_a_body_is_noticed(void **state)
{
    int fd = dial(f);

    say(f, fd, S("POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel"));
    turn_until(f, f->heads == 1);
    close(fd);
    turn_until(f, f->gone == 1);
    assert_int_equal(f->requests, 0);
}

static int upgrade(void)
{
    int fd = dial(f);

    say(f, fd, S("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nearly"));
    assert_heard(hear_until(f, fd, S("early")),
                 "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nearly");
    return fd;
}

static void an_upgraded_connection_carries_bytes_both_ways(void **state)
{
    int fd = upgrade();

    say(f, fd, S("ping"));
    assert_heard(hear_until(f, fd, S("ping")), "ping");
    shutdown(fd, SHUT_WR); /* half-closed: the other half still works */
    assert_heard(hear_end(f, fd), "bye");
    turn_until(f, f->closes == 1);
    assert_int_equal(f->ends, 1);
    close(fd);
}

static void an_upgrade_of_a_client_that_sends_no_more_is_told_its_end(void **state)
{
    int fd = dial(f);

    say(f, fd, S("GET /park HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"));
    turn_until(f, f->parked);
    shutdown(fd, SHUT_WR);
    turn_for(f, 20);
    assert_non_null(http_upgrade(f->parked, S("raw"), NULL, 0,
                                 &(struct http_socket_events){f, socket_bytes, socket_end, NULL, socket_close}));
    assert_true(str_ends(hear_end(f, fd), S("\r\n\r\nbye")));
    turn_until(f, f->closes == 1);
    assert_int_equal(f->ends, 1);
    close(fd);
}

static void an_upgraded_connection_tells_its_end_once(void **state)
{
    int fd = upgrade();

    say(f, fd, S("close"));
    hear_end(f, fd);
    turn_until(f, f->closes == 1);
    turn_for(f, 10);
    assert_int_equal(f->closes, 1);
    assert_int_equal(f->ends, 0);
    close(fd);
}

static void a_paused_socket_holds_its_sender_back(void **state)
{
    static char bytes[1 << 20];
    int fd = upgrade();
    size_t before;

    f->pause = true;
    say(f, fd, S("x"));
    turn_for(f, 10);
    before = f->streamed;
    for (int i = 0; i < 100; i++) {
        send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        turn(f);
    }
    assert_int_equal(f->streamed, before);
    assert_in_range(http_server_counts(f->server).buffered_bytes, 1, 256 * 1024);
    f->pause = false;
    http_socket_resume(f->socket);
    turn_for(f, 10);
    assert_true(f->streamed > before);
    close(fd);
    turn_until(f, f->closes == 1);
}

static void a_handler_may_decline_an_upgrade(void **state)
{
    int fd = dial(f);

    say(f, fd,
        S("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
          "GET /query?2 HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_true(str_starts(hear_until(f, fd, S("\n2")), S("HTTP/1.1 200 OK\r\n")));
    say(f, fd, S("GET /upgrade HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_true(str_starts(hear_until(f, fd, S("upgrade")), S("HTTP/1.1 426 ")));
    close(fd);
}

static void a_stop_lets_what_is_in_flight_finish(void **state)
{
    int idle = dial(f), parked = park();

    say(f, idle, S("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    hear_until(f, idle, S("ok"));
    http_server_stop(f->server, 2000, on_stopped, f);
    assert_int_equal(hear_end(f, idle).len, 0);
    assert_false(f->stopped);
    answer_text(f->parked, 200, S("last"));
    assert_true(str_ends(hear_end(f, parked), S("Connection: close\r\n\r\nlast")));
    close(idle);
    close(parked);
    turn_until(f, f->stopped);
    assert_int_equal(f->gone, 0);
}

static void a_stop_drops_what_outlives_its_grace(void **state)
{
    int parked = park(), socket = upgrade();

    http_server_stop(f->server, 100, on_stopped, f);
    turn_until(f, f->stopped);
    assert_int_equal(f->gone, 1);
    assert_int_equal(f->closes, 1);
    close(parked);
    close(socket);
}

static void a_listener_can_go_alone(void **state)
{
    struct http_handler handler = {f, NULL, NULL, fixture_request};
    struct http_listener *other, *first = f->listener;
    struct err err = ERR_INIT;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), theirs, ours;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(http_server_listen_fd(f->server, fd, &handler, &other, &err), 0);
    assert_true(http_listener_is_loopback(other));
    f->listener = other;
    theirs = park();
    f->listener = first;
    ours = dial(f);
    http_listener_close(other);
    turn_until(f, f->gone == 1);
    assert_int_equal(hear_end(f, theirs).len, 0);
    say(f, ours, S("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_true(str_ends(hear_until(f, ours, S("ok")), S("ok")));
    close(theirs);
    close(ours);
}

static void bad_addresses_are_named(void **state)
{
    struct http_handler handler = {f, NULL, NULL, fixture_request};
    const struct str bad[] = {S(""), S("4566"), S("127.0.0.1"), S("127.0.0.1:x"), S("127.0.0.1:65536"), S("[::1:80")};
    struct http_listener *listener;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = ERR_INIT;
        assert_true(http_server_listen(f->server, bad[i], &handler, &listener, &err) < 0);
        assert_non_null(strstr(err.text, bad[i].p));
    }
}

#define T(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_parked_request_is_answered_later),
        T(a_parked_request_notices_its_client_leaving_once),
        T(a_client_that_sends_no_more_still_gets_its_answer),
        T(a_client_that_sends_no_more_gets_all_that_it_asked_for_whole),
        T(a_paused_body_whose_sender_sends_no_more_is_still_told_to_its_end),
        T(a_reset_behind_a_half_close_is_noticed),
        T(a_client_that_has_closed_both_halves_is_missed_in_the_end),
        T(a_client_that_has_closed_both_halves_is_missed_at_the_next_piece),
        T(requests_behind_a_parked_one_wait_and_leaving_is_still_noticed),
        T(what_would_end_a_header_does_not_pass),
        T(many_pipelined_requests_are_all_answered),
        T(what_is_pipelined_behind_a_parked_request_is_bounded),
        T(a_slow_reader_of_a_long_answer_holds_little_memory),
        T(leaving_in_the_middle_of_an_answer_is_noticed),
        T(a_whole_answer_of_50_mib_arrives),
        T(a_long_body_comes_back_whole),
        T(a_streamed_body_comes_in_pieces),
        T(a_paused_body_waits_with_its_sender),
        T(a_body_paused_at_its_last_byte_ends_when_resumed),
        T(an_answer_before_the_body_ends_the_connection),
        T(leaving_in_the_middle_of_a_body_is_noticed),
        T(an_upgraded_connection_carries_bytes_both_ways),
        T(an_upgrade_of_a_client_that_sends_no_more_is_told_its_end),
        T(an_upgraded_connection_tells_its_end_once),
        T(a_paused_socket_holds_its_sender_back),
        T(a_handler_may_decline_an_upgrade),
        T(a_stop_lets_what_is_in_flight_finish),
        T(a_stop_drops_what_outlives_its_grace),
        T(a_listener_can_go_alone),
        T(bad_addresses_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
