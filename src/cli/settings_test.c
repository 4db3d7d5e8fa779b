/* Settings: each flag, variable, alias and bad value; and what gives way to what. */
#include "cli/settings.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static char *const no_environment[] = {NULL};

static int read_flag(struct settings *settings, const char *flag, const char *value, struct err *err)
{
    char *argv[] = {(char *)flag, (char *)value};

    return settings_read(value ? 2 : 1, argv, no_environment, settings, err);
}

static int read_variable(struct settings *settings, const char *name, const char *value, struct err *err)
{
    AUTO_FREE char *line = mem_printf("%s=%s", name, value);
    char *const environment[] = {line, NULL};

    return settings_read(0, NULL, environment, settings, err);
}

static const struct row {
    const char *flag, *variable, *alias, *good, *bad;
} rows[] = {
    {"--listen", "HAAR_LISTEN", NULL, "0.0.0.0:80", "localhost:4566"},
    {"--listen", "HAAR_LISTEN", NULL, "[::1]:0", "[::1]"},
    {"--listen", "HAAR_LISTEN", NULL, "127.0.0.1:65535", "127.0.0.1:65536"},
    {"--backend", "HAAR_CONTAINER_BACKEND", "FAKECLOUD_CONTAINER_BACKEND", "k8s", "dockr"},
    {"--ec2-backend", "HAAR_EC2_BACKEND", "FAKECLOUD_EC2_BACKEND", "none", "no"},
    {"--lambda-backend", "HAAR_LAMBDA_BACKEND", "FAKECLOUD_LAMBDA_BACKEND", "podman", "x"},
    {"--account-id", "HAAR_ACCOUNT_ID", "FAKECLOUD_ACCOUNT_ID", "123456789012", "12345678901"},
    {"--region", "HAAR_REGION", "FAKECLOUD_REGION", "eu-west-1", "eu-west-9"},
    {"--internet", "HAAR_INTERNET", NULL, "off", "maybe"},
    {"--allow-host", "HAAR_ALLOW_HOST", NULL, "10.1.0.0/16", "10.1.0.1/16"},
    {"--allow-host", "HAAR_ALLOW_HOST", NULL, "0.0.0.0/0", "10.1.0.0"},
    {"--log-level", "HAAR_LOG_LEVEL", NULL, "debug", "loud"},
    {NULL, "HAAR_REMOVE_ON_EXIT", NULL, "yes", "perhaps"},
    {NULL, "HAAR_EC2_IMAGE", "FAKECLOUD_EC2_DEFAULT_IMAGE", "debian:12", "a b"},
    {NULL, "HAAR_PUBLIC_POOL", NULL, "198.18.16.0/20", "198.18.16.0/33"},
    {NULL, "HAAR_ALLOWED_HOSTS", NULL, "a.internal, *.b.org", "a/b"},
    {NULL, "HAAR_ALLOWED_HOSTS", NULL, "*", "a,,b"},
    {NULL, "HAAR_ALLOWED_ORIGINS", NULL, "https://a.org,http://b:80", "https://a.org/path"},
    {NULL, "HAAR_PRETEND_MISSING", NULL, "cpu-limits,packet-filter", "cpu-limits,"},
    {NULL, "HAAR_TOKEN", NULL, "0123456789abcdef", "short"},
    {NULL, "HAAR_K8S_SELF_URL", "FAKECLOUD_K8S_SELF_URL", "http://haar.tools:4566/", "haar.tools"},
    {NULL, "HAAR_K8S_NAMESPACE", "FAKECLOUD_K8S_NAMESPACE", "tools", "Tools"},
    {NULL, "HAAR_K8S_ECR_URL", "FAKECLOUD_K8S_ECR_URL", "registry.tools:5000", "a b"},
    {NULL, "HAAR_K8S_PULL_SECRET", "FAKECLOUD_K8S_PULL_SECRET", "pull.secret", "-x"},
    {NULL, "HAAR_K8S_NODE_SELECTOR", "FAKECLOUD_K8S_NODE_SELECTOR", "disk=ssd,zone=a", "disk"},
    {NULL, "HAAR_EC2_K8S_NODE_SELECTOR", "FAKECLOUD_EC2_K8S_NODE_SELECTOR", "{\"disk\":\"ssd\"}", "{\"disk\":1}"},
    {NULL, "HAAR_LAMBDA_K8S_NODE_SELECTOR", "FAKECLOUD_LAMBDA_K8S_NODE_SELECTOR", "a=b", "=b"},
    {NULL, "HAAR_K8S_TOLERATIONS", "FAKECLOUD_K8S_TOLERATIONS", "[{\"key\":\"a\"}]", "{}"},
    {NULL, "HAAR_EC2_K8S_TOLERATIONS", "FAKECLOUD_EC2_K8S_TOLERATIONS", "[]", "[1]"},
    {NULL, "HAAR_LAMBDA_K8S_TOLERATIONS", "FAKECLOUD_LAMBDA_K8S_TOLERATIONS", "[]", "["},
    {NULL, "HAAR_K8S_ANNOTATIONS", "FAKECLOUD_K8S_ANNOTATIONS", "a/b=c", ","},
    {NULL, "HAAR_EC2_K8S_ANNOTATIONS", "FAKECLOUD_EC2_K8S_ANNOTATIONS", "a=", "a"},
    {NULL, "HAAR_LAMBDA_K8S_ANNOTATIONS", "FAKECLOUD_LAMBDA_K8S_ANNOTATIONS", "a=b", "{"},
};

/* What differs from the defaults, as bytes. */
static bool changes(struct settings *settings)
{
    struct settings defaults;
    bool changed;

    assert_int_equal(settings_read(0, NULL, no_environment, &defaults, &ERR_INIT), 0);
    changed = memcmp(&defaults, settings, sizeof defaults) != 0;
    settings_free(settings);
    return changed;
}

static void each_flag_variable_and_alias_is_taken(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct settings settings;
        struct err err = ERR_INIT;

        if (rows[i].flag) {
            assert_int_equal(read_flag(&settings, rows[i].flag, rows[i].good, &err), 0);
            assert_true(changes(&settings));
        }
        assert_int_equal(read_variable(&settings, rows[i].variable, rows[i].good, &err), 0);
        assert_true(changes(&settings));
        if (!rows[i].alias)
            continue;
        assert_int_equal(read_variable(&settings, rows[i].alias, rows[i].good, &err), 0);
        assert_true(changes(&settings));
    }
}

static void a_bad_value_is_refused_by_the_name_it_came_under(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct settings settings;
        struct err err = ERR_INIT;

        if (rows[i].flag) {
            assert_true(read_flag(&settings, rows[i].flag, rows[i].bad, &err) < 0);
            assert_true(str_starts(str_of(err.text), str_of(rows[i].flag)));
            settings_free(&settings);
        }
        assert_true(read_variable(&settings, rows[i].variable, rows[i].bad, &err) < 0);
        assert_true(str_starts(str_of(err.text), str_of(rows[i].variable)));
        settings_free(&settings);
        if (!rows[i].alias)
            continue;
        assert_true(read_variable(&settings, rows[i].alias, rows[i].bad, &err) < 0);
        assert_true(str_starts(str_of(err.text), str_of(rows[i].alias)));
        settings_free(&settings);
    }
}

static void a_flag_beats_its_variable_and_that_its_alias(void **state)
{
    char *argv[] = {"--region=eu-west-1"};
    char *const environment[] = {"FAKECLOUD_REGION=eu-west-3", "HAAR_REGION=eu-west-2", NULL};
    struct settings settings;
    struct err err = ERR_INIT;

    assert_int_equal(settings_read(1, argv, environment, &settings, &err), 0);
    assert_true(str_equal(settings.region, S("eu-west-1")));
    assert_int_equal(settings_read(0, NULL, environment, &settings, &err), 0);
    assert_true(str_equal(settings.region, S("eu-west-2")));
    assert_int_equal(settings_read(0, NULL, (char *const[]){environment[0], NULL}, &settings, &err), 0);
    assert_true(str_equal(settings.region, S("eu-west-3")));
}

static void an_empty_variable_counts_as_not_set(void **state)
{
    char *const environment[] = {"HAAR_REGION=", "FAKECLOUD_REGION=eu-west-3", "HAAR_TOKEN=", NULL};
    struct settings settings;
    struct err err = ERR_INIT;

    assert_int_equal(settings_read(0, NULL, environment, &settings, &err), 0);
    assert_true(str_equal(settings.region, S("eu-west-3")));
    assert_null(settings.token.p);
}

static void lists_grow_by_repetition_and_by_commas(void **state)
{
    char *argv[] = {"--allow-host", "10.0.0.0/8", "--allow-host=172.16.0.0/12,192.168.0.0/16"};
    char *const environment[] = {"HAAR_ALLOWED_HOSTS=a, *.b", NULL};
    struct settings settings;
    struct err err = ERR_INIT;

    assert_int_equal(settings_read(3, argv, environment, &settings, &err), 0);
    assert_int_equal(settings.allow_hosts.count, 3);
    assert_int_equal(settings.allow_hosts.items[1].network, 0xac100000);
    assert_int_equal(settings.allow_hosts.items[1].prefix, 12);
    assert_int_equal(settings.allowed_hosts.count, 2);
    assert_true(str_equal(settings.allowed_hosts.items[1], S("*.b")));
    settings_free(&settings);
}

static void a_backend_for_one_service_beats_the_one_for_all(void **state)
{
    char *argv[] = {"--backend", "native", "--ec2-backend", "none"};
    struct settings settings;
    struct err err = ERR_INIT;

    assert_int_equal(settings_read(4, argv, no_environment, &settings, &err), 0);
    assert_int_equal(settings_ec2_backend(&settings), BACKEND_NONE);
    assert_int_equal(settings_lambda_backend(&settings), BACKEND_NATIVE);
}

static void a_switch_takes_no_word_after_it(void **state)
{
    char *argv[] = {"--remove-on-exit", "--region", "eu-west-1"};
    struct settings settings;
    struct err err = ERR_INIT;

    assert_int_equal(settings_read(3, argv, no_environment, &settings, &err), 0);
    assert_true(settings.remove_on_exit);
    assert_true(str_equal(settings.region, S("eu-west-1")));
}

static void unknown_flags_stray_words_and_missing_values_are_errors(void **state)
{
    static const char *const bad[] = {"--regoin", "-x", "serve", "--region", "--listen=", "--"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct settings settings;
        struct err err = ERR_INIT;

        assert_true(read_flag(&settings, bad[i], NULL, &err) < 0);
        assert_true(err.text[0] != '\0');
        settings_free(&settings);
    }
}

static void a_bad_token_is_never_printed(void **state)
{
    struct settings settings;
    struct err err = ERR_INIT;

    assert_true(read_variable(&settings, "HAAR_TOKEN", "my secret token", &err) < 0);
    assert_false(str_contains(str_of(err.text), S("secret")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_flag_variable_and_alias_is_taken),
        cmocka_unit_test(a_bad_value_is_refused_by_the_name_it_came_under),
        cmocka_unit_test(a_flag_beats_its_variable_and_that_its_alias),
        cmocka_unit_test(an_empty_variable_counts_as_not_set),
        cmocka_unit_test(lists_grow_by_repetition_and_by_commas),
        cmocka_unit_test(a_backend_for_one_service_beats_the_one_for_all),
        cmocka_unit_test(a_switch_takes_no_word_after_it),
        cmocka_unit_test(unknown_flags_stray_words_and_missing_values_are_errors),
        cmocka_unit_test(a_bad_token_is_never_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
