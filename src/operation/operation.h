/* The one way in. Fill a struct call (engine, service, operation, caller, world, arena, in, done), then: */
#pragma once

#include "aws/codec.h"
#include "operation/call.h"

/* Runs the call to its commit. call->done is called once, maybe before this returns; the answer may not leave yet:
 * park.h. */
void operation_call(struct call *call);

/* Its caller has left: done will not be called, and the call may be freed. What it did stays done. */
void operation_cancel(struct call *call);

/* InternalError of HTTP 503: what the call did could not be made durable, and is undone. Why is in the log. */
int operation_refused(struct err *err);

/* In done: the whole answer, appended to *body. */
void operation_answer(struct call *call, struct buf *body);
