#include "base/arena.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/time.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void wildcards_follow_aws(void **state)
{
    static const struct {
        const char *text, *pattern;
        bool matches;
    } rows[] = {
        {"debian-12-amd64", "debian-12-*", true},
        {"abc", "a?c", true},
        {"ac", "a?c", false},
        {"", "*", true},
        {"a*c", "a\\*c", true},
        {"abc", "a\\*c", false},
        {"aXbXc", "a*b*c", true},
        {"ab", "a", false},
        {"a\\", "a\\", true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(str_matches(str_of(rows[i].text), str_of(rows[i].pattern)), rows[i].matches);
}

static void a_number_is_the_whole_string_or_none(void **state)
{
    int64_t n;

    assert_true(str_to_int(S("-12"), &n) && n == -12);
    assert_true(str_to_int(S("9223372036854775807"), &n) && n == INT64_MAX);
    assert_false(str_to_int(S("9223372036854775808"), &n));
    assert_false(str_to_int(S("1a"), &n));
    assert_false(str_to_int(S(""), &n));
    assert_false(str_to_int(S("+1"), &n));
}

static void overlong_and_surrogate_utf8_is_refused(void **state)
{
    assert_true(str_is_utf8(S("haar \xc3\xa5 \xe2\x82\xac \xf0\x9f\x8c\x8a")));
    assert_false(str_is_utf8(S("\xc0\xaf")));
    assert_false(str_is_utf8(S("\xe0\x9f\xbf")));
    assert_false(str_is_utf8(S("\xf0\x8f\xbf\xbf")));
    assert_false(str_is_utf8(S("\xed\xa0\x80")));
    assert_false(str_is_utf8(S("\xf4\x90\x80\x80")));
    assert_false(str_is_utf8(S("\xe2\x82")));
}

static void times_survive_a_round_trip(void **state)
{
    char out[TIME_ISO_SIZE];
    int64_t ms;

    assert_true(time_parse(S("2026-11-25T12:44:01.250Z"), &ms));
    assert_true(str_equal(time_iso(ms, out), S("2026-11-25T12:44:01.250Z")));
    assert_true(time_parse(S("2024-02-29T23:59:59+02:00"), &ms));
    assert_true(str_equal(time_iso(ms, out), S("2024-02-29T21:59:59.000Z")));
    assert_true(str_equal(time_iso(-1, out), S("1969-12-31T23:59:59.999Z")));
    assert_false(time_parse(S("yesterday"), &ms));
    assert_false(time_parse(S("2026-13-01"), &ms));
}

static void a_time_that_cannot_be_written_is_not_read(void **state)
{
    int64_t ms;

    assert_true(time_parse(S("253402300799"), &ms));
    assert_false(time_parse(S("263420022634"), &ms)); /* the year 10317 */
    assert_false(time_parse(S("-99999999999"), &ms));
    assert_false(time_parse(S("9999-12-31T23:59:59-01:00"), &ms));
    assert_false(time_parse(S("-000-01-01"), &ms));
}

static void an_allocation_of_nothing_is_not_null(void **state)
{
    AUTO_ARENA arena = ARENA_INIT;

    assert_non_null(arena_alloc_array(&arena, 8, 0));
}

static void a_map_keeps_what_a_removal_shifts(void **state)
{
    AUTO_ARENA arena = ARENA_INIT;
    struct map map = {0};
    struct str keys[500];

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        keys[i] = arena_printf(&arena, "key-%zu", i);
        map_put(&map, keys[i], (void *)(i + 1));
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i += 2)
        assert_ptr_equal(map_remove(&map, keys[i]), (void *)(i + 1));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_ptr_equal(map_get(&map, keys[i]), i % 2 ? (void *)(i + 1) : NULL);
    assert_int_equal(map.count, 250);
    map_free(&map);
}

static void ids_have_the_form_of_awss(void **state)
{
    AUTO_ARENA arena = ARENA_INIT;
    struct str id = id_new(&arena, S("i-"));

    assert_int_equal(id.len, 19);
    assert_true(str_starts(id, S("i-0")));
    assert_false(str_equal(id, id_new(&arena, S("i-"))));
}

int main(void)
{
    static const struct CMUnitTest base_tests[] = {
        cmocka_unit_test(wildcards_follow_aws),
        cmocka_unit_test(a_number_is_the_whole_string_or_none),
        cmocka_unit_test(overlong_and_surrogate_utf8_is_refused),
        cmocka_unit_test(times_survive_a_round_trip),
        cmocka_unit_test(a_time_that_cannot_be_written_is_not_read),
        cmocka_unit_test(an_allocation_of_nothing_is_not_null),
        cmocka_unit_test(a_map_keeps_what_a_removal_shifts),
        cmocka_unit_test(ids_have_the_form_of_awss),
    };

    return cmocka_run_group_tests(base_tests, NULL, NULL);
}
