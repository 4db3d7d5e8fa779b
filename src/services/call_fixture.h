/*
 * Calls of operations as a client makes them (a form, decoded, validated, handled, encoded), over an engine in memory
 * without reconcilers: for tests and fuzzers. One a process, on libuv's default loop.
 */
#pragma once

#include "operation/operation.h"

extern struct engine fixture_engine;

void fixture_open(void);
void fixture_close(void);

/* Whose operation: *ret_service; NULL: none is built that has this name. */
const struct operation *fixture_operation(struct str name, const struct service **ret_service);

struct fixture_call {
    struct call call;
    struct arena arena;
    uint64_t before; /* number of the newest commit, when it was made */
    bool done;
    int r;           /* < 0: code says why */
    struct str code; /* AWS's error code */
    struct buf body; /* the answer, also an error's */
};

/* False: the form cannot be read, and nothing was called. Else made->done, now or after turns of the loop. */
bool fixture_start(struct fixture_call *made, const char *account, const struct service *service,
                   const struct operation *operation, struct str form);
void fixture_wait(struct fixture_call *made);
/* Frees it. One that is not done yet is left by its client. */
void fixture_end(struct fixture_call *made);
