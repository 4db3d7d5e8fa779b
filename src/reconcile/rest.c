/* What fails is tried again, ever later, and is complained about once. */
#include "base/log.h"
#include "reconcile/queue.h"

enum { REST_FIRST_MS = 200, REST_MAX_MS = 30000 };

int64_t rest_us(unsigned failures)
{
    int64_t ms = REST_FIRST_MS;

    if (failures < 2)
        return 0;
    for (unsigned i = 2; i < failures && ms < REST_MAX_MS; i++)
        ms *= 2;
    return (ms < REST_MAX_MS ? ms : REST_MAX_MS) * 1000;
}

/* The alarm, for the first of those that rest. */
static void set_alarm(struct queue *queue)
{
    int64_t next = INT64_MAX;

    for (const struct queue_item *item = queue->resting; item; item = item->next_resting)
        next = item->rest_until_us < next ? item->rest_until_us : next;
    if (queue->resting && !queue->stopping)
        alarm_in(&queue->alarm, next - queue->alarm.clock->now_us());
}

void queue_end_rest(struct queue *queue, struct queue_item *item)
{
    struct queue_item **at = &queue->resting;

    if (!item->rest_until_us)
        return;
    while (*at != item)
        at = &(*at)->next_resting;
    *at = item->next_resting;
    item->rest_until_us = 0;
}

void queue_rest(struct queue *queue, struct queue_item *item, unsigned failures)
{
    queue_end_rest(queue, item);
    if (failures < 2) {
        queue_push(queue, item);
        return;
    }
    item->rest_until_us = queue->alarm.clock->now_us() + rest_us(failures);
    item->next_resting = queue->resting;
    queue->resting = item;
    set_alarm(queue);
}

bool queue_rests(const struct queue_item *item)
{
    return item->rest_until_us != 0;
}

void queue_wake_rested(struct queue *queue)
{
    int64_t now = queue->alarm.clock->now_us();
    struct queue_item *next;

    for (struct queue_item *item = queue->resting; item; item = next) {
        next = item->next_resting;
        if (item->rest_until_us > now)
            continue;
        queue_end_rest(queue, item);
        queue_push(queue, item);
    }
    set_alarm(queue);
}

void trouble_say(struct trouble *trouble, const char *of, const struct err *err)
{
    if (!trouble->said)
        log_error("%s: %s", of, err->text);
    trouble->said = true;
}

void trouble_over(struct trouble *trouble, const char *of)
{
    if (trouble->said)
        log_info("%s: what failed before is over", of);
    trouble->said = false;
}
