#include "reconcile/queue.h"

static void check_idle(struct queue *queue)
{
    void (*done)(void *) = queue->done;

    if (!done || queue->jobs || (queue->first && !queue->stopping))
        return;
    queue->done = NULL;
    done(queue->arg);
}

static void on_idle(uv_idle_t *idle)
{
    struct queue *queue = (struct queue *)idle;
    struct queue_item *items = queue->first;

    uv_idle_stop(idle);
    if (queue->held)
        return;
    queue->first = NULL;
    queue->last = &queue->first;
    queue->look(queue, items);
    check_idle(queue);
}

void queue_init(struct queue *queue, uv_loop_t *loop, void (*look)(struct queue *queue, struct queue_item *items))
{
    uv_idle_init(loop, &queue->idle);
    queue->last = &queue->first;
    queue->look = look;
}

void queue_wake(struct queue *queue)
{
    uv_idle_start(&queue->idle, on_idle);
}

struct queue_item *queue_take(struct queue_item **items)
{
    struct queue_item *item = *items;

    *items = item->next;
    item->queued = false;
    return item;
}

void queue_push(struct queue *queue, struct queue_item *item)
{
    if (item->queued)
        return;
    item->queued = true;
    item->next = NULL;
    *queue->last = item;
    queue->last = &item->next;
    queue_wake(queue);
}

void queue_job_begins(struct queue *queue)
{
    queue->jobs++;
}

void queue_job_ended(struct queue *queue)
{
    queue->jobs--;
    check_idle(queue);
}

void queue_when_idle(struct queue *queue, void (*done)(void *arg), void *arg)
{
    queue->done = done;
    queue->arg = arg;
    queue_wake(queue);
}
