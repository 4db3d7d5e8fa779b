/*
 * Calls that a worker or a wait suspends, and all that may happen meanwhile: worlds are trimmed, accounts reset and
 * written to, clients leave. The sanitizers say what a call still held; the answers say that it went by what is so when
 * it went on.
 */
#include "base/mem.h"
#include "services/call_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ROUNDS = 300,
    UNDER_WAY = 12,
    ACCOUNTS = 6,
    STRANGERS = 40, /* accounts that only read, a turn: some turns make the store let go of worlds */
};

static uint64_t drawn;

static unsigned draw(unsigned count)
{
    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(drawn >> 33) % count;
}

static const char *an_account(char account[16])
{
    snprintf(account, 16, "%012u", draw(ACCOUNTS));
    return account;
}

static void start(struct fixture_call *made, const char *account, const char *name, const char *form)
{
    const struct service *service;
    const struct operation *operation = fixture_operation(str_of(name), &service);

    assert_non_null(operation);
    assert_true(fixture_start(made, account, service, operation, str_of(form)));
}

/* A call to its end: <0 if it was refused. */
static int call(const char *account, const char *name, const char *form)
{
    struct fixture_call made;
    int r;

    start(&made, account, name, form);
    fixture_wait(&made);
    r = made.r;
    fixture_end(&made);
    return r;
}

/* --- what happens meanwhile -------------------------------------------------------------------------------------- */

static void strangers_read(void)
{
    static unsigned next;

    for (unsigned i = 0; i < STRANGERS; i++) {
        char account[16];

        snprintf(account, sizeof account, "9%011u", next++);
        assert_int_equal(call(account, "DescribeKeyPairs", ""), 0);
    }
}

static void someone_is_reset(void)
{
    struct err err = ERR_INIT;
    char account[16];

    assert_true(store_reset(fixture_engine.store, draw(8) ? str_of(an_account(account)) : (struct str){0}, &err) >= 0);
}

static void someone_writes(void)
{
    char account[16];

    switch (draw(4)) {
    case 0:
        assert_int_equal(call(an_account(account), "CreateVpc", "CidrBlock=10.0.0.0%2F16"), 0);
        break;
    case 1:
        call(an_account(account), "DeleteKeyPair", "KeyName=k1");
        break;
    case 2:
        call(an_account(account), "ImportKeyPair",
             "KeyName=k2&PublicKeyMaterial="
             "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQ"
             "UEK");
        break;
    default:
        call(an_account(account), "RunInstances", "ImageId=ami-000c540e28953ace2&MinCount=1&MaxCount=1");
    }
}

static void something_happens(void)
{
    switch (draw(5)) {
    case 0:
        strangers_read();
        break;
    case 1:
        someone_is_reset();
        break;
    case 2:
    case 3:
        someone_writes();
        break;
    default:
        uv_run(fixture_engine.loop, UV_RUN_NOWAIT);
    }
}

/* --- calls that are suspended ------------------------------------------------------------------------------------ */

/* As long as a machine's console takes. */
static int read_console(void *cookie, struct str instance_id, size_t limit, struct buf *out, struct err *err)
{
    usleep(300);
    buf_append(out, instance_id);
    return 0;
}

/* An instance of the account, in `form` as GetConsoleOutput takes it. */
static void ask_for_a_console(struct fixture_call *made, const char *account)
{
    struct fixture_call launched;
    char form[64] = "InstanceId=i-00000000000000000";
    const char *at;

    start(&launched, account, "RunInstances", "ImageId=ami-000c540e28953ace2&MinCount=1&MaxCount=1");
    fixture_wait(&launched);
    buf_byte(&launched.body, '\0');
    at = strstr(launched.body.p, "<instanceId>");
    if (at)
        snprintf(form, sizeof form, "InstanceId=%.19s", at + strlen("<instanceId>"));
    fixture_end(&launched);
    start(made, account, "GetConsoleOutput", form);
}

static void suspend_one(struct fixture_call *made)
{
    char account[16], form[64];

    an_account(account);
    if (draw(2)) {
        ask_for_a_console(made, account);
        return;
    }
    snprintf(form, sizeof form, "KeyName=k%u&KeyType=%s", draw(3), draw(40) ? "ed25519" : "rsa");
    start(made, account, "CreateKeyPair", form);
}

static bool is_said(const struct fixture_call *made)
{
    static const char *const codes[] = {"InvalidKeyPair.Duplicate", "InvalidInstanceID.NotFound"};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (str_equal(made->code, str_of(codes[i])))
            return true;
    return made->r == 0;
}

static void what_happens_meanwhile_harms_no_suspended_call(void **state)
{
    struct fixture_call *calls[UNDER_WAY] = {NULL};
    unsigned answered = 0, left = 0;

    fixture_engine.console = read_console;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct fixture_call **place = &calls[draw(UNDER_WAY)];

        if (*place && (*place)->done) {
            assert_true(is_said(*place));
            answered += (*place)->r == 0;
        }
        if (*place) {
            left += !(*place)->done;
            fixture_end(*place); /* one that is not done: its client leaves */
            free(*place);
        }
        *place = mem_alloc(sizeof **place);
        suspend_one(*place);
        something_happens();
        kept_trim(&fixture_engine.kept);
    }
    for (unsigned i = 0; i < UNDER_WAY; i++) {
        if (!calls[i])
            continue;
        fixture_wait(calls[i]);
        assert_true(is_said(calls[i]));
        fixture_end(calls[i]);
        free(calls[i]);
    }
    while (work_pending(fixture_engine.pool))
        uv_run(fixture_engine.loop, UV_RUN_ONCE);
    assert_true(answered > 0);
    assert_true(left > 0);
}

/* As it was found: a key pair on a worker, in an account that nothing is in, while others read. */
static void an_account_that_is_let_go_meanwhile_gets_its_key_pair(void **state)
{
    struct fixture_call made;

    start(&made, "777777777777", "CreateKeyPair", "KeyName=k");
    assert_false(made.done);
    for (unsigned i = 0; i < 10; i++)
        strangers_read();
    fixture_wait(&made);
    assert_int_equal(made.r, 0);
    fixture_end(&made);
    assert_true(call("777777777777", "CreateKeyPair", "KeyName=k") < 0);
}

static void a_key_pair_is_not_made_twice_by_two_at_once(void **state)
{
    struct fixture_call first, second;

    start(&first, "777777777778", "CreateKeyPair", "KeyName=k&KeyType=ed25519");
    start(&second, "777777777778", "CreateKeyPair", "KeyName=k&KeyType=ed25519");
    fixture_wait(&first);
    fixture_wait(&second);
    assert_int_equal((first.r == 0) + (second.r == 0), 1);
    fixture_end(&first);
    fixture_end(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_account_that_is_let_go_meanwhile_gets_its_key_pair),
        cmocka_unit_test(a_key_pair_is_not_made_twice_by_two_at_once),
        cmocka_unit_test(what_happens_meanwhile_harms_no_suspended_call),
    };
    int failed;

    fixture_open();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close();
    return failed;
}
