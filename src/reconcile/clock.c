#include "reconcile/clock.h"

#include "base/time.h"

static void on_timer(uv_timer_t *timer)
{
    struct alarm *alarm = (struct alarm *)timer;

    alarm->at_us = 0;
    alarm->ring(alarm);
}

static void set(struct alarm *alarm)
{
    int64_t us = alarm->at_us - time_monotonic_us();

    if (alarm->at_us)
        uv_timer_start(&alarm->timer, on_timer, us > 0 ? (uint64_t)us / 1000 + 1 : 0, 0);
    else
        uv_timer_stop(&alarm->timer);
}

const struct clock clock_of_host = {time_monotonic_us, set};

void alarm_init(struct alarm *alarm, const struct clock *clock, uv_loop_t *loop, void (*ring)(struct alarm *alarm),
                void *owner)
{
    *alarm = (struct alarm){.clock = clock, .ring = ring, .owner = owner};
    uv_timer_init(loop, &alarm->timer);
    uv_unref((uv_handle_t *)&alarm->timer);
}

void alarm_in(struct alarm *alarm, int64_t us)
{
    alarm->at_us = alarm->clock->now_us() + us;
    alarm->clock->set(alarm);
}

void alarm_stop(struct alarm *alarm)
{
    alarm->at_us = 0;
    alarm->clock->set(alarm);
}

static void on_closed(uv_handle_t *handle)
{
    struct alarm *alarm = (struct alarm *)handle;

    alarm->closed(alarm->owner);
}

void alarm_close(struct alarm *alarm, void (*closed)(void *owner))
{
    alarm_stop(alarm);
    alarm->closed = closed;
    uv_close((uv_handle_t *)&alarm->timer, on_closed);
}
