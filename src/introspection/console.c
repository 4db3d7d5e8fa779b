/*
 * GET …/ID/console?offset=N&follow=1: what a machine's console has written, from byte N on (as far as it is kept: the
 * last 1 MiB). Haar-Console-Offset says up to where. With follow the answer goes on as more is written, until the
 * machine is terminated or its client leaves; a client that reads slowly is waited for, and may miss what is
 * overwritten meanwhile.
 *
 * One reader does, in turn: read (a worker asks the driver) → send → wait POLL_MS, and for the client → read …
 */
#include "introspection/answer.h"

#include "base/log.h"
#include "base/mem.h"
#include "services/ec2/instance.h"

#include <inttypes.h>
#include <stdlib.h>

enum { POLL_MS = 100, KEPT = 1024 * 1024 };

struct console_reader {
    struct console_reader *next, **link; /* in introspection.readers */
    struct introspection *own;
    struct http_request *request; /* NULL: its client has left, or the answer has ended */
    char id[64];
    bool follow, begun, working, full, last; /* last: the machine has ended, one more read */
    uint64_t offset;                         /* bytes sent, or skipped */
    uv_timer_t timer;
    /* The worker's result. */
    struct buf bytes;
    uint64_t written;
    struct err err;
    int r;
};

static void read_more(struct console_reader *reader);

static void on_timer_closed(uv_handle_t *handle)
{
    struct console_reader *reader = handle->data;

    buf_free(&reader->bytes);
    free(reader);
}

/* When nothing refers to it any more: no request, no job. */
static void try_free(struct console_reader *reader)
{
    if (reader->request || reader->working || uv_is_closing((uv_handle_t *)&reader->timer))
        return;
    *reader->link = reader->next;
    if (reader->next)
        reader->next->link = reader->link;
    uv_close((uv_handle_t *)&reader->timer, on_timer_closed);
}

static void on_gone(void *arg, struct http_request *request)
{
    struct console_reader *reader = arg;

    reader->request = NULL;
    try_free(reader);
}

/* On a worker. First how much there is, then no more of it than is new. */
static void run(void *arg)
{
    struct console_reader *reader = arg;
    const struct workload_backend *backend = &reader->own->backend;
    struct str id = str_of(reader->id);
    uint64_t fresh;

    reader->bytes.len = 0;
    reader->r = backend->driver->console(backend->cookie, id, 0, &reader->bytes, &reader->written, &reader->err);
    if (reader->begun && reader->written < reader->offset)
        reader->offset = 0; /* it has begun anew */
    if (reader->r < 0 || reader->written <= reader->offset)
        return;
    fresh = reader->written - reader->offset;
    reader->r = backend->driver->console(backend->cookie, id, fresh < KEPT ? (size_t)fresh : KEPT, &reader->bytes,
                                         &reader->written, &reader->err);
}

static void end(struct console_reader *reader)
{
    struct http_request *request = reader->request;

    reader->request = NULL;
    uv_timer_stop(&reader->timer);
    if (request)
        http_answer_end(request);
    try_free(reader);
}

static void on_timer(uv_timer_t *timer)
{
    read_more(timer->data);
}

static void on_drain(void *arg, struct http_request *request)
{
    struct console_reader *reader = arg;

    reader->full = false;
    if (!reader->working)
        uv_timer_start(&reader->timer, on_timer, 0, 0);
}

static void answer_whole(struct console_reader *reader)
{
    struct http_request *request = reader->request;
    char offset[24];
    struct http_header header = {S("Haar-Console-Offset"), {offset, 0}};

    header.value.len = (size_t)snprintf(offset, sizeof offset, "%" PRIu64, reader->written);
    reader->request = NULL;
    http_answer(request, 200, S("application/octet-stream"), &header, 1, &reader->bytes);
    try_free(reader);
}

static void fail(struct console_reader *reader)
{
    struct http_request *request = reader->request;

    log_error("console of %s: %s", reader->id, reader->err.text);
    if (reader->begun) {
        end(reader);
        return;
    }
    reader->request = NULL;
    answer_failure(request, 500, S("ConsoleUnavailable"), "the console of '%s' cannot be read: %s", reader->id,
                   reader->err.text);
    try_free(reader);
}

static bool has_ended(struct console_reader *reader)
{
    int state = machine_state(reader->own, reader->request->arena, str_of(reader->id));

    return state < 0 || state == INSTANCE_TERMINATED;
}

static void send_more(struct console_reader *reader)
{
    if (!reader->begun)
        http_answer_begin(reader->request, 200, S("application/octet-stream"), NULL, 0);
    reader->begun = true;
    reader->offset = reader->written;
    if (reader->bytes.len)
        reader->full = !http_answer_chunk(reader->request, buf_str(&reader->bytes));
    if (reader->last) {
        end(reader);
        return;
    }
    reader->last = has_ended(reader);
    if (!reader->full)
        uv_timer_start(&reader->timer, on_timer, reader->last ? 0 : POLL_MS, 0);
}

static void on_run(void *arg)
{
    struct console_reader *reader = arg;

    reader->working = false;
    if (!reader->request)
        try_free(reader);
    else if (reader->r < 0)
        fail(reader);
    else if (reader->follow)
        send_more(reader);
    else
        answer_whole(reader);
}

static void read_more(struct console_reader *reader)
{
    reader->working = true;
    work_run(reader->own->engine->pool, run, on_run, reader);
}

void on_console(void *cookie, struct http_request *request)
{
    struct introspection *own = cookie;
    struct console_reader *reader;
    struct str id, offset = query_value(request, S("offset"));
    int64_t from = 0;
    int state;

    if (!find_machine(own, request, &id, &state))
        return;
    if (offset.p && (!str_to_int(offset, &from) || from < 0)) {
        answer_failure(request, 400, (struct str){0}, "offset takes a number of bytes");
        return;
    }
    reader = mem_alloc(sizeof *reader);
    reader->own = own;
    reader->request = request;
    str_to_z(id, reader->id, sizeof reader->id);
    reader->follow = str_equal(query_value(request, S("follow")), S("1"));
    reader->offset = (uint64_t)from;
    uv_timer_init(own->engine->loop, &reader->timer);
    reader->timer.data = reader;
    reader->next = own->readers;
    reader->link = &own->readers;
    if (own->readers)
        own->readers->link = &reader->next;
    own->readers = reader;
    http_on_gone(request, on_gone, reader);
    http_on_drain(request, on_drain, reader);
    read_more(reader);
}

void readers_stop(struct introspection *own)
{
    for (struct console_reader *reader = own->readers, *next; reader; reader = next) {
        next = reader->next;
        if (reader->begun && reader->request)
            end(reader);
    }
}
