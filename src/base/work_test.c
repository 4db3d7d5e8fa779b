#include "base/work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { JOBS = 8 };

struct fixture {
    uv_loop_t loop;
    struct work_pool *pool;
    uv_barrier_t together;
    uv_idle_t idle; /* keeps the loop turning: the pool's own handle does not */
    unsigned left;
};

static void on_idle(uv_idle_t *idle)
{
}

static void set_up(struct fixture *f)
{
    *f = (struct fixture){0};
    uv_loop_init(&f->loop);
    uv_barrier_init(&f->together, JOBS);
    uv_idle_init(&f->loop, &f->idle);
    uv_idle_start(&f->idle, on_idle);
    f->pool = work_pool_new(&f->loop, JOBS);
}

static void tear_down(struct fixture *f)
{
    work_pool_free(f->pool);
    uv_close((uv_handle_t *)&f->idle, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    uv_barrier_destroy(&f->together);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

static void on_done(void *arg)
{
    ((struct fixture *)arg)->left--;
}

static void turn(struct fixture *f)
{
    while (f->left)
        uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void nothing(void *arg)
{
}

/* Ends when as many jobs as there are threads have come here: only if each has a thread of its own. */
static void meet_the_others(void *arg)
{
    uv_barrier_wait(&((struct fixture *)arg)->together);
}

static void jobs_run_side_by_side_whatever_ran_before(void **state)
{
    struct fixture f;

    for (unsigned before = 0; before < JOBS; before++) { /* so many threads, at most, have run a job and wait */
        set_up(&f);
        f.left = before;
        for (unsigned i = 0; i < before; i++)
            work_run(f.pool, nothing, on_done, &f);
        turn(&f);
        f.left = JOBS;
        for (unsigned i = 0; i < JOBS; i++)
            work_run(f.pool, meet_the_others, on_done, &f);
        turn(&f);
        tear_down(&f);
    }
}

static void a_job_of_any_thread_is_done_on_the_loop(void **state)
{
    struct fixture f;

    set_up(&f);
    f.left = 1;
    work_post(f.pool, on_done, &f);
    turn(&f);
    assert_int_equal(work_pending(f.pool), 0);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_side_by_side_whatever_ran_before),
        cmocka_unit_test(a_job_of_any_thread_is_done_on_the_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
