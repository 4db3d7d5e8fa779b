/*
 * What is to be looked at: items in order, each once, looked at from the loop when what brought them is over. Work that
 * comes of it is counted, so that somebody can be told when there is nothing left to do.
 *
 * What was not done rests and is looked at again, ever later (rest.c): nothing is forgotten because it failed, and
 * nothing is tried all the time.
 */
#pragma once

#include "base/err.h"
#include "reconcile/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Stands first in what it is an item of. */
struct queue_item {
    struct queue_item *next;
    struct queue_item *next_resting;
    int64_t rest_until_us; /* 0: it does not rest */
    bool queued;
};

struct queue {
    uv_idle_t idle;     /* runs while there is something */
    struct alarm alarm; /* when the next that rests has rested */
    struct queue_item *first, **last;
    struct queue_item *resting;
    void (*look)(void *owner, struct queue_item *items); /* takes all of them, by queue_take */
    void *owner;
    bool held;            /* nothing is looked at yet */
    bool stuck;           /* held, and nobody can say until when: it is not waited for */
    atomic_bool stopping; /* what is queued is not waited for; jobs may ask too */
    size_t jobs;
    void (*done)(void *arg);
    void *arg;
    void (*closed)(void *owner);
    int handles; /* that are open */
};

void queue_init(struct queue *queue, const struct clock *clock, uv_loop_t *loop,
                void (*look)(void *owner, struct queue_item *items), void *owner);
void queue_push(struct queue *queue, struct queue_item *item);      /* queued already: it stays where it is */
struct queue_item *queue_take(struct queue_item **items);           /* the first; from now on it can be queued again */
void queue_wake(struct queue *queue);                               /* after `held` has ended */
void queue_close(struct queue *queue, void (*closed)(void *owner)); /* its items are the owner's */

void queue_job_begins(struct queue *queue);
void queue_job_ended(struct queue *queue); /* after what it brought is queued */

/* Calls done(arg) from the loop, once nothing is queued and no job runs. What rests is not waited for. */
void queue_when_idle(struct queue *queue, void (*done)(void *arg), void *arg);

/* --- rest.c ------------------------------------------------------------------------------------------------------ */

/*
 * The item's work has failed, for the n-th time in a row: it is queued again, after the first failure at once, then
 * 200 ms later, then ever later, 30 s at most. Who queues it meanwhile has it looked at, and it rests on until
 * queue_end_rest.
 */
void queue_rest(struct queue *queue, struct queue_item *item, unsigned failures);
bool queue_rests(const struct queue_item *item);
void queue_end_rest(struct queue *queue, struct queue_item *item); /* and before it is freed */
int64_t rest_us(unsigned failures);
void queue_wake_rested(struct queue *queue); /* queue.c: those whose time has come are queued */

/* What fails again and again is said once, and once that it is over. Zeroed: it does not fail. */
struct trouble {
    bool said;
};
void trouble_say(struct trouble *trouble, const char *of, const struct err *err);
void trouble_over(struct trouble *trouble, const char *of);
