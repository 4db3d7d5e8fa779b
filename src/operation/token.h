/*
 * Client tokens ("Ensuring idempotency"): a call repeated with its token answers what it answered before and does
 * nothing; the same token with other parameters is IdempotentParameterMismatch. Kept durably with the commit that
 * they guard, for 24 hours, the newest 1,000 of a world.
 */
#pragma once

#include "operation/call.h"

enum { TOKEN_REPLAYED = 2 };

/* Before the handler: 0 go on, TOKEN_REPLAYED with call->token_body set, or an error. */
int token_replay(struct call *call, struct err *err);
/* After it, in the same transaction: keeps the answer. */
int token_keep(struct call *call, struct err *err);
