/* Inside introspection: answers, and the families of paths. */
#pragma once

#include "base/json.h"
#include "introspection/introspection.h"

/* Takes *body. Held until every commit that it could have seen is durable; if that is taken back, answered 503. */
void answer_when_durable(struct introspection *own, struct http_request *request, struct str content_type,
                         struct buf *body);
void answer_json(struct http_request *request, int status, struct buf *body); /* at once; takes *body */
/* {"error": text, "code": code}; code absent: none. */
void answer_failure(struct http_request *request, int status, struct str code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define JSON_TYPE S("application/json")
#define NOT_DURABLE "The journal cannot be written at present; the server's log says why."

struct str query_value(const struct http_request *request, struct str name); /* absent without one; not decoded */

/* Calls each(cookie, tx) for every world that there is, in a transaction that is rolled back. */
void each_world(struct introspection *own, struct arena *arena, void (*each)(void *cookie, struct tx *tx),
                void *cookie);

void on_health(void *cookie, struct http_request *request);
void on_localstack_health(void *cookie, struct http_request *request);
void on_reset(void *cookie, struct http_request *request);
void on_metrics(void *cookie, struct http_request *request);
void on_instances(void *cookie, struct http_request *request);
void on_instance_networks(void *cookie, struct http_request *request);
void on_console(void *cookie, struct http_request *request);
void on_exec(void *cookie, struct http_request *request);

/* The machine that a path names: /…/instances/ID/VERB, of whatever account. Else answers 404 or 501 itself: false. */
bool find_machine(struct introspection *own, struct http_request *request, struct str *ret_id, int *ret_state);
/* Its state, low byte of AWS's code; -1: no such instance. */
int machine_state(struct introspection *own, struct arena *arena, struct str id);
void sessions_stop(struct introspection *own);
void readers_stop(struct introspection *own);
