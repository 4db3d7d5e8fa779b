/* Encodings that are kept: each is of one record in one world. */
#include "operation/kept.h"
#include "aws/codec.h"
#include "ec2.h"
#include "operation/call.h"
#include "operation/resource.h"
#include "services/services.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct engine engine;
static struct arena arena;

static struct call in_world(const char *account)
{
    return (struct call){.engine = &engine, .arena = &arena, .account = str_of(account), .region = S("eu-west-1")};
}

static struct tx *begin(const struct call *call)
{
    return tx_begin(engine.store, store_world(engine.store, call->account, call->region), &arena, S("Test"));
}

static const struct ec2_instance *make(struct call *call, const char *type)
{
    struct err err = ERR_INIT;
    struct tx *tx = begin(call);

    instance_create(tx, S("i-1"))->instance_type = str_of(type);
    assert_int_equal(tx_commit(tx, &err), 0);
    call->tx = begin(call);
    return instance_peek(call->tx, S("i-1"));
}

static struct str keep(struct call *call, const struct ec2_instance *record)
{
    const struct resource *row = &ec2_resources[EC2_INSTANCE];
    struct ec2_instance *view = arena_alloc(&arena, row->service->shapes[row->record].size);

    view->instance_type = record->instance_type;
    return kept_add(call, EC2_INSTANCE, record, view);
}

static struct str look_up(struct call *call)
{
    struct str kept;

    call->tx = begin(call);
    kept = kept_find(call, EC2_INSTANCE, instance_peek(call->tx, S("i-1")));
    tx_rollback(call->tx);
    return kept;
}

static bool says(struct str text, struct str what)
{
    for (; text.len >= what.len; text = str_skip(text, 1))
        if (str_starts(text, what))
            return true;
    return false;
}

static void worlds_that_share_an_id_keep_an_encoding_each(void **state)
{
    struct call ours = in_world("111111111111"), theirs = in_world("222222222222");

    assert_true(says(keep(&ours, make(&ours, "t3.micro")), S("t3.micro")));
    tx_rollback(ours.tx);
    assert_true(says(keep(&theirs, make(&theirs, "m5.large")), S("m5.large")));
    tx_rollback(theirs.tx);
    assert_true(says(look_up(&ours), S("t3.micro")));
    assert_true(says(look_up(&theirs), S("m5.large")));
}

static void an_encoding_is_not_found_once_its_record_has_changed(void **state)
{
    struct call call = in_world("333333333333");
    struct err err = ERR_INIT;
    struct tx *tx;

    assert_true(says(keep(&call, make(&call, "t3.micro")), S("t3.micro")));
    tx_rollback(call.tx);
    tx = begin(&call);
    ((struct ec2_instance *)tx_edit(tx, EC2_INSTANCE, S("i-1")))->instance_type = S("m5.large");
    assert_int_equal(tx_commit(tx, &err), 0);
    assert_null(look_up(&call).p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worlds_that_share_an_id_keep_an_encoding_each),
        cmocka_unit_test(an_encoding_is_not_found_once_its_record_has_changed),
    };
    struct store_options options = {service_kinds, service_kind_count, NULL, uv_default_loop()};
    struct err err = ERR_INIT;
    int failed;

    if (store_open(&options, &engine.store, &err) < 0)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    kept_free(&engine.kept);
    arena_free(&arena);
    store_close(engine.store);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return failed;
}
