/* Random names. Bytes come from getrandom(2), in blocks; a test may make them repeat with id_seed. Loop thread only. */
#pragma once

#include "base/arena.h"

void id_bytes(void *p, size_t size);
void id_seed(uint64_t seed); /* 0: getrandom again */

struct str id_new(struct arena *arena, struct str prefix); /* "i-" → i-0123456789abcdef0: 17 hex digits, as AWS's */
enum { ID_UUID_SIZE = 37 };
struct str id_uuid(char out[ID_UUID_SIZE]); /* version 4 */
