/* Client tokens: a call that is made again is answered again, for a day. */
#include "base/time.h"
#include "services/call_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

#define LAUNCH "ImageId=ami-000c540e28953ace2&MinCount=1&MaxCount=1&ClientToken="

static const int64_t hour_ms = 3600 * 1000;

/* The instance that a RunInstances with this form answers. */
static void launch(const char *form, char id[32])
{
    const struct service *service;
    const struct operation *operation = fixture_operation(S("RunInstances"), &service);
    struct fixture_call made;
    const char *at;

    assert_true(fixture_start(&made, "111111111111", service, operation, str_of(form)));
    fixture_wait(&made);
    assert_int_equal(made.r, 0);
    buf_byte(&made.body, '\0');
    at = strstr(made.body.p, "<instanceId>i-");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "<instanceId>%31[^<]", id), 1);
    fixture_end(&made);
}

static int back_to_now(void **state)
{
    time_set_offset_ms(0);
    return 0;
}

static void a_token_answers_for_a_day(void **state)
{
    char first[32], again[32], last[32];

    launch(LAUNCH "day", first);
    time_set_offset_ms(23 * hour_ms);
    launch(LAUNCH "day", again);
    assert_string_equal(again, first);
    time_set_offset_ms(25 * hour_ms);
    launch(LAUNCH "day", again);
    assert_string_not_equal(again, first);
    time_set_offset_ms(48 * hour_ms); /* of the second use: kept anew */
    launch(LAUNCH "day", last);
    assert_string_equal(last, again);
}

static void a_token_that_has_expired_may_come_with_other_parameters(void **state)
{
    char first[32], other[32];

    launch(LAUNCH "other", first);
    time_set_offset_ms(25 * hour_ms);
    launch(LAUNCH "other&InstanceType=t3.large", other);
    assert_string_not_equal(other, first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_token_answers_for_a_day, back_to_now),
        cmocka_unit_test_teardown(a_token_that_has_expired_may_come_with_other_parameters, back_to_now),
    };
    int failed;

    fixture_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close();
    return failed;
}
