/* Forgets all records, or one account's; answers when that is durable and their workloads are gone. */
#include "introspection/answer.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>

/*
 * It waits for two things, one after the other: that it is durable (before that the reconciler has not heard of it),
 * and that the reconciler has drained. The latter takes one waiter at a time, so resets that come meanwhile share the
 * next round.
 */
struct reset {
    struct reset *next;
    struct introspection *own;
    struct http_request *request; /* NULL: its client has left */
};

static void drain_next(struct introspection *own);

static void finish(struct reset *reset)
{
    struct buf body = BUF_INIT;

    if (reset->request) {
        buf_append(&body, S("{\"status\":\"ok\"}"));
        answer_json(reset->request, 200, &body);
    }
    free(reset);
}

static void on_drained(void *arg)
{
    struct introspection *own = arg;

    for (struct reset *reset; (reset = own->resets_draining);) {
        own->resets_draining = reset->next;
        finish(reset);
    }
    drain_next(own);
}

static void drain_next(struct introspection *own)
{
    if (own->resets_draining || !own->resets_new)
        return;
    own->resets_draining = own->resets_new;
    own->resets_new = NULL;
    if (own->drain)
        own->drain(own->drain_cookie, on_drained, own);
    else
        on_drained(own);
}

static void on_durable(void *cookie, bool durable)
{
    struct reset *reset = cookie;

    if (!durable) {
        if (reset->request)
            answer_failure(reset->request, 503, (struct str){0}, NOT_DURABLE);
        free(reset);
        return;
    }
    reset->next = reset->own->resets_new;
    reset->own->resets_new = reset;
    drain_next(reset->own);
}

static void on_gone(void *arg, struct http_request *request)
{
    struct reset *reset = arg;

    reset->request = NULL;
}

static bool is_account(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.len == 12;
}

void on_reset(void *cookie, struct http_request *request)
{
    struct introspection *own = cookie;
    struct str account = query_value(request, S("account"));
    struct err err = ERR_INIT;
    struct reset *reset;
    int r;

    if (account.p && !is_account(account)) {
        answer_failure(request, 400, (struct str){0}, "account takes an account id of 12 digits");
        return;
    }
    r = store_reset(own->engine->store, account, &err);
    if (r == -EAGAIN) {
        answer_failure(request, 503, (struct str){0}, NOT_DURABLE);
        return;
    }
    if (r < 0) {
        log_error("reset: %s", err.text);
        answer_failure(request, 500, (struct str){0}, "The reset failed; the server's log says why.");
        return;
    }
    log_info("reset of %s" STR_FMT, account.p ? "account " : "all accounts", STR_ARG(account));
    reset = mem_alloc(sizeof *reset);
    *reset = (struct reset){.own = own, .request = request};
    http_on_gone(request, on_gone, reset);
    store_when_durable(own->engine->store, store_last(own->engine->store), on_durable, reset);
}
