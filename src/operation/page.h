/* Pages of a Describe. A token is a position that tx_next goes on from, with the operation's name, in base64. */
#pragma once

#include "operation/call.h"

/* Where to begin. absent: 0. Raises InvalidPaginationToken for one that this operation never gave. */
int page_start(struct call *call, struct str token, uint64_t *ret_position, struct err *err);
struct str page_token(struct call *call, uint64_t position);
