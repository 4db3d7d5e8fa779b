/*
 * Workers: threads for what would hold the loop. Made on demand, up to a limit, and kept; jobs beyond that
 * wait in order. `run` is called on a worker and must touch nothing that the loop owns; `done` is called on
 * the loop's thread afterwards.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

struct work_pool;

struct work_pool *work_pool_new(uv_loop_t *loop, unsigned max_threads);
void work_run(struct work_pool *pool, void (*run)(void *arg), void (*done)(void *arg),
              void *arg);                                                   /* from the loop's thread */
void work_post(struct work_pool *pool, void (*done)(void *arg), void *arg); /* from any thread: call done on the loop */
size_t work_pending(const struct work_pool *pool);                          /* jobs whose done has not been called */
void work_pool_free(struct work_pool *pool); /* after every job is done; joins the threads */
