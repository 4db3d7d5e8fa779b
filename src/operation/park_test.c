/* Answers that wait, over a store in memory. */
#include "operation/park.h"
#include "base/mem.h"
#include "store/test_model.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    uv_loop_t loop;
    struct engine engine;
    struct world *world;
    struct call call;
    char id[8]; /* the call's own memory: gone when it has been answered */
    struct call_wait wait;
    unsigned answers;
    struct parked *parked;
    bool was_null; /* parked, when the answer was given */
};

static int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof *f);
    struct store_options options = {model_kinds(), KIND_COUNT, NULL, &f->loop};
    struct err err = ERR_INIT;

    uv_loop_init(&f->loop);
    f->engine.loop = &f->loop;
    assert_int_equal(store_open(&options, &f->engine.store, &err), 0);
    f->engine.parking = parking_new(&f->engine);
    f->world = store_world(f->engine.store, S("111111111111"), S("eu-west-1"));
    f->call.engine = &f->engine;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    parking_free(f->engine.parking);
    store_close(f->engine.store);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

static void answer(void *cookie, bool durable)
{
    struct fixture *f = cookie;

    f->answers++;
    f->was_null = !f->parked;
    memset(f->id, 'x', sizeof f->id);
}

/* Settled is a box with a label. */
static bool is_labelled(const void *record)
{
    const struct box *box = record;

    return box && box->label.len > 0;
}

static void put_box(struct fixture *f, const char *label)
{
    struct arena arena = ARENA_INIT;
    struct tx *tx = tx_begin(f->engine.store, f->world, &arena, S("Test"));
    struct box *box = tx_get(tx, BOX, S("b")) ? tx_edit(tx, BOX, S("b")) : tx_create(tx, BOX, S("b"));
    struct err err = ERR_INIT;

    box->label = str_of(label);
    assert_int_equal(tx_commit(tx, &err), 0);
    arena_free(&arena);
}

static struct parked *wait_for_box(struct fixture *f)
{
    memcpy(f->id, "b", 2);
    f->wait = (struct call_wait){NULL, BOX, {f->id, 1}, is_labelled};
    f->call.waits = &f->wait;
    f->call.saw = store_last(f->engine.store);
    park(&f->call, &f->parked, answer, f);
    return f->parked;
}

static void run_until_answered(struct fixture *f)
{
    for (uint64_t until = uv_hrtime() + 5000000000u; !f->answers && uv_hrtime() < until;)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_int_equal(f->answers, 1);
}

static void an_answer_waits_until_its_record_is_settled(void **state)
{
    struct fixture *f = *state;

    put_box(f, "");
    assert_non_null(wait_for_box(f));
    put_box(f, "");
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->answers, 0);
    put_box(f, "settled");
    run_until_answered(f);
}

static void an_answer_whose_time_is_up_leaves_nothing_that_watches(void **state)
{
    struct fixture *f = *state;

    put_box(f, "");
    assert_non_null(wait_for_box(f));
    run_until_answered(f); /* after PARK_LIMIT_MS */
    uv_run(&f->loop, UV_RUN_NOWAIT);
    f->answers = 0;
    assert_non_null(wait_for_box(f)); /* another's, of the same record */
    put_box(f, "settled");
    run_until_answered(f);
}

static void what_was_so_before_the_call_settles_nothing(void **state)
{
    struct fixture *f = *state;

    put_box(f, "settled");
    put_box(f, ""); /* the call's own commit */
    assert_non_null(wait_for_box(f));
    uv_run(&f->loop, UV_RUN_NOWAIT); /* both are delivered */
    assert_int_equal(f->answers, 0);
    put_box(f, "settled");
    run_until_answered(f);
}

static void an_answer_is_parked_nowhere_when_it_is_given(void **state)
{
    struct fixture *f = *state;

    f->parked = (struct parked *)f;
    park(&f->call, &f->parked, answer, f); /* at once */
    assert_int_equal(f->answers, 1);
    assert_true(f->was_null);
    f->answers = 0;
    put_box(f, "");
    assert_non_null(wait_for_box(f));
    put_box(f, "settled");
    run_until_answered(f);
    assert_true(f->was_null);
}

static void an_answer_whose_client_has_left_is_not_given(void **state)
{
    struct fixture *f = *state;

    put_box(f, "");
    parked_cancel(wait_for_box(f));
    put_box(f, "settled");
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->answers, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_answer_waits_until_its_record_is_settled),
        TEST(an_answer_whose_time_is_up_leaves_nothing_that_watches),
        TEST(what_was_so_before_the_call_settles_nothing),
        TEST(an_answer_is_parked_nowhere_when_it_is_given),
        TEST(an_answer_whose_client_has_left_is_not_given),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
