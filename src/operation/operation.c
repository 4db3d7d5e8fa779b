/*
 * The one way in: validate → client token → handler → commit → answer when durable and settled. Protocol
 * fronts and operations that call others come through here alike.
 */
#include "operation/operation.h"

#include "base/mem.h"
#include "errors.h"
#include "operation/token.h"
#include "operation/validate.h"

#include <errno.h>
#include <stdlib.h>

struct call_job {
    struct call *call; /* NULL: its caller has left */
    void (*run)(void *job);
    int (*finish)(struct call *call, void *job, struct err *err);
    void *job;
};

static const struct shape *shape_at(const struct call *call, uint16_t shape)
{
    return shape == NO_SHAPE ? NULL : &call->service->shapes[shape];
}

static bool dry_run_asked(const struct call *call)
{
    const struct shape *input = shape_at(call, call->operation->input);
    const struct member *member;

    if (!input || call->operation->dry_run == NO_MEMBER)
        return false;
    member = &call->service->members[input->first + call->operation->dry_run];
    return ((const struct opt_bool *)((const char *)call->in + member->offset))->value;
}

static void begin(struct call *call)
{
    struct store *store = call->engine->store;

    call->tx = tx_begin(store, store_world(store, call->account, call->region), call->arena,
                        service_name(call->service, call->operation->name));
}

static void saw(struct call *call, uint64_t number)
{
    if (call->saw < number)
        call->saw = number;
}

static void roll_back(struct call *call)
{
    saw(call, tx_saw(call->tx));
    tx_rollback(call->tx);
    call->tx = NULL;
    call->waits = NULL;
}

int operation_refused(struct err *err)
{
    /* "Internal errors … can be transient": the code of theirs, and the status that says to come again. */
    static const struct aws_error not_now = {"InternalError", 503};

    return err_aws(err, &not_now, "An internal error has occurred");
}

static int commit(struct call *call, struct err *err)
{
    struct store *store = call->engine->store;
    uint64_t before;
    int r;

    if (call->dry_run) {
        roll_back(call);
        return err_aws(err, &AWS_DRY_RUN_OPERATION, "Request would have succeeded, but DryRun flag is set.");
    }
    r = token_keep(call, err);
    if (r < 0) {
        roll_back(call);
        return r;
    }
    before = store_last(store);
    saw(call, tx_saw(call->tx));
    r = tx_commit(call->tx, err);
    call->tx = NULL;
    if (store_last(store) != before)
        call->wrote = store_last(store);
    saw(call, call->wrote);
    return r == -EAGAIN ? operation_refused(err) : r;
}

static void on_job_done(void *arg);

static void run_job(void *arg)
{
    struct call_job *job = arg;

    job->run(job->job);
}

/* What a handler or a finish returned, carried to its end. */
static void conclude(struct call *call, int r, struct err *err)
{
    if (r == CALL_LATER) {
        struct call_job *job = call->job;
        roll_back(call);
        work_run(call->engine->pool, run_job, on_job_done, job);
        return;
    }
    if (r < 0)
        roll_back(call);
    else
        r = commit(call, err);
    call->done(call, r, err);
}

/* A worker's entry is the job's own; the call is looked at on the loop only. */
static void on_job_done(void *arg)
{
    struct call_job *job = arg;
    struct call *call = job->call;
    struct err err = ERR_INIT;
    int r;

    if (!call) {
        job->finish(NULL, job->job, &err);
        free(job);
        return;
    }
    call->job = NULL;
    begin(call);
    r = job->finish(call, job->job, &err);
    free(job);
    conclude(call, r, &err);
}

int call_later(struct call *call, void (*run)(void *job), int (*finish)(struct call *call, void *job, struct err *err),
               void *job)
{
    call->job = mem_alloc(sizeof *call->job);
    *call->job = (struct call_job){call, run, finish, job};
    return CALL_LATER;
}

static int not_built(const struct call *call, struct err *err)
{
    return err_aws(err, &AWS_NOT_IMPLEMENTED, "The operation " STR_FMT " of %s is not built yet.",
                   STR_ARG(service_name(call->service, call->operation->name)), call->service->id);
}

/* Validated, in a transaction, token seen: 0 goes on to commit; 1 is a replay. */
static int handle(struct call *call, struct err *err)
{
    int r = token_replay(call, err);

    if (r != 0)
        return r;
    return call->service->handlers[call->operation->handler](call, call->in, call->out, err);
}

void operation_call(struct call *call)
{
    const struct shape *input = shape_at(call, call->operation->input),
                       *output = shape_at(call, call->operation->output);
    struct err err = ERR_INIT;
    int r = 0;

    if (call->operation->handler == 0)
        r = not_built(call, &err);
    else if (input)
        r = validate_input(call->service, input, call->in, &err);
    if (r < 0) {
        call->done(call, r, &err);
        return;
    }
    call->dry_run = dry_run_asked(call);
    call->out = output ? arena_alloc(call->arena, output->size) : NULL;
    begin(call);
    r = handle(call, &err);
    if (r == TOKEN_REPLAYED) {
        roll_back(call);
        call->done(call, 0, &err);
        return;
    }
    conclude(call, r, &err);
}

void operation_cancel(struct call *call)
{
    if (call->job)
        call->job->call = NULL;
    call->job = NULL;
}

void operation_answer(struct call *call, struct buf *body)
{
    const struct shape *output = shape_at(call, call->operation->output);
    struct str request_id = str_of(call->request_id);

    codec_begin(call->service, call->operation, request_id, body);
    if (call->token_body.p)
        buf_append(body, call->token_body);
    else if (output)
        codec_content(call->service, output, call->out, body);
    codec_end(call->service, call->operation, request_id, body);
}
