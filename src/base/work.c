#include "base/work.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

struct job {
    struct job *next;
    void (*run)(void *);
    void (*done)(void *);
    void *arg;
};

struct queue {
    struct job *first, **last;
    size_t count;
};

struct work_pool {
    uv_mutex_t lock;
    uv_cond_t wake;
    struct queue waiting, finished; /* under lock */
    uv_thread_t *threads;
    unsigned count, max, idle; /* idle: under lock */
    bool stopping;             /* under lock */
    uv_async_t async;
    size_t pending; /* loop's thread only */
};

static void push(struct queue *queue, struct job *job)
{
    job->next = NULL;
    *queue->last = job;
    queue->last = &job->next;
    queue->count++;
}

static struct job *pop(struct queue *queue)
{
    struct job *job = queue->first;

    if (job) {
        queue->first = job->next;
        if (!queue->first)
            queue->last = &queue->first;
        queue->count--;
    }
    return job;
}

static void work_thread(void *arg)
{
    struct work_pool *pool = arg;

    uv_mutex_lock(&pool->lock);
    while (!pool->stopping) {
        struct job *job = pop(&pool->waiting);

        if (!job) {
            pool->idle++;
            uv_cond_wait(&pool->wake, &pool->lock);
            pool->idle--;
            continue;
        }
        uv_mutex_unlock(&pool->lock);
        job->run(job->arg);
        uv_mutex_lock(&pool->lock);
        push(&pool->finished, job);
        uv_async_send(&pool->async);
    }
    uv_mutex_unlock(&pool->lock);
}

static void on_finished(uv_async_t *async)
{
    struct work_pool *pool = async->data;
    struct job *job, *next;

    uv_mutex_lock(&pool->lock);
    job = pool->finished.first;
    pool->finished = (struct queue){.last = &pool->finished.first};
    uv_mutex_unlock(&pool->lock);
    for (; job; job = next) {
        next = job->next;
        if (job->run)
            pool->pending--;
        job->done(job->arg);
        free(job);
    }
}

struct work_pool *work_pool_new(uv_loop_t *loop, unsigned max_threads)
{
    struct work_pool *pool = mem_alloc(sizeof *pool);

    pool->max = max_threads;
    pool->threads = mem_alloc(max_threads * sizeof *pool->threads);
    pool->waiting.last = &pool->waiting.first;
    pool->finished.last = &pool->finished.first;
    uv_mutex_init(&pool->lock);
    uv_cond_init(&pool->wake);
    uv_async_init(loop, &pool->async, on_finished);
    uv_unref((uv_handle_t *)&pool->async);
    pool->async.data = pool;
    return pool;
}

void work_run(struct work_pool *pool, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
    struct job *job = mem_alloc(sizeof *job);
    bool more;

    *job = (struct job){NULL, run, done, arg};
    pool->pending++;
    uv_mutex_lock(&pool->lock);
    push(&pool->waiting, job);
    more = pool->waiting.count > pool->idle && pool->count < pool->max; /* one that was woken is idle until it runs */
    uv_cond_signal(&pool->wake);
    uv_mutex_unlock(&pool->lock);
    if (more && uv_thread_create(&pool->threads[pool->count], work_thread, pool) == 0)
        pool->count++;
}

void work_post(struct work_pool *pool, void (*done)(void *arg), void *arg)
{
    struct job *job = mem_alloc(sizeof *job);

    *job = (struct job){NULL, NULL, done, arg};
    uv_mutex_lock(&pool->lock);
    push(&pool->finished, job);
    uv_async_send(&pool->async);
    uv_mutex_unlock(&pool->lock);
}

size_t work_pending(const struct work_pool *pool)
{
    return pool->pending;
}

static void on_closed(uv_handle_t *handle)
{
    struct work_pool *pool = handle->data;

    uv_cond_destroy(&pool->wake);
    uv_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}

void work_pool_free(struct work_pool *pool)
{
    assert(pool->pending == 0);
    uv_mutex_lock(&pool->lock);
    pool->stopping = true;
    uv_cond_broadcast(&pool->wake);
    uv_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->count; i++)
        uv_thread_join(&pool->threads[i]);
    uv_close((uv_handle_t *)&pool->async, on_closed);
}
