#include "reconcile/queue.h"

static void check_idle(struct queue *queue)
{
    void (*done)(void *) = queue->done;

    if (!done || queue->jobs || (queue->first && !queue->stopping && !queue->stuck))
        return;
    queue->done = NULL;
    done(queue->arg);
}

static void on_idle(uv_idle_t *idle)
{
    struct queue *queue = (struct queue *)idle;
    struct queue_item *items = queue->first;

    uv_idle_stop(idle);
    if (queue->held) {
        if (queue->stopping || queue->stuck)
            check_idle(queue);
        return;
    }
    queue->first = NULL;
    queue->last = &queue->first;
    queue->look(queue->owner, items);
    check_idle(queue);
}

static void on_alarm(struct alarm *alarm)
{
    queue_wake_rested(alarm->owner);
}

void queue_init(struct queue *queue, const struct clock *clock, uv_loop_t *loop,
                void (*look)(void *owner, struct queue_item *items), void *owner)
{
    *queue = (struct queue){.look = look, .owner = owner, .handles = 2};
    queue->last = &queue->first;
    uv_idle_init(loop, &queue->idle);
    alarm_init(&queue->alarm, clock, loop, on_alarm, queue);
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

static void half_closed(struct queue *queue)
{
    if (--queue->handles == 0)
        queue->closed(queue->owner);
}

static void on_idle_closed(uv_handle_t *handle)
{
    half_closed((struct queue *)handle);
}

static void on_alarm_closed(void *owner)
{
    half_closed(owner);
}

void queue_close(struct queue *queue, void (*closed)(void *owner))
{
    queue->closed = closed;
    uv_close((uv_handle_t *)&queue->idle, on_idle_closed);
    alarm_close(&queue->alarm, on_alarm_closed);
}
