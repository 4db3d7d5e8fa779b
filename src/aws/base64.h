/* Base64 with padding (RFC 4648, section 4). */
#pragma once

#include "base/arena.h"

struct str base64_encode(struct arena *arena, struct str bytes);
/* White space is skipped, as AWS does. False when it is not base64. */
bool base64_decode(struct arena *arena, struct str text, struct str *ret);
