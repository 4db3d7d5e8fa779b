/* The token of a server on this host: /run/haar/OWNER/token, 0600. */
#pragma once

#include "base/arena.h"

/*
 * The token of `owner`, if that server lives (its lock is held) and listens where `endpoint` ("http://HOST:PORT") says;
 * else, or when it cannot be read, absent.
 */
struct str token_read(struct arena *arena, struct str owner, struct str endpoint);

/* Does a server that listens on `listen` ("127.0.0.1:4566", "0.0.0.0:80") answer at `endpoint`, on this host? */
bool endpoint_is(struct str endpoint, struct str listen);
