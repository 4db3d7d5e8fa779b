/*
 * One call of an operation: from decoded input to output, whoever asks (a protocol's front, or another
 * operation). Handlers see this, typed input and output, and the records; nothing of the wire.
 *
 * A handler returns
 *   0            done: commit and answer
 *   < 0          failed, err filled: nothing is changed
 *   CALL_LATER   call_later() has been given a job: it runs on a worker with input of its own and no record, then
 *                `finish` runs on the loop in a new transaction and returns one of these again
 *
 * Between the handler and `finish` the loop runs: records change, accounts are reset, worlds are dropped, the client
 * leaves. What outlives that is the call itself with its arena (input, strings made for it) and what the job owns;
 * nothing else may be held, no record, no world, no place in a table, no view into a buffer that grows. `finish` looks
 * everything up again and checks it anew, as if it were the handler; the call's own transaction and world are new.
 */
#pragma once

#include "aws/error.h"
#include "aws/shape.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/work.h"
#include "operation/kept.h"
#include "store/store.h"

enum { CALL_LATER = 1 };

/* What every call stands on. One a server. */
struct engine {
    uv_loop_t *loop;
    struct store *store;
    struct work_pool *pool;
    struct parking *parking;
    struct kept_texts kept;
    struct str account, region; /* where the caller names none */
    struct str backend;         /* "native", "none" …: where machines run */
    struct str backend_reason;  /* why there are none; empty if there are */
    uint32_t public_network;    /* the pool of public addresses, host order; prefix 0: there is none */
    unsigned public_prefix;
    struct str default_image; /* HAAR_EC2_IMAGE: what an unknown AMI boots; absent: unknown AMIs are refused */
    /* A machine's console, its last `limit` bytes; on a worker. NULL: there are no machines. */
    int (*console)(void *cookie, struct str instance_id, size_t limit, struct buf *out, struct err *err);
    void *console_cookie;
};

/* Wait until this record satisfies `settled`, after the commit: the answer is held, not the handler. */
struct call_wait {
    struct call_wait *next;
    uint16_t kind;
    struct str id;
    bool (*settled)(const void *record); /* record NULL: it is gone */
};

struct call {
    struct engine *engine;
    const struct service *service;
    const struct operation *operation;
    struct str account, region, access_key;
    struct arena *arena;
    struct tx *tx; /* valid in handler and finish only; in the world of account and region */
    char request_id[ID_UUID_SIZE];
    const void *in;
    void *out;
    bool dry_run;
    struct call_wait *waits;
    uint64_t wrote; /* number of its commit; 0: it changed nothing */
    uint64_t saw;   /* number of the newest commit that its answer may tell of */

    /* Called once, from the loop: r as the handler's, err when it is negative. Set by who makes the call. */
    void (*done)(struct call *call, int r, struct err *err);
    void *cookie;

    struct call_job *job;  /* CALL_LATER's */
    struct str token_body; /* a replay: the answer's content as it was */
};

/*
 * For a handler to return: runs `run(job)` on a worker, then `finish` on the loop, in a new transaction. finish frees
 * the job; with call NULL it does only that (the caller has left).
 */
int call_later(struct call *call, void (*run)(void *job), int (*finish)(struct call *call, void *job, struct err *err),
               void *job);

/* Holds the answer until the record is settled, 500 ms at most. */
void call_wait_for(struct call *call, uint16_t kind, struct str id, bool (*settled)(const void *record));

/* Strings that live as long as the call. */
#define call_printf(call, ...) arena_printf((call)->arena, __VA_ARGS__)
