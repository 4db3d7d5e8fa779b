/*
 * POST …/ID/exec, an upgrade to "haar-exec": a command inside a machine. Behind the 101 the connection carries the
 * frames of workload/exec.h both ways; here they are relayed as bytes, between the client's socket and the driver's.
 *
 * A session: parse → a worker asks the driver (the client may leave meanwhile) → 101 and relay → either side ends. Each
 * side is read only while the other takes what it gets.
 */
#include "introspection/answer.h"

#include "base/fd.h"
#include "base/mem.h"
#include "services/ec2/instance.h"
#include "introspection/exec_command.h"

#include <stdlib.h>

enum { QUEUED_MAX = 256 * 1024, PIECE = 64 * 1024 };

struct exec_session {
    struct exec_session *next, **link; /* in introspection.sessions */
    struct introspection *own;
    struct http_request *request; /* NULL: answered, or its client has left */
    struct http_socket *socket;   /* the client's, once upgraded; NULL: closed */
    bool working;
    bool client_paused; /* the driver's side takes no more */
    uv_pipe_t pipe;     /* the driver's side */
    bool piped;         /* pipe is open or closing */
    struct arena arena;
    char id[64];
    struct workload_exec exec;
    struct workload_process process;
    struct err err;
    int r;
    char piece[PIECE];
};

struct pipe_write {
    uv_write_t write;
    struct exec_session *session;
    char bytes[];
};

static void try_free(struct exec_session *session)
{
    if (session->request || session->socket || session->working || session->piped)
        return;
    *session->link = session->next;
    if (session->next)
        session->next->link = session->link;
    arena_free(&session->arena);
    free(session);
}

static void on_pipe_closed(uv_handle_t *handle)
{
    struct exec_session *session = handle->data;

    session->piped = false;
    try_free(session);
}

static void close_pipe(struct exec_session *session)
{
    if (session->piped && !uv_is_closing((uv_handle_t *)&session->pipe))
        uv_close((uv_handle_t *)&session->pipe, on_pipe_closed);
}

/* From the machine to the client. */

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct exec_session *session = handle->data;

    *ret = uv_buf_init(session->piece, PIECE);
}

static void on_pipe_read(uv_stream_t *pipe, ssize_t n, const uv_buf_t *bytes)
{
    struct exec_session *session = pipe->data;

    if (n < 0) { /* the command has ended, its status is sent */
        if (session->socket)
            http_socket_end(session->socket);
        close_pipe(session);
    } else if (n > 0 && session->socket) {
        if (!http_socket_write(session->socket, (struct str){bytes->base, (size_t)n}))
            uv_read_stop(pipe);
    }
}

static void on_drain(void *cookie, struct http_socket *socket)
{
    struct exec_session *session = cookie;

    if (session->piped && !uv_is_closing((uv_handle_t *)&session->pipe))
        uv_read_start((uv_stream_t *)&session->pipe, give_room, on_pipe_read);
}

/* From the client to the machine. */

/* A failure ends nothing: a command that has ended takes no more, but what it said and its status are still to be read.
 */
static void on_written(uv_write_t *write, int status)
{
    struct pipe_write *sent = (struct pipe_write *)write;
    struct exec_session *session = sent->session;

    free(sent);
    if (!session->client_paused || !session->socket)
        return;
    if (status < 0 || uv_stream_get_write_queue_size((uv_stream_t *)&session->pipe) < QUEUED_MAX / 2) {
        session->client_paused = false;
        http_socket_resume(session->socket);
    }
}

static bool on_bytes(void *cookie, struct http_socket *socket, struct str bytes)
{
    struct exec_session *session = cookie;
    struct pipe_write *out;
    uv_buf_t buf;

    if (!session->piped || uv_is_closing((uv_handle_t *)&session->pipe))
        return true;
    out = mem_alloc(sizeof *out + bytes.len);
    out->session = session;
    memcpy(out->bytes, bytes.p, bytes.len);
    buf = uv_buf_init(out->bytes, (unsigned)bytes.len);
    if (uv_write(&out->write, (uv_stream_t *)&session->pipe, &buf, 1, on_written) < 0) {
        free(out);
        return true;
    }
    session->client_paused = uv_stream_get_write_queue_size((uv_stream_t *)&session->pipe) > QUEUED_MAX;
    return !session->client_paused;
}

/* The client has left, or has seen the end. The driver's side ends what still runs. */
static void on_end(void *cookie, struct http_socket *socket)
{
    http_socket_close(socket);
}

static void on_close(void *cookie, struct http_socket *socket)
{
    struct exec_session *session = cookie;

    session->socket = NULL;
    close_pipe(session);
    try_free(session);
}

static void relay(struct exec_session *session)
{
    const struct http_socket_events events = {session, on_bytes, on_end, on_drain, on_close};
    struct http_request *request = session->request;

    uv_pipe_init(session->own->engine->loop, &session->pipe, 0);
    session->pipe.data = session;
    session->piped = true;
    session->request = NULL;
    if (uv_pipe_open(&session->pipe, session->process.fd) < 0) {
        fd_close(&session->process.fd);
        answer_failure(request, 500, S("ExecFailed"), "the command's socket cannot be read");
        close_pipe(session);
        return;
    }
    session->socket = http_upgrade(request, S("haar-exec"), NULL, 0, &events);
    uv_read_start((uv_stream_t *)&session->pipe, give_room, on_pipe_read);
}

static void run(void *arg)
{
    struct exec_session *session = arg;
    const struct workload_backend *backend = &session->own->backend;

    session->r = backend->driver->exec(backend->cookie, str_of(session->id), &session->exec, &session->process,
                                       &session->err);
}

static void on_run(void *arg)
{
    struct exec_session *session = arg;
    struct http_request *request = session->request;

    session->working = false;
    if (session->r == 0 && request) {
        relay(session);
        return;
    }
    if (session->r == 0)
        fd_close(&session->process.fd);
    session->request = NULL;
    if (request)
        answer_failure(request, 500, S("ExecFailed"), "%s", session->err.text);
    try_free(session);
}

static void on_gone(void *arg, struct http_request *request)
{
    struct exec_session *session = arg;

    session->request = NULL;
    try_free(session);
}

static struct exec_session *session_new(struct introspection *own, struct http_request *request, struct str id)
{
    struct exec_session *session = mem_alloc(sizeof *session);

    session->own = own;
    session->request = request;
    str_to_z(id, session->id, sizeof session->id);
    session->next = own->sessions;
    session->link = &own->sessions;
    if (own->sessions)
        own->sessions->link = &session->next;
    own->sessions = session;
    http_on_gone(request, on_gone, session);
    return session;
}

static void refuse(struct exec_session *session, const struct err *err)
{
    struct http_request *request = session->request;

    session->request = NULL;
    answer_failure(request, 400, S("BadExec"), "%s", err->text);
    try_free(session);
}

void on_exec(void *cookie, struct http_request *request)
{
    struct introspection *own = cookie;
    struct exec_session *session;
    struct err err = ERR_INIT;
    struct str id;
    int state;

    if (!find_machine(own, request, &id, &state))
        return;
    if (!request->upgrade_asked) {
        answer_failure(request, 426, (struct str){0}, "exec needs an upgrade to haar-exec");
        return;
    }
    if (!(own->backend.driver->capabilities & WORKLOAD_EXEC)) {
        answer_failure(request, 501, S("NoExec"), "the %s backend cannot run commands in machines",
                       own->backend.driver->name);
        return;
    }
    if (state != INSTANCE_RUNNING) {
        answer_failure(request, 409, S("IncorrectInstanceState"), "instance '" STR_FMT "' is " STR_FMT ", not running",
                       STR_ARG(id), STR_ARG(instance_state((enum instance_state)state).name));
        return;
    }
    session = session_new(own, request, id);
    if (exec_command_parse(&session->arena, request->body, &session->exec, &err) < 0) {
        refuse(session, &err);
        return;
    }
    session->working = true;
    work_run(own->engine->pool, run, on_run, session);
}

void sessions_stop(struct introspection *own)
{
    for (struct exec_session *session = own->sessions; session; session = session->next)
        if (session->socket)
            http_socket_close(session->socket);
}
