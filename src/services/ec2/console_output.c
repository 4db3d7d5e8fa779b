#include "aws/base64.h"
#include "base/mem.h"
#include "base/time.h"
#include "services/ec2/instance.h"

#include <stdlib.h>

enum { OUTPUT_LIMIT = 64 * 1024 };

/* Read on a worker: the console is a file of the instance's monitor. */
struct console_job {
    struct engine *engine;
    char id[32];
    struct buf text;
    struct err err;
    int r;
};

static void read_console(void *job)
{
    struct console_job *console = job;

    console->r = console->engine->console(console->engine->console_cookie, str_of(console->id), OUTPUT_LIMIT,
                                          &console->text, &console->err);
}

static int answer(struct call *call, void *job, struct err *err)
{
    struct console_job *console = job;
    int r = console->r;

    if (call && r < 0)
        *err = console->err;
    if (call && r >= 0) {
        struct ec2_get_console_output_result *out = call->out;
        out->instance_id = arena_str(call->arena, str_of(console->id));
        out->timestamp = TIME(time_now_ms());
        out->output = base64_encode(call->arena, buf_str(&console->text));
    }
    buf_free(&console->text);
    free(console);
    return r < 0 ? r : 0;
}

/* GetConsoleOutput: the console's last 64 KiB, always the latest. */
int ec2_get_console_output(struct call *call, const struct ec2_get_console_output_request *in,
                           struct ec2_get_console_output_result *out, struct err *err)
{
    const struct ec2_instance *instance;
    struct console_job *job;
    int r = instance_get(call->tx, in->instance_id, &instance, err);

    if (r < 0)
        return r;
    out->instance_id = instance->instance_id;
    if (!call->engine->console || call->dry_run) { /* no machines, no console: AWS sends no Output then either */
        out->timestamp = instance->launch_time;
        return 0;
    }
    job = mem_alloc(sizeof *job);
    job->engine = call->engine;
    str_to_z(in->instance_id, job->id, sizeof job->id);
    return call_later(call, read_console, answer, job);
}
