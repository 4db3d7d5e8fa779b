/*
 * Answers that wait: until the commits that they could have seen are durable, and, where a call asked for
 * it (call_wait_for), until the world has followed, 500 ms at most. A parked answer is encoded already; it
 * holds no thread and no transaction.
 */
#pragma once

#include "operation/call.h"

enum { PARK_LIMIT_MS = 500 };

struct parking *parking_new(struct engine *engine); /* reads the store's feed */
/*
 * The answer to a call that wrote also waits while behind(cookie, its commit's number) says that something beyond the
 * records has not followed yet. Asked when that commit's changes have been delivered, to whom subscribed before this
 * too, and at each parking_look.
 */
void parking_follow(struct parking *parking, bool (*behind)(void *cookie, uint64_t number), void *cookie);
void parking_look(struct parking *parking);
void parking_free(struct parking *parking);

struct parked;
/*
 * Calls ready(cookie, durable) once, from here when nothing is to be waited for. *at is the parked answer until then,
 * and NULL before ready is called: what at lies in may end with the answer. Not durable: what the answer says has been
 * taken back, and it must not be given.
 */
void park(struct call *call, struct parked **at, void (*ready)(void *cookie, bool durable), void *cookie);
void parked_cancel(struct parked *parked); /* its client has left */
