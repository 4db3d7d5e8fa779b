/*
 * Writes JSON into a buffer. Names are literals, plain ASCII; NULL inside a list. What a string holds is escaped;
 * bytes that are no UTF-8 become U+FFFD. Nothing checks the nesting but the reader's eye.
 */
#pragma once

#include "base/buf.h"

struct json_writer {
    struct buf *out;
    bool comma; /* something stands before, on this level */
};

void json_open_object(struct json_writer *json, const char *name);
void json_close_object(struct json_writer *json);
void json_open_list(struct json_writer *json, const char *name);
void json_close_list(struct json_writer *json);
void json_put_str(struct json_writer *json, const char *name, struct str value); /* absent: null */
void json_put_int(struct json_writer *json, const char *name, int64_t value);
void json_put_bool(struct json_writer *json, const char *name, bool value);
