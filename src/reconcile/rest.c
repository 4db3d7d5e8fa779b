/* What fails is tried again, ever later: a job that failed, a machine that ended soon after its start. */
#include "base/time.h"
#include "reconcile/instances_inside.h"

enum { REST_FIRST_MS = 200, REST_MAX_MS = 30000 };

static void on_rest(uv_timer_t *timer);

static void wake_resting(struct instances *all)
{
    int64_t now = time_monotonic_us(), next = INT64_MAX;

    for (struct map_slot *at = NULL; (at = map_next(&all->machines, at));) {
        struct machine *machine = at->value;

        if (!machine->rest_until_us)
            continue;
        if (machine->rest_until_us > now) {
            next = machine->rest_until_us < next ? machine->rest_until_us : next;
            continue;
        }
        machine->rest_until_us = 0;
        machine_enqueue(machine);
    }
    if (next != INT64_MAX && !all->queue.stopping)
        uv_timer_start(&all->rest, on_rest, (uint64_t)(next - now) / 1000 + 1, 0);
}

static void on_rest(uv_timer_t *timer)
{
    wake_resting(timer->data);
}

/* The first time at once, then ever later. */
void machine_rest(struct machine *machine, enum job_kind job)
{
    int64_t ms = REST_FIRST_MS;

    machine->failures++;
    machine->resting = job;
    if (machine->failures < 2)
        return;
    for (unsigned i = 2; i < machine->failures && ms < REST_MAX_MS; i++)
        ms *= 2;
    machine->rest_until_us = time_monotonic_us() + (ms < REST_MAX_MS ? ms : REST_MAX_MS) * 1000;
    wake_resting(machine->all);
}

/* What waits is a job of one kind: another kind, asked for meanwhile, does not. */
bool machine_rests(const struct machine *machine, enum job_kind job)
{
    return machine->rest_until_us && machine->resting == job;
}
