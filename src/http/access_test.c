/* One test for each line of the contract "Who may call". */
#include "http/access.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const struct str hosts[] = {S("haar.test"), S("*.apps.test")};
static const struct str origins[] = {S("https://app.test"), S("http://localhost:3000")};
static const struct access_config config = {
    .allowed_hosts = hosts,
    .allowed_host_count = ARRAY_LEN(hosts),
    .allowed_origins = origins,
    .allowed_origin_count = ARRAY_LEN(origins),
    .self_host = S("haar.default.svc"),
    .token = S("0123456789abcdef"),
};

static enum access_verdict check_host(const char *host)
{
    struct http_request request = {.host = str_of(host)};

    assert_int_equal(access_check_host(&config, &request), access_check(&config, &request));
    return access_check(&config, &request);
}

static enum access_verdict check_headers(struct http_header a, struct http_header b)
{
    struct http_header headers[] = {a, b};
    struct http_request request = {.host = S("localhost"), .headers = headers, .header_count = 2};

    return access_check(&config, &request);
}

#define NOTHING ((struct http_header){S("Accept"), S("*/*")})
#define ORIGIN(value) ((struct http_header){S("Origin"), S(value)})
#define SITE(value) ((struct http_header){S("sec-fetch-site"), S(value)})

static void an_ip_address_is_a_host(void **state)
{
    const char *const good[] = {"127.0.0.1", "127.0.0.1:4566", "10.1.2.3:80", "[::1]", "[::1]:4566", "[fe80::1]:1"};
    const char *const bad[] = {"1.2.3", "1.2.3.4.5",       "0x7f.1",      "256.1.1.1",           "2130706433",
                               "[::1",  "[::1]x",          "[::1]:x",     "[localhost]",         "[]",
                               "::1",   "127.0.0.1:80:80", "127.0.0.1:x", "127.0.0.1.evil.test", "[127.0.0.1]"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(check_host(good[i]), ACCESS_ALLOWED);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(check_host(bad[i]), ACCESS_HOST_DENIED);
}

static void localhost_is_a_host(void **state)
{
    assert_int_equal(check_host("localhost"), ACCESS_ALLOWED);
    assert_int_equal(check_host("LocalHost:4566"), ACCESS_ALLOWED);
    assert_int_equal(check_host("localhost."), ACCESS_ALLOWED);
    assert_int_equal(check_host("localhost.evil.test"), ACCESS_HOST_DENIED);
    assert_int_equal(check_host("notlocalhost"), ACCESS_HOST_DENIED);
}

static void names_below_localhost_are_hosts(void **state)
{
    assert_int_equal(check_host("bucket.localhost:4566"), ACCESS_ALLOWED);
    assert_int_equal(check_host("a.b.LOCALHOST"), ACCESS_ALLOWED);
    assert_int_equal(check_host(".localhost"), ACCESS_HOST_DENIED);
}

static void docker_s_name_for_the_host_is_one(void **state)
{
    assert_int_equal(check_host("host.docker.internal:4566"), ACCESS_ALLOWED);
    assert_int_equal(check_host("x.host.docker.internal"), ACCESS_HOST_DENIED);
}

static void the_self_url_s_host_is_one(void **state)
{
    struct access_config without = {0};
    struct http_request request = {.host = S("haar.default.svc:80")};

    assert_int_equal(check_host("haar.default.svc:80"), ACCESS_ALLOWED);
    assert_int_equal(access_check(&without, &request), ACCESS_HOST_DENIED);
}

static void allowed_hosts_are_hosts(void **state)
{
    assert_int_equal(check_host("Haar.Test:1"), ACCESS_ALLOWED);
    assert_int_equal(check_host("x.apps.test"), ACCESS_ALLOWED);
    assert_int_equal(check_host("apps.test"), ACCESS_HOST_DENIED);
    assert_int_equal(check_host("xapps.test"), ACCESS_HOST_DENIED);
    assert_int_equal(check_host("x.haar.test"), ACCESS_HOST_DENIED);
}

static void any_other_host_is_denied(void **state)
{
    assert_int_equal(check_host("evil.test"), ACCESS_HOST_DENIED);
    assert_int_equal(check_host("evil.test:4566"), ACCESS_HOST_DENIED);
    assert_int_equal(check_host(""), ACCESS_HOST_DENIED);
    assert_int_equal(check_host(":80"), ACCESS_HOST_DENIED);
    assert_int_equal(check_host("user@localhost"), ACCESS_HOST_DENIED);
    assert_int_equal(check_host(NULL), ACCESS_ALLOWED); /* HTTP/1.0 */
}

static void an_origin_that_is_not_allowed_is_denied(void **state)
{
    assert_int_equal(check_headers(ORIGIN("https://evil.test"), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(ORIGIN("null"), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(ORIGIN(""), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(ORIGIN("http://localhost:4566"), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(ORIGIN("https://app.test.evil.test"), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(ORIGIN("https://app.test"), ORIGIN("https://evil.test")), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(NOTHING, NOTHING), ACCESS_ALLOWED);
}

static void an_allowed_origin_may_call_across_sites(void **state)
{
    assert_int_equal(check_headers(ORIGIN("https://app.test"), NOTHING), ACCESS_ALLOWED);
    assert_int_equal(check_headers(ORIGIN("https://app.test"), SITE("cross-site")), ACCESS_ALLOWED);
}

static void a_cross_site_fetch_is_denied(void **state)
{
    assert_int_equal(check_headers(SITE("cross-site"), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(SITE("Cross-Site"), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(SITE("same-origin"), NOTHING), ACCESS_ALLOWED);
    assert_int_equal(check_headers(SITE("none"), NOTHING), ACCESS_ALLOWED);
}

static void a_page_of_another_port_or_subdomain_is_another_site(void **state)
{
    assert_int_equal(check_headers(SITE("same-site"), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(SITE(""), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(SITE("same-origin, same-site"), NOTHING), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(SITE("same-origin"), SITE("same-site")), ACCESS_ORIGIN_DENIED);
    assert_int_equal(check_headers(ORIGIN("http://localhost:3000"), SITE("same-site")), ACCESS_ALLOWED);
}

static bool may_write(struct http_header header)
{
    struct http_request request = {.host = S("localhost"), .headers = &header, .header_count = 1};

    return access_may_write(&config, &request);
}

static void only_what_no_page_can_send_may_write(void **state)
{
    assert_false(may_write(NOTHING));
    assert_false(may_write(SITE("none")));
    assert_false(may_write(ORIGIN("https://evil.test")));
    assert_false(may_write((struct http_header){S("Authorization"), S("")}));
    assert_false(may_write((struct http_header){S("Authorization"), S("Basic QVdTNDo=")}));
    assert_true(may_write((struct http_header){S("authorization"), S("AWS4-HMAC-SHA256 Credential=a/b")}));
    assert_true(may_write(ORIGIN("https://app.test")));
}

static void function_urls_are_excepted_from_origin_but_not_from_host(void **state)
{
    struct http_header headers[] = {ORIGIN("https://evil.test"), SITE("cross-site")};
    struct http_request request = {.host = S("fn.localhost"), .headers = headers, .header_count = 2};

    assert_int_equal(access_check_host(&config, &request), ACCESS_ALLOWED);
    request.host = S("evil.test");
    assert_int_equal(access_check_host(&config, &request), ACCESS_HOST_DENIED);
}

static enum access_verdict check_own(const char *token, bool loopback, bool is_health, bool needs_token)
{
    struct http_header header = {S("haar-token"), str_of(token)};
    struct http_request request = {
        .host = S("10.0.0.1"), .headers = &header, .header_count = token ? 1 : 0, .peer_is_loopback = loopback};

    return access_check_own(&config, &request, is_health, needs_token);
}

static void what_executes_needs_the_token_everywhere(void **state)
{
    assert_int_equal(check_own(NULL, true, false, true), ACCESS_TOKEN_MISSING);
    assert_int_equal(check_own("", true, false, true), ACCESS_TOKEN_MISSING);
    assert_int_equal(check_own("0123456789abcdee", true, false, true), ACCESS_TOKEN_MISSING);
    assert_int_equal(check_own("0123456789abcde", true, false, true), ACCESS_TOKEN_MISSING);
    assert_int_equal(check_own("0123456789abcdef0", true, false, true), ACCESS_TOKEN_MISSING);
    assert_int_equal(check_own("0123456789abcdef", true, false, true), ACCESS_ALLOWED);
}

static void without_a_token_set_nothing_matches(void **state)
{
    struct access_config without = {.token = S("")};
    struct http_header header = {S("Haar-Token"), S("")};
    struct http_request request = {.headers = &header, .header_count = 1};

    assert_false(access_has_token(&without, &request));
}

static void beyond_loopback_own_paths_need_the_token(void **state)
{
    assert_int_equal(check_own(NULL, true, false, false), ACCESS_ALLOWED);
    assert_int_equal(check_own(NULL, false, false, false), ACCESS_TOKEN_MISSING);
    assert_int_equal(check_own("0123456789abcdef", false, false, false), ACCESS_ALLOWED);
}

static void health_answers_beyond_loopback_without_it(void **state)
{
    assert_int_equal(check_own(NULL, false, true, false), ACCESS_ALLOWED);
}

static void the_token_does_not_excuse_a_wrong_host(void **state)
{
    struct http_header header = {S("Haar-Token"), S("0123456789abcdef")};
    struct http_request request = {.host = S("evil.test"), .headers = &header, .header_count = 1};

    assert_int_equal(access_check_own(&config, &request, false, true), ACCESS_HOST_DENIED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ip_address_is_a_host),
        cmocka_unit_test(localhost_is_a_host),
        cmocka_unit_test(names_below_localhost_are_hosts),
        cmocka_unit_test(docker_s_name_for_the_host_is_one),
        cmocka_unit_test(the_self_url_s_host_is_one),
        cmocka_unit_test(allowed_hosts_are_hosts),
        cmocka_unit_test(any_other_host_is_denied),
        cmocka_unit_test(an_origin_that_is_not_allowed_is_denied),
        cmocka_unit_test(an_allowed_origin_may_call_across_sites),
        cmocka_unit_test(a_cross_site_fetch_is_denied),
        cmocka_unit_test(a_page_of_another_port_or_subdomain_is_another_site),
        cmocka_unit_test(only_what_no_page_can_send_may_write),
        cmocka_unit_test(function_urls_are_excepted_from_origin_but_not_from_host),
        cmocka_unit_test(what_executes_needs_the_token_everywhere),
        cmocka_unit_test(without_a_token_set_nothing_matches),
        cmocka_unit_test(beyond_loopback_own_paths_need_the_token),
        cmocka_unit_test(health_answers_beyond_loopback_without_it),
        cmocka_unit_test(the_token_does_not_excuse_a_wrong_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
