/*
 * The time that the reconcilers go by, and being called at one: the host's, or a test's, which moves it itself. Loop
 * thread only.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

struct alarm {
    uv_timer_t timer; /* first: what is closed is this; unused by a clock that is not the host's */
    const struct clock *clock;
    int64_t at_us; /* 0: not set */
    void (*ring)(struct alarm *alarm);
    void *owner;
    void (*closed)(void *owner);
};

struct clock {
    int64_t (*now_us)(void);          /* rises */
    void (*set)(struct alarm *alarm); /* alarm->at_us has changed */
};

extern const struct clock clock_of_host;

void alarm_init(struct alarm *alarm, const struct clock *clock, uv_loop_t *loop, void (*ring)(struct alarm *alarm),
                void *owner);
/* Rings once, from the loop, `us` from now; it does not keep the loop alive. Set before: from now on for this time. */
void alarm_in(struct alarm *alarm, int64_t us);
void alarm_stop(struct alarm *alarm);
/* closed(owner) is called from the loop: until then its memory is needed. */
void alarm_close(struct alarm *alarm, void (*closed)(void *owner));
