/*
 * What is to be looked at: items in order, each once, looked at from the loop when what brought them is over. Work that
 * comes of it is counted, so that somebody can be told when there is nothing left to do.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

/* Stands first in what it is an item of. */
struct queue_item {
    struct queue_item *next;
    bool queued;
};

struct queue {
    uv_idle_t idle; /* runs while there is something; its data is the owner's */
    struct queue_item *first, **last;
    void (*look)(struct queue *queue, struct queue_item *items); /* takes all of them, by queue_take */
    bool held;                                                   /* nothing is looked at yet */
    atomic_bool stopping; /* what is queued is not waited for; jobs may ask too */
    size_t jobs;
    void (*done)(void *arg);
    void *arg;
};

void queue_init(struct queue *queue, uv_loop_t *loop, void (*look)(struct queue *queue, struct queue_item *items));
void queue_push(struct queue *queue, struct queue_item *item); /* queued already: it stays where it is */
struct queue_item *queue_take(struct queue_item **items);      /* the first; from now on it can be queued again */
void queue_wake(struct queue *queue);                          /* after `held` has ended */

void queue_job_begins(struct queue *queue);
void queue_job_ended(struct queue *queue); /* after what it brought is queued */

/* Calls done(arg) from the loop, once nothing is queued and no job runs. */
void queue_when_idle(struct queue *queue, void (*done)(void *arg), void *arg);
