#include "operation/endpoint.h"

#include "aws/query.h"
#include "aws/sigv4.h"
#include "base/log.h"
#include "base/mem.h"
#include "errors.h"
#include "operation/kept.h"
#include "operation/operation.h"
#include "operation/park.h"

#include <stdlib.h>

enum { SIZES = 256, SIZE_MAX_KEPT = 64 * 1024 * 1024 };

struct endpoint {
    struct endpoint_config config;
    uint64_t calls;
    uint32_t sizes[SIZES]; /* of an operation's last answer: big ones are made without growing step by step */
};

/* One AWS request, in its request's arena. */
struct exchange {
    struct endpoint *endpoint;
    struct http_request *request;
    const struct service *service;
    struct call call;
    struct parked *parked;
    struct form form;
    int status;
    struct buf body;
};

static void answer(struct exchange *x)
{
    struct http_header headers[] = {{S("x-amzn-RequestId"), str_of(x->call.request_id)}};

    x->endpoint->calls++;
    http_answer(x->request, x->status, codec_content_type(x->service), headers, ARRAY_LEN(headers), &x->body);
}

/* An error of ours is logged here, with its chain, and told to the client by its request id only. */
static void encode_failure(struct exchange *x, const struct err *err)
{
    const struct aws_error *error = err->aws ? err->aws : &AWS_INTERNAL_ERROR;
    struct str text = err->aws ? str_of(err->text) : S("An internal error has occurred");

    if (!err->aws)
        log_error("request %s: %s", x->call.request_id, err->text);
    x->status = error->status;
    codec_error(x->service, error, text, str_of(x->call.request_id), &x->body);
}

static void refuse(struct exchange *x, const struct err *err)
{
    encode_failure(x, err);
    answer(x);
}

/* Not durable: the call's commit, or one that it has seen, has been taken back. */
static void on_ready(void *cookie, bool durable)
{
    struct exchange *x = cookie;
    struct err err = ERR_INIT;

    if (!durable) {
        operation_refused(&err);
        x->body.len = 0;
        encode_failure(x, &err);
    }
    answer(x);
}

/* Operations may share a place: it is only a guess. */
static uint32_t *last_size(struct exchange *x)
{
    return &x->endpoint->sizes[(size_t)(x->call.operation - x->service->operations) % SIZES];
}

static void on_done(struct call *call, int r, struct err *err)
{
    struct exchange *x = call->cookie;

    x->body = x->request->answer;
    x->request->answer = BUF_INIT;
    if (r < 0) {
        encode_failure(x, err);
        call->waits = NULL;
    } else {
        x->status = 200;
        buf_reserve(&x->body, *last_size(x));
        operation_answer(call, &x->body);
        *last_size(x) = x->body.len < SIZE_MAX_KEPT ? (uint32_t)(x->body.len + x->body.len / 64) : 0;
    }
    park(call, &x->parked, on_ready, x);
}

static void on_gone(void *arg, struct http_request *request)
{
    struct exchange *x = arg;

    operation_cancel(&x->call);
    if (x->parked)
        parked_cancel(x->parked);
    buf_free(&x->body);
}

static const struct service *find_service(const struct endpoint *endpoint, struct str id)
{
    for (const struct service *const *at = endpoint->config.services; *at; at++)
        if (str_equal(str_of((*at)->id), id))
            return *at;
    return NULL;
}

static bool is_account(struct str key)
{
    for (size_t i = 0; i < key.len; i++)
        if (key.p[i] < '0' || key.p[i] > '9')
            return false;
    return key.len == 12;
}

/* Who calls, and which world that is. */
static int identify(struct exchange *x, struct err *err)
{
    struct engine *engine = x->endpoint->config.engine;
    struct sigv4_scope scope;
    int r = sigv4_scope(http_header(x->request, S("Authorization")), &x->form, &scope, err);

    if (r < 0)
        return r;
    x->call.access_key = scope.access_key;
    x->call.account = is_account(scope.access_key) ? scope.access_key : engine->account;
    x->call.region = scope.region;
    if (!x->endpoint->config.region_exists(scope.region))
        return err_aws(err, &AWS_SIGNATURE_DOES_NOT_MATCH, "Credential should be scoped to a valid region.");
    x->service = find_service(x->endpoint, scope.service);
    if (!x->service) {
        x->service = x->endpoint->config.services[0];
        return err_aws(err, &AWS_NOT_IMPLEMENTED, "The service '" STR_FMT "' is not built yet.",
                       STR_ARG(str_first(scope.service, 64)));
    }
    return 0;
}

static int find_operation(struct exchange *x, struct err *err)
{
    struct str action = form_get(&x->form, S("Action")), version = form_get(&x->form, S("Version"));

    if (!action.len)
        return err_aws(err, &AWS_MISSING_ACTION, "The request is missing an action or a required parameter.");
    if (!version.len)
        return err_aws(err, &AWS_MISSING_PARAMETER, "The request must contain the parameter Version");
    if (!str_equal(version, str_of(x->service->version)))
        return err_aws(err, &AWS_NO_SUCH_VERSION, "The requested version (" STR_FMT ") of service %s does not exist",
                       STR_ARG(str_first(version, 64)), x->service->id);
    x->call.operation = service_operation(x->service, action);
    if (!x->call.operation)
        return err_aws(err, &AWS_INVALID_ACTION, "The action " STR_FMT " is not valid for this web service.",
                       STR_ARG(str_first(action, 128)));
    return 0;
}

/* AWS names every operation by a verb first; these change nothing. */
static bool only_reads(struct str name)
{
    static const struct str verbs[] = {S("Describe"), S("Get"), S("List"), S("Search")};

    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (str_starts(name, verbs[i]))
            return true;
    return false;
}

/* A web page can put a presigned query into a link, an image or a form. */
static int check_write(struct exchange *x, struct err *err)
{
    struct str name = service_name(x->service, x->call.operation->name);

    if (only_reads(name) || access_may_write(x->endpoint->config.access, x->request))
        return 0;
    return err_aws(err, &AWS_MISSING_AUTHENTICATION_TOKEN,
                   STR_FMT
                   " changes something and so needs the Authorization header; a presigned request may only read.",
                   STR_ARG(name));
}

static int read_form(struct exchange *x, struct err *err)
{
    struct http_request *request = x->request;
    int r = 0;

    if (request->query.len)
        r = form_parse(request->arena, request->query, &x->form, err);
    if (r == 0 && request->body.len)
        r = form_parse(request->arena, request->body, &x->form, err);
    return r;
}

static int prepare(struct exchange *x, struct err *err)
{
    struct call *call = &x->call;
    const struct shape *input;
    int r = read_form(x, err);

    if (r == 0)
        r = identify(x, err);
    if (r == 0)
        r = find_operation(x, err);
    if (r == 0)
        r = check_write(x, err);
    if (r < 0)
        return r;
    call->service = x->service;
    input = call->operation->input == NO_SHAPE ? NULL : &x->service->shapes[call->operation->input];
    call->in = input ? arena_alloc(call->arena, input->size) : NULL;
    return query_decode(x->service, call->operation, &x->form, call->arena, (void *)call->in, err);
}

static void on_api(struct endpoint *endpoint, struct http_request *request)
{
    struct exchange *x = arena_new(request->arena, struct exchange);
    struct err err = ERR_INIT;

    x->endpoint = endpoint;
    x->request = request;
    x->service = endpoint->config.services[0];
    x->call.engine = endpoint->config.engine;
    x->call.arena = request->arena;
    x->call.done = on_done;
    x->call.cookie = x;
    id_uuid(x->call.request_id);
    http_on_gone(request, on_gone, x);
    if (prepare(x, &err) < 0)
        refuse(x, &err);
    else
        operation_call(&x->call);
}

static void answer_text(struct http_request *request, int status, struct str text)
{
    struct buf body = BUF_INIT;

    buf_append(&body, text);
    buf_byte(&body, '\n');
    http_answer(request, status, S("text/plain; charset=utf-8"), NULL, 0, &body);
}

static bool path_matches(struct str path, struct str pattern)
{
    if (str_ends(pattern, S("*")))
        return str_starts(path, str_first(pattern, pattern.len - 1));
    return str_equal(path, pattern);
}

/* Is it one of the server's own paths? Then it is answered here. */
static bool on_route(struct endpoint *endpoint, struct http_request *request)
{
    const struct endpoint_route *route = endpoint->config.routes;
    bool path_found = false;

    for (; route->path; route++) {
        enum access_verdict verdict;

        if (!path_matches(request->path, str_of(route->path)))
            continue;
        path_found = true;
        if (!str_equal(request->method, str_of(route->method)))
            continue;
        verdict = access_check_own(endpoint->config.access, request, route->is_health, route->needs_token);
        if (verdict == ACCESS_ALLOWED)
            route->handle(endpoint->config.route_cookie, request);
        else
            answer_text(request, 403, access_text(verdict));
        return true;
    }
    if (path_found)
        answer_text(request, 405, S("This path does not take that method."));
    return path_found;
}

static void on_request(struct endpoint *endpoint, struct http_request *request, bool with_routes)
{
    enum access_verdict verdict = access_check(endpoint->config.access, request);

    kept_trim(&endpoint->config.engine->kept);
    if (verdict != ACCESS_ALLOWED)
        answer_text(request, 403, access_text(verdict));
    else if (with_routes && on_route(endpoint, request))
        return;
    else if (!str_equal(request->path, S("/")))
        answer_text(request, 404, S("There is nothing at this path."));
    else if (!str_equal(request->method, S("POST")) && !str_equal(request->method, S("GET")))
        answer_text(request, 405, S("The API takes POST and GET."));
    else
        on_api(endpoint, request);
}

static void on_host_request(void *cookie, struct http_request *request)
{
    on_request(cookie, request, true);
}

static void on_guest_request(void *cookie, struct http_request *request)
{
    on_request(cookie, request, false);
}

struct endpoint *endpoint_new(const struct endpoint_config *config)
{
    struct endpoint *endpoint = mem_alloc(sizeof *endpoint);

    endpoint->config = *config;
    return endpoint;
}

void endpoint_free(struct endpoint *endpoint)
{
    free(endpoint);
}

struct http_handler endpoint_handler(struct endpoint *endpoint, bool with_routes)
{
    return (struct http_handler){.cookie = endpoint, .on_request = with_routes ? on_host_request : on_guest_request};
}

uint64_t endpoint_calls(const struct endpoint *endpoint)
{
    return endpoint->calls;
}
