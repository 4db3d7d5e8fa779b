/* Disks that are full, stuck, damaged or another's, and servers that are killed: nothing that was said durable is lost.
 */
#include "store/journal_fixture.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_full_disk_stops_answers_and_heals_by_itself(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    bool done = false;

    create_things(f, 0, 1);
    assert_true(settle(f));
    f->changes = 0;
    disk_full = 1;
    create_things(f, 1, 1);
    store_when_durable(f->store, store_last(f->store), set_flag, &done);
    for (int i = 0; i < 200 && store_healthy(f->store); i++) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_false(store_healthy(f->store));
    assert_true(create_thing(f, 2, &err) < 0);
    assert_true(err.text[0] && !err.aws);
    assert_null(get_thing(f, 2));
    assert_false(done);
    assert_int_equal(f->changes, 0);

    disk_full = 0;
    assert_true(settle(f));
    assert_true(done);
    assert_true(store_healthy(f->store));
    assert_int_equal(f->changes, 1);
    create_things(f, 2, 1);
    reopen(f);
    assert_int_equal(count_things(f), 3);
}

static void closing_on_a_full_disk_ends(void **state)
{
    struct fixture *f = *state;
    uint64_t start = uv_hrtime();

    create_things(f, 0, 1);
    disk_full = 1;
    close_store(f);
    assert_true(uv_hrtime() - start < 8000000000u);
    disk_full = 0;
    open_store(f);
    assert_int_equal(count_things(f), 0);
}

static void a_stuck_disk_takes_no_more_than_the_cap(void **state)
{
    struct fixture *f = *state;
    struct str megabyte = {mem_alloc(1 << 20), 1 << 20};
    struct err err = ERR_INIT;
    size_t accepted = 0;
    int r = 0;

    create_things(f, 0, 1);
    assert_true(settle(f));
    disk_stuck = 1;
    for (int n = 1; n < 200 && r == 0; n++) {
        begin(f);
        ((struct thing *)tx_create(f->tx, THING, arena_printf(&f->arena, "t-%d", n)))->bytes = megabyte;
        r = tx_commit(f->tx, &err);
        accepted += r == 0;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    disk_stuck = 0;
    assert_true(r < 0 && strstr(err.text, "behind"));
    assert_true(accepted >= 60 && accepted <= 68);
    assert_true(settle(f));
    assert_int_equal(count_things(f), 1 + accepted);
    free((char *)megabyte.p);
}

/* Every write and sync of a short life, the n-th failing: nothing that was accepted is lost, nothing else is there. */
static void a_failure_of_the_nth_write_loses_nothing(void **state)
{
    struct fixture *f = *state;

    for (int n = 0; n < 60; n++) {
        bool accepted[20];
        int r;

        f->world = store_world(f->store, arena_printf(&f->arena, "%012d", n), S("eu-west-1"));
        fail_at = n;
        for (int i = 0; i < 20; i++) {
            struct err err = ERR_INIT;
            accepted[i] = create_thing(f, i, &err) == 0;
            r = i % 3 ? uv_run(&f->loop, UV_RUN_NOWAIT) : settle(f);
            (void)r;
        }
        usleep(n % 10 == 0 ? 80000 : 0); /* folding and its checkpoint fail too */
        assert_true(settle(f));
        reopen(f);
        fail_at = -1;
        f->world = store_world(f->store, arena_printf(&f->arena, "%012d", n), S("eu-west-1"));
        for (int i = 0; i < 20; i++)
            assert_int_equal(get_thing(f, i) != NULL, accepted[i]);
    }
}

static void refuses(struct fixture *f, const char *why)
{
    struct err err = ERR_INIT;

    assert_true(try_open(f, &err) < 0);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    if (!strstr(err.text, why))
        fail_msg("'%s' does not say '%s'", err.text, why);
}

static void a_file_that_is_not_ours_or_newer_is_refused(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    create_things(f, 0, 1);
    close_store(f);
    query(f, "PRAGMA user_version = 7");
    refuses(f, "has format 7");
    query(f, "PRAGMA user_version = 1");
    query(f, "PRAGMA application_id = 1");
    refuses(f, "is not haar's");
    assert_int_equal(
        file_write(AT_FDCWD, f->path, S("no database at all, but long enough to be looked at"), 0600, &err), 0);
    refuses(f, "damaged");
}

static void a_store_that_another_has_open_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store *first = f->store;

    refuses(f, "in use");
    f->store = first;
}

static void a_damaged_file_is_an_error_or_harmless_but_never_a_crash(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_BUF good = BUF_INIT;
    size_t refused = 0;

    create_things(f, 0, 400);
    assert_true(settle(f));
    usleep(150000);
    create_things(f, 400, 50);
    close_store(f);
    assert_int_equal(file_read(AT_FDCWD, f->path, &good, 1 << 26, &err), 0);
    for (size_t at = 100; at < good.len; at += 211) {
        char kept = good.p[at];

        good.p[at] = (char)~kept;
        assert_int_equal(file_write(AT_FDCWD, f->path, buf_str(&good), 0600, &err), 0);
        good.p[at] = kept;
        err = ERR_INIT;
        if (try_open(f, &err) < 0) {
            assert_true(err.text[0]);
            refused++;
        }
        close_store(f);
    }
    assert_true(refused > 10);
    assert_int_equal(file_write(AT_FDCWD, f->path, str_first(buf_str(&good), good.len / 2), 0600, &err), 0);
    refuses(f, "damaged");
}

/* The child: each commit adds t-n and moves box b's label to n; says n on the pipe when that is durable. */

struct writing {
    struct fixture *f;
    int out, next;
};

static void say_durable(void *cookie, bool is_durable)
{
    struct writing *w = cookie;
    uint64_t durable = store_durable(w->f->store);

    if (write(w->out, &durable, sizeof durable) != sizeof durable)
        _exit(1);
}

static void child(struct fixture *f, int out)
{
    struct writing w = {f, out, 0};
    struct err err;
    char text[16];

    open_store(f);
    w.next = (int)store_last(f->store);
    for (;;) {
        for (int i = 0; i < 1 + w.next % 7; i++) {
            struct thing *thing;
            struct box *box;

            w.next++;
            snprintf(text, sizeof text, "t-%d", w.next);
            begin(f);
            thing = tx_create(f->tx, THING, str_of(text));
            thing->size = INT(w.next);
            box = w.next == 1 ? tx_create(f->tx, BOX, S("b")) : tx_edit(f->tx, BOX, S("b"));
            box->label = str_of(text + 2);
            if (tx_commit(f->tx, &err) < 0 || store_last(f->store) != (uint64_t)w.next)
                _exit(2);
        }
        store_when_durable(f->store, store_last(f->store), say_durable, &w);
        uv_run(&f->loop, UV_RUN_NOWAIT);
        if (w.next % 97 == 0)
            usleep(60000); /* long enough for the writer to start folding */
        arena_reset(&f->arena);
    }
}

/* All commits up to some one, and at least those that the child said. */
static void check_after_kill(struct fixture *f, uint64_t said)
{
    const struct box *box;
    uint64_t last;
    int64_t label = 0;

    open_store(f);
    last = store_last(f->store);
    assert_true(last >= said);
    assert_int_equal(count_things(f), last);
    begin(f);
    box = tx_get(f->tx, BOX, S("b"));
    assert_true(last == 0 || str_to_int(box->label, &label));
    assert_int_equal(label, last);
    tx_rollback(f->tx);
    for (uint64_t n = 1; n <= last; n++)
        assert_int_equal(get_thing(f, (int)n)->size.value, n);
    close_store(f);
}

static void kill_9_at_any_time_loses_nothing_that_was_said_durable(void **state)
{
    struct fixture *f = *state;
    uint64_t said = 0;

    close_store(f);
    for (int round = 0; round < 50; round++) {
        int ends[2], status;
        uint64_t durable;
        pid_t pid;

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            uv_loop_init(&f->loop);
            child(f, ends[1]);
        }
        close(ends[1]);
        usleep((useconds_t)(5000 + round * 1709 % 60000));
        kill(pid, SIGKILL);
        while (read(ends[0], &durable, sizeof durable) == sizeof durable)
            said = durable;
        close(ends[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        check_after_kill(f, said);
    }
    assert_true(said > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_disk_stops_answers_and_heals_by_itself),
        TEST(a_stuck_disk_takes_no_more_than_the_cap),
        TEST(closing_on_a_full_disk_ends),
        TEST(a_failure_of_the_nth_write_loses_nothing),
        TEST(a_file_that_is_not_ours_or_newer_is_refused),
        TEST(a_store_that_another_has_open_is_refused),
        TEST(a_damaged_file_is_an_error_or_harmless_but_never_a_crash),
        TEST(kill_9_at_any_time_loses_nothing_that_was_said_durable),
    };

    install_failing_disk();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
