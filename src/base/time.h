/* Clocks and times. Wall time is in milliseconds since 1970, UTC; durations are named by their unit. */
#pragma once

#include "base/str.h"

int64_t time_now_ms(void); /* wall clock; a test may set it with time_set_offset_ms */
int64_t time_monotonic_us(void);
void time_set_offset_ms(int64_t offset);

enum { TIME_ISO_SIZE = 32 };
struct str time_iso(int64_t ms, char out[TIME_ISO_SIZE]); /* 2026-11-25T12:44:00.000Z */

/* ISO 8601 as AWS's SDKs write it (with or without fraction, Z or ±hh:mm), or seconds since 1970. False when it is
 * neither. */
bool time_parse(struct str s, int64_t *ret_ms);
