#include "base/json.h"

#include <inttypes.h>

static void put_name(struct json_writer *json, const char *name)
{
    if (json->comma)
        buf_byte(json->out, ',');
    json->comma = true;
    if (name)
        buf_printf(json->out, "\"%s\":", name);
}

static void open_level(struct json_writer *json, const char *name, char bracket)
{
    put_name(json, name);
    buf_byte(json->out, bracket);
    json->comma = false;
}

static void close_level(struct json_writer *json, char bracket)
{
    buf_byte(json->out, bracket);
    json->comma = true;
}

void json_open_object(struct json_writer *json, const char *name)
{
    open_level(json, name, '{');
}

void json_close_object(struct json_writer *json)
{
    close_level(json, '}');
}

void json_open_list(struct json_writer *json, const char *name)
{
    open_level(json, name, '[');
}

void json_close_list(struct json_writer *json)
{
    close_level(json, ']');
}

static void put_byte(struct buf *out, unsigned char c, bool utf8)
{
    switch (c) {
    case '"':
        buf_append(out, S("\\\""));
        break;
    case '\\':
        buf_append(out, S("\\\\"));
        break;
    case '\n':
        buf_append(out, S("\\n"));
        break;
    case '\t':
        buf_append(out, S("\\t"));
        break;
    default:
        if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\u%04x", c);
        else if (c >= 0x80 && !utf8)
            buf_append(out, S("\\ufffd"));
        else
            buf_byte(out, (char)c);
    }
}

void json_put_str(struct json_writer *json, const char *name, struct str value)
{
    bool utf8 = str_is_utf8(value);

    put_name(json, name);
    if (!value.p) {
        buf_append(json->out, S("null"));
        return;
    }
    buf_byte(json->out, '"');
    for (size_t i = 0; i < value.len; i++)
        put_byte(json->out, (unsigned char)value.p[i], utf8);
    buf_byte(json->out, '"');
}

void json_put_int(struct json_writer *json, const char *name, int64_t value)
{
    put_name(json, name);
    buf_printf(json->out, "%" PRId64, value);
}

void json_put_bool(struct json_writer *json, const char *name, bool value)
{
    put_name(json, name);
    buf_append(json->out, value ? S("true") : S("false"));
}
