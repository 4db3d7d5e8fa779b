#include "aws/codec.h"

#include "aws/base64.h"
#include "base/time.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * Does any of the eight bytes need more than a copy: & < > " or a control byte? Exact below the first such byte,
 * which is all that is asked. The usual tricks of bits: a byte is zero, or less than 32, when its borrow shows.
 */
static bool needs_care(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t low = (x - ones * 0x20) & ~x, amp = x ^ ones * '&', less = x ^ ones * '<', more = x ^ ones * '>',
             quote = x ^ ones * '"';

    low |= ((amp - ones) & ~amp) | ((less - ones) & ~less) | ((more - ones) & ~more) | ((quote - ones) & ~quote);
    return low & tops;
}

static bool is_plain(struct str s)
{
    size_t i = 0;
    uint64_t x;

    for (; i + 8 <= s.len; i += 8) {
        memcpy(&x, s.p + i, 8);
        if (needs_care(x))
            return false;
    }
    x = 0x2020202020202020u;
    if (i < s.len) /* an absent string has no bytes to point at */
        memcpy(&x, s.p + i, s.len - i);
    return !needs_care(x);
}

/* XML's own characters become references; what XML 1.0 cannot hold becomes U+FFFD. */
static void put_escaped(struct buf *body, struct str s)
{
    size_t from = 0;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        struct str instead;

        if (c > '>' || (c >= ' ' && c != '&' && c != '<' && c != '>' && c != '"') || c == '\n' || c == '\t')
            continue;
        instead = c == '&'    ? S("&amp;")
                  : c == '<'  ? S("&lt;")
                  : c == '>'  ? S("&gt;")
                  : c == '"'  ? S("&quot;")
                  : c == '\r' ? S("&#xd;")
                              : S("\xef\xbf\xbd");
        buf_append(body, (struct str){s.p + from, i - from});
        buf_append(body, instead);
        from = i + 1;
    }
    buf_append(body, (struct str){s.p + from, s.len - from});
}

static void put_text(struct buf *body, struct str s)
{
    if (is_plain(s))
        buf_append(body, s);
    else
        put_escaped(body, s);
}

static void put_open(struct buf *body, struct str name)
{
    char *p = buf_reserve(body, name.len + 2);

    p[0] = '<';
    memcpy(p + 1, name.p, name.len);
    p[name.len + 1] = '>';
    body->len += name.len + 2;
}

static void put_close(struct buf *body, struct str name)
{
    char *p = buf_reserve(body, name.len + 3);

    p[0] = '<';
    p[1] = '/';
    memcpy(p + 2, name.p, name.len);
    p[name.len + 2] = '>';
    body->len += name.len + 3;
}

/* <name>text</name> in one piece: most of what an answer is made of. */
static void put_element(struct buf *body, struct str name, struct str text)
{
    char *p;

    if (!is_plain(text)) {
        put_open(body, name);
        put_escaped(body, text);
        put_close(body, name);
        return;
    }
    p = buf_reserve(body, 2 * name.len + text.len + 5);
    body->len += 2 * name.len + text.len + 5;
    *p++ = '<';
    p = mempcpy(p, name.p, name.len);
    *p++ = '>';
    p = mempcpy(p, text.p, text.len);
    *p++ = '<';
    *p++ = '/';
    p = mempcpy(p, name.p, name.len);
    *p = '>';
}

static void put_int(struct buf *body, int64_t value)
{
    char digits[24], *at = digits + sizeof digits;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;

    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--at = '-';
    buf_append(body, (struct str){at, (size_t)(digits + sizeof digits - at)});
}

/* The shortest text that reads back as the same number. */
static void put_double(struct buf *body, double value)
{
    char text[40];

    for (int precision = 6; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_append(body, str_of(text));
}

static void put_blob(struct buf *body, struct str bytes)
{
    AUTO_ARENA arena = ARENA_INIT;

    buf_append(body, base64_encode(&arena, bytes));
}

static void put_time(struct buf *body, int64_t ms)
{
    char text[TIME_ISO_SIZE];

    buf_append(body, time_iso(ms, text));
}

static void put_struct(const struct service *service, const struct shape *shape, const void *p, struct buf *body);

static void put_list(const struct service *service, const struct shape *shape, const struct any_list *list,
                     struct buf *body);

static void put_value(const struct service *service, const struct shape *shape, const void *p, struct buf *body)
{
    switch ((enum shape_kind)shape->kind) {
    case SHAPE_STRUCT:
        put_struct(service, shape, p, body);
        break;
    case SHAPE_LIST:
        put_list(service, shape, p, body);
        break;
    case SHAPE_STRING:
        put_text(body, *(const struct str *)p);
        break;
    case SHAPE_BLOB:
        put_blob(body, *(const struct str *)p);
        break;
    case SHAPE_INT:
    case SHAPE_LONG:
        put_int(body, ((const struct opt_int *)p)->value);
        break;
    case SHAPE_DOUBLE:
        put_double(body, ((const struct opt_double *)p)->value);
        break;
    case SHAPE_BOOL:
        buf_append(body, ((const struct opt_bool *)p)->value ? S("true") : S("false"));
        break;
    case SHAPE_TIME:
        put_time(body, ((const struct opt_time *)p)->ms);
        break;
    }
}

static void put_items(const struct service *service, const struct shape *shape, const struct any_list *list,
                      struct str name, struct buf *body)
{
    const struct shape *element = &service->shapes[shape->element];

    for (size_t i = 0; i < list->count; i++) {
        put_open(body, name);
        put_value(service, element, (const char *)list->items + i * element->size, body);
        put_close(body, name);
    }
}

static void put_list(const struct service *service, const struct shape *shape, const struct any_list *list,
                     struct buf *body)
{
    put_items(service, shape, list, service_name(service, shape->item), body);
}

/* What a member that is always sent holds when nothing was set. */
static void put_nothing(const struct shape *shape, struct buf *body)
{
    if (shape->kind == SHAPE_BOOL)
        buf_append(body, S("false"));
    else if (shape->kind == SHAPE_INT || shape->kind == SHAPE_LONG || shape->kind == SHAPE_DOUBLE)
        buf_byte(body, '0');
}

/*
 * Every kind but the numbers and times begins with a pointer that is NULL when it is absent; those hold their flag
 * behind the value. This is asked of every member of every answer, so it does without a switch.
 */
static inline bool is_present(const struct shape *shape, const char *at)
{
    return shape->kind <= SHAPE_BLOB ? *(const void *const *)at != NULL : shape_present(shape, at);
}

static void put_struct(const struct service *service, const struct shape *shape, const void *p, struct buf *body)
{
    const struct member *member = service->members + shape->first, *end = member + shape->count;

    if (shape->flags & SHAPE_KEPT) {
        struct str kept = *(const struct str *)((const char *)p + end[-1].offset);
        if (kept.p) {
            buf_append(body, kept);
            return;
        }
    }
    for (; member < end; member++) {
        const struct shape *inner = &service->shapes[member->shape];
        const char *at = (const char *)p + member->offset;
        bool present = is_present(inner, at);
        struct str name;

        if (!(present || (member->flags & MEMBER_ALWAYS)) || (member->flags & MEMBER_PRIVATE))
            continue;
        name = service_name(service, member->out);
        if (inner->kind == SHAPE_STRING) {
            put_element(body, name, *(const struct str *)at);
            continue;
        }
        if (inner->flags & SHAPE_FLATTENED) {
            put_items(service, inner, (const struct any_list *)at, name, body);
            continue;
        }
        put_open(body, name);
        if (present)
            put_value(service, inner, inner->kind == SHAPE_STRUCT ? *(const void *const *)at : at, body);
        else
            put_nothing(inner, body);
        put_close(body, name);
    }
}

static const struct str prolog = {"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", 39};

static void put_root(struct buf *body, struct str operation, const char *xmlns)
{
    buf_append(body, prolog);
    buf_byte(body, '<');
    buf_append(body, operation);
    buf_append(body, S("Response xmlns=\""));
    buf_append(body, str_of(xmlns));
    buf_append(body, S("\">"));
}

void codec_content(const struct service *service, const struct shape *shape, const void *structure, struct buf *out)
{
    put_struct(service, shape, structure, out);
}

/*
 * The ec2 protocol puts the request's id first and the members beside it, and an operation without output answers
 * <return>; the query protocol wraps the members in a result and puts the id behind them.
 */
void codec_begin(const struct service *service, const struct operation *operation, struct str request_id,
                 struct buf *body)
{
    struct str result = service_name(service, operation->result);

    put_root(body, service_name(service, operation->name), service->xmlns);
    if (service->protocol == PROTOCOL_QUERY) {
        if (result.len)
            put_open(body, result);
        return;
    }
    put_element(body, S("requestId"), request_id);
    if (operation->output == NO_SHAPE)
        buf_append(body, S("<return>true</return>"));
}

void codec_end(const struct service *service, const struct operation *operation, struct str request_id,
               struct buf *body)
{
    struct str result = service_name(service, operation->result);

    if (service->protocol == PROTOCOL_QUERY) {
        if (result.len)
            put_close(body, result);
        buf_append(body, S("<ResponseMetadata>"));
        put_element(body, S("RequestId"), request_id);
        buf_append(body, S("</ResponseMetadata>"));
    }
    buf_append(body, S("</"));
    buf_append(body, service_name(service, operation->name));
    buf_append(body, S("Response>"));
}

static void error_ec2(const struct aws_error *error, struct str message, struct str request_id, struct buf *body)
{
    buf_append(body, S("<Response><Errors><Error>"));
    put_element(body, S("Code"), str_of(error->code));
    put_element(body, S("Message"), message);
    buf_append(body, S("</Error></Errors>"));
    put_element(body, S("RequestID"), request_id);
    buf_append(body, S("</Response>"));
}

static void error_query(const char *xmlns, const struct aws_error *error, struct str message, struct str request_id,
                        struct buf *body)
{
    buf_printf(body, "<ErrorResponse xmlns=\"%s\"><Error><Type>%s</Type>", xmlns,
               error->status < 500 ? "Sender" : "Receiver");
    put_element(body, S("Code"), str_of(error->code));
    put_element(body, S("Message"), message);
    buf_append(body, S("</Error>"));
    put_element(body, S("RequestId"), request_id);
    buf_append(body, S("</ErrorResponse>"));
}

void codec_error(const struct service *service, const struct aws_error *error, struct str message,
                 struct str request_id, struct buf *body)
{
    buf_append(body, prolog);
    if (service->protocol == PROTOCOL_EC2)
        error_ec2(error, message, request_id, body);
    else
        error_query(service->xmlns, error, message, request_id, body);
}

struct str codec_content_type(const struct service *service)
{
    (void)service; /* both protocols that are built speak XML */
    return S("text/xml;charset=UTF-8");
}
