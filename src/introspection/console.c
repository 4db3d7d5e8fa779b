/*
 * GET …/ID/console?offset=N&follow=1: what a machine's console has written, from byte N on (as far as it is kept: the
 * last 1 MiB). Haar-Console-Offset says up to where. With follow the answer goes on as more is written, until the
 * machine is terminated and all that it had written is sent, or until its client leaves; a client that reads slowly is
 * waited for, and is told how much was overwritten meanwhile.
 *
 * One reader does, in turn: read (on a worker, from a descriptor that outlives the machine's disk) → send → wait: for
 * the client, and POLL_MS when there is no more → read …
 */
#include "introspection/answer.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "services/ec2/instance.h"
#include "workload/console.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    POLL_MS = 100,
    PIECE = 256 * 1024,
    WHOLE = 1024 * 1024,
    LAST_POLLS = 300, /* of one whose record is gone, until its disk is gone too */
};

struct console_reader {
    struct console_reader *next, **link; /* in introspection.readers */
    struct introspection *own;
    struct http_request *request; /* NULL: its client has left, or the answer has ended */
    char id[64];
    bool follow, begun, working, full;
    bool over; /* its record said so, before the read that is under way */
    unsigned polls_over;
    uint64_t offset; /* bytes sent, or skipped */
    uv_timer_t timer;
    /* The worker's. */
    int fd; /* -1: there has been no console yet */
    struct buf bytes;
    struct console_piece piece;
    bool removed; /* the machine's disk was, before this read */
    struct err err;
    int r; /* 1: there is no console */
};

static void read_more(struct console_reader *reader);

static void on_timer_closed(uv_handle_t *handle)
{
    struct console_reader *reader = handle->data;

    fd_close(&reader->fd);
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

/* On a worker. Whether the file had been removed is asked first: nothing is written to it from then on. */
static void run(void *arg)
{
    struct console_reader *reader = arg;
    const struct workload_backend *backend = &reader->own->backend;
    struct stat st;

    reader->bytes.len = 0;
    reader->removed = false;
    reader->piece = (struct console_piece){reader->offset, reader->offset, 0};
    reader->r = 0;
    if (reader->fd < 0)
        reader->r = backend->driver->console_open(backend->cookie, str_of(reader->id), &reader->fd, &reader->err);
    if (reader->r != 0)
        return;
    reader->removed = fstat(reader->fd, &st) == 0 && st.st_nlink == 0;
    reader->r = console_read_from(reader->fd, reader->offset, reader->follow ? PIECE : WHOLE, &reader->bytes,
                                  &reader->piece, &reader->err);
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

    header.value.len = (size_t)snprintf(offset, sizeof offset, "%" PRIu64, reader->piece.to);
    reader->request = NULL;
    http_answer(request, 200, S("application/octet-stream"), &header, 1, &reader->bytes);
    try_free(reader);
}

static void fail(struct console_reader *reader)
{
    struct http_request *request = reader->request;

    if (reader->r > 0)
        err_plain(&reader->err, "there is none");
    else
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

static void send_lost(struct console_reader *reader, uint64_t bytes)
{
    char line[128];
    int n = snprintf(line, sizeof line, "\nhaar: %" PRIu64 " bytes were overwritten before they could be read\n",
                     bytes);

    http_answer_chunk(reader->request, (struct str){line, (size_t)n});
}

static void send_piece(struct console_reader *reader)
{
    const struct console_piece *piece = &reader->piece;

    if (reader->begun && piece->from > reader->offset)
        send_lost(reader, piece->from - reader->offset);
    if (!reader->begun)
        http_answer_begin(reader->request, 200, S("application/octet-stream"), NULL, 0);
    reader->begun = true;
    reader->offset = piece->to;
    if (reader->bytes.len)
        reader->full = !http_answer_chunk(reader->request, buf_str(&reader->bytes));
}

/* All that it ever wrote has been read: its disk is gone, or it never had one. */
static bool is_complete(struct console_reader *reader)
{
    return reader->over && (reader->r > 0 || reader->removed || ++reader->polls_over > LAST_POLLS);
}

static void send_more(struct console_reader *reader)
{
    bool more;

    send_piece(reader);
    more = reader->piece.to < reader->piece.total;
    if (!more && is_complete(reader)) {
        end(reader);
        return;
    }
    if (!more && reader->removed) { /* a machine that goes on with another disk, or is about to be over */
        fd_close(&reader->fd);
        reader->offset = 0;
    }
    if (!reader->full)
        uv_timer_start(&reader->timer, on_timer, more ? 0 : POLL_MS, 0);
}

static void on_run(void *arg)
{
    struct console_reader *reader = arg;

    reader->working = false;
    if (!reader->request)
        try_free(reader);
    else if (reader->r < 0 || (reader->r > 0 && !reader->begun && (!reader->follow || reader->over)))
        fail(reader);
    else if (reader->follow)
        send_more(reader);
    else
        answer_whole(reader);
}

/* In an arena of its own: it is asked ten times a second, for as long as the request lasts. */
static bool has_ended(struct console_reader *reader)
{
    struct arena arena = ARENA_INIT;
    int state = machine_state(reader->own, &arena, str_of(reader->id));

    arena_free(&arena);
    return state < 0 || state == INSTANCE_TERMINATED;
}

static void read_more(struct console_reader *reader)
{
    reader->working = true;
    reader->over = has_ended(reader);
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
    reader->fd = -1;
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
