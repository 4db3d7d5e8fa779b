/* Answers that wait while the disk fills: none tells of what has been taken back. */
#include "operation/park.h"
#include "store/journal_fixture.h"

#include <unistd.h>

struct waiting {
    struct call call;
    struct call_wait wait;
    struct parked *parked;
    unsigned answers;
    bool durable;
};

static void answer(void *cookie, bool durable)
{
    struct waiting *w = cookie;

    w->answers++;
    w->durable = durable;
}

static bool never(const void *record)
{
    return false;
}

static void run_until_answered(struct fixture *f, const struct waiting *w)
{
    for (uint64_t until = uv_hrtime() + 20000000000u; !w->answers && uv_hrtime() < until; usleep(100))
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(w->answers, 1);
    assert_null(w->parked);
}

static void what_has_been_taken_back_is_not_answered_however_it_waited(void **state)
{
    struct fixture *f = *state;
    struct engine engine = {.loop = &f->loop, .store = f->store};
    struct waiting reads = {.call = {.engine = &engine}}, settles = {.call = {.engine = &engine}}, other = reads;

    engine.parking = parking_new(&engine);
    create_things(f, 0, 1);
    assert_true(settle(f));
    other.call.saw = store_last(f->store); /* in a world that the commit to come does not touch */
    disk_full = 1;
    create_things(f, 1, 1);
    park(&other.call, &other.parked, answer, &other);
    assert_true(other.answers == 1 && other.durable);

    reads.call.saw = settles.call.saw = store_last(f->store);
    settles.wait = (struct call_wait){NULL, THING, S("t-1"), never};
    settles.call.waits = &settles.wait;
    park(&reads.call, &reads.parked, answer, &reads);
    park(&settles.call, &settles.parked, answer, &settles);
    run_until_answered(f, &reads);
    assert_false(reads.durable);
    run_until_answered(f, &settles);
    assert_false(settles.durable);

    reads.answers = 0;
    begin(f);
    reads.call.saw = tx_saw(f->tx);
    tx_rollback(f->tx);
    park(&reads.call, &reads.parked, answer, &reads); /* sees what is kept, and waits for nothing */
    assert_true(reads.answers == 1 && reads.durable);
    parking_free(engine.parking);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_has_been_taken_back_is_not_answered_however_it_waited),
    };

    install_failing_disk();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
