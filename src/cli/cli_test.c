/* What the commands are made of: flags, tables, answers, whose token. */
#include "cli/options.h"
#include "cli/remote.h"
#include "cli/text_table.h"
#include "cli/token.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void letters_together_are_flags_of_their_own(void **state)
{
    bool input = false, tty = false;
    struct str type = {0};
    const struct option options[] = {{"-i", &input}, {"-t", &tty}, {"--type", NULL, &type}, {0}};
    char *argv[] = {"-it", "--type=t3.nano", "i-1", "-i"};
    struct words words = {argv, 4};
    struct err err = ERR_INIT;

    assert_int_equal(options_parse(&words, options, &err), 0);
    assert_true(input && tty);
    assert_true(str_equal(type, S("t3.nano")));
    assert_int_equal(words.count, 2); /* what stands behind the first word is the command's */
    assert_string_equal(words.items[0], "i-1");
}

static void wrong_flags_are_refused(void **state)
{
    bool input = false;
    struct str type = {0};
    const struct option options[] = {{"-i", &input}, {"--type", NULL, &type}, {0}};
    static char *bad[] = {"--nope", "-ix", "--type", "-i=1"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct words words = {&bad[i], 1};
        struct err err = ERR_INIT;

        assert_true(options_parse(&words, options, &err) < 0);
    }
}

static void expect_table(const char *const *cells, size_t count, size_t width, const char *expected)
{
    struct text_table table = {.columns = 2, .flexible = 0};
    AUTO_BUF out = BUF_INIT;

    for (size_t i = 0; i < count; i++)
        text_table_add(&table, str_of(cells[i]));
    text_table_print(&table, width, &out);
    buf_byte(&out, '\0');
    assert_string_equal(out.p, expected);
    text_table_free(&table);
}

static void a_table_lines_up_and_escapes_control_bytes(void **state)
{
    static const char *const cells[] = {"NAME", "X",        "a\x1b[31m", "1", "\xc3\xa9t\xc3\xa9",
                                        "2",    "\xff\xc3", "\xc2\x9b"};

    expect_table(cells, 8, 0,
                 "NAME       X\n"
                 "a\\x1b[31m  1\n"
                 "\xc3\xa9t\xc3\xa9        2\n"
                 "\\xff\\xc3   \\x9b\n");
}

static void a_long_name_gives_way_to_the_terminals_width(void **state)
{
    static const char *const cells[] = {"NAME", "STATE", "a-very-long-name", "running"};

    expect_table(cells, 4, 18, "NAME       STATE\na-very-l…  running\n");
}

static void text_of_an_element_is_found_and_its_entities_replaced(void **state)
{
    AUTO_ARENA arena = ARENA_INIT;
    struct str xml = S("<a><Code>X</Code><Message>it&apos;s &lt;&amp;amp;&gt;</Message></a>");

    assert_true(str_equal(xml_text(&arena, xml, "Code"), S("X")));
    assert_true(str_equal(xml_text(&arena, xml, "Message"), S("it's <&amp;>")));
    assert_null(xml_text(&arena, xml, "None").p);
    assert_null(xml_text(&arena, (struct str){0}, "Code").p);
}

static void forms_are_percent_encoded(void **state)
{
    AUTO_BUF form = BUF_INIT;

    form_add(&form, "A", S("b c&d=é"));
    form_add(&form, "B", S("x-._~"));
    assert_true(str_equal(buf_str(&form), S("A=b%20c%26d%3D%C3%A9&B=x-._~")));
}

static void a_token_goes_only_to_the_server_it_is_of(void **state)
{
    assert_true(endpoint_is(S("http://127.0.0.1:4566"), S("127.0.0.1:4566")));
    assert_true(endpoint_is(S("http://localhost:4566/"), S("127.0.0.1:4566")));
    assert_true(endpoint_is(S("http://127.0.0.1:4566"), S("0.0.0.0:4566")));
    assert_true(endpoint_is(S("http://[::1]:4566"), S("[::]:4566")));
    assert_true(endpoint_is(S("http://10.0.0.1:4566"), S("10.0.0.1:4566")));
    assert_false(endpoint_is(S("http://127.0.0.1:4567"), S("127.0.0.1:4566")));
    assert_false(endpoint_is(S("http://198.51.100.7:4566"), S("127.0.0.1:4566")));
    assert_false(endpoint_is(S("http://198.51.100.7:4566"), S("0.0.0.0:4566")));
    assert_false(endpoint_is(S("http://127.evil.example:4566"), S("127.0.0.1:4566")));
    assert_false(endpoint_is(S("http://localhost.evil.example:4566"), S("127.0.0.1:4566")));
    assert_false(endpoint_is(S("http://127.0.0.1:4566"), (struct str){0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_together_are_flags_of_their_own),
        cmocka_unit_test(wrong_flags_are_refused),
        cmocka_unit_test(a_table_lines_up_and_escapes_control_bytes),
        cmocka_unit_test(a_long_name_gives_way_to_the_terminals_width),
        cmocka_unit_test(text_of_an_element_is_found_and_its_entities_replaced),
        cmocka_unit_test(forms_are_percent_encoded),
        cmocka_unit_test(a_token_goes_only_to_the_server_it_is_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
