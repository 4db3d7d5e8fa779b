/*
 * From llhttp's callbacks to a request. llhttp tokenises; what makes two servers disagree about where a message
 * ends is checked here again, whatever version of llhttp is below: bare CR or LF, folded lines, repeated or odd
 * Content-Length and Transfer-Encoding, Host. (RFC 9112, sections 2.2, 3, 5, 6.)
 */
#include "base/mem.h"
#include "http/connection.h"

static struct http_connection *connection_of(llhttp_t *parser)
{
    return parser->data;
}

static int refuse(struct http_exchange *x, int status)
{
    x->refusal = status;
    return HPE_USER;
}

/* Pieces of one token come in a row, for `in` is contiguous. False when `at` does not follow. */
static bool extend(struct str *s, const char *at, size_t len)
{
    if (s->p && s->p + s->len != at)
        return false;
    if (!s->p)
        s->p = at;
    s->len += len;
    return true;
}

static int on_message_begin(llhttp_t *parser)
{
    if (!connection_of(parser)->exchange)
        exchange_begin(connection_of(parser));
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct http_connection *c = connection_of(parser);

    if (!extend(&c->exchange->target, at, len))
        return refuse(c->exchange, 400);
    if (c->exchange->target.len > c->server->limits.uri_bytes)
        return refuse(c->exchange, 414);
    return 0;
}

static int on_trailer(struct http_connection *c, size_t len)
{
    c->exchange->trailer_bytes += len;
    return c->exchange->trailer_bytes > c->server->limits.header_bytes ? refuse(c->exchange, 431) : 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
    struct http_connection *c = connection_of(parser);
    struct http_exchange *x = c->exchange;
    size_t count = x->request.header_count;

    if (c->phase == PHASE_BODY)
        return on_trailer(c, len + 4); /* and ": \r\n" */
    if (count && extend(&x->headers[count - 1].name, at, len))
        return 0;
    if (count == c->server->limits.header_count)
        return refuse(x, 431);
    x->headers[count] = (struct http_header){.name = {at, len}};
    x->request.header_count++;
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
    struct http_connection *c = connection_of(parser);
    struct http_exchange *x = c->exchange;

    if (c->phase == PHASE_BODY)
        return on_trailer(c, len);
    if (!x->request.header_count || !extend(&x->headers[x->request.header_count - 1].value, at, len))
        return refuse(x, 400);
    return 0;
}

static bool has_body(const llhttp_t *parser)
{
    return parser->flags & F_CHUNKED || parser->content_length > 0;
}

/* Without a body, on_message_complete follows at once. */
static int on_headers_complete(llhttp_t *parser)
{
    if (!has_body(parser))
        return 0;
    connection_of(parser)->exchange->head_complete = true;
    return HPE_PAUSED;
}

static int on_body_streamed(struct http_connection *c, struct str piece)
{
    struct http_exchange *x = c->exchange;
    const struct http_handler *handler = &c->listener->handler;

    if (handler->on_body && !handler->on_body(handler->cookie, &x->request, piece) && !x->finished)
        x->paused = true;
    return x->paused || x->finished || c->phase != PHASE_BODY ? HPE_PAUSED : 0;
}

/* Room for a body that stops being contiguous in `in`: never more than twice what came, whatever was announced. */
static void spill(struct http_connection *c, struct str piece)
{
    struct http_exchange *x = c->exchange;
    struct str have = x->request.body;

    if (!x->body.len && have.len)
        buf_append(&x->body, have);
    buf_append(&x->body, piece);
    x->request.body = buf_str(&x->body);
}

static bool lies_in(const struct buf *buf, const char *p)
{
    return buf->p && p >= buf->p && p < buf->p + buf->len;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct http_connection *c = connection_of(parser);
    struct http_exchange *x = c->exchange;

    x->body_seen += len;
    if (x->streamed)
        return on_body_streamed(c, (struct str){at, len});
    if (x->body_seen > c->server->limits.body_bytes)
        return refuse(x, 413);
    if (lies_in(&c->in, at) && !x->body.len &&
        (!x->request.body.len || x->request.body.p + x->request.body.len == at)) {
        x->request.body = (struct str){x->request.body.len ? x->request.body.p : at, x->request.body.len + len};
        return 0;
    }
    if (server_is_full(c->server, len))
        return refuse(x, 503);
    spill(c, (struct str){at, len});
    return 0;
}

static int on_extension(llhttp_t *parser, const char *at, size_t len)
{
    struct http_exchange *x = connection_of(parser)->exchange;

    x->extension_bytes += len + 1;
    return x->extension_bytes > EXTENSION_MAX ? refuse(x, 400) : 0;
}

static int on_message_complete(llhttp_t *parser)
{
    connection_of(parser)->exchange->complete = true;
    return HPE_PAUSED;
}

const llhttp_settings_t parse_settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_message_complete = on_message_complete,
};

static void rebase(struct str *s, const char *old, const char *new)
{
    if (s->p)
        s->p = new + (s->p - old);
}

/* `in` has moved from `old` while the head was being parsed. */
void parse_rebase(struct http_connection *c, const char *old)
{
    struct http_exchange *x = c->exchange;

    rebase(&x->target, old, c->in.p);
    for (size_t i = 0; i < x->request.header_count; i++) {
        rebase(&x->headers[i].name, old, c->in.p);
        rebase(&x->headers[i].value, old, c->in.p);
    }
}

/* Every line ends in CRLF, no CR or LF stands elsewhere, no line is folded, no NUL. */
static bool lines_are_clean(struct str head)
{
    const char *at = head.p, *end = head.p + head.len;

    if (memchr(at, 0, head.len))
        return false;
    while (at < end) {
        const char *cr = memchr(at, '\r', (size_t)(end - at));

        if (!cr || cr + 1 == end || cr[1] != '\n' || memchr(at, '\n', (size_t)(cr - at)))
            return false;
        at = cr + 2;
        if (at < end && (*at == ' ' || *at == '\t'))
            return false;
    }
    return true;
}

/* "METHOD target HTTP/1.x", one blank each. Gives where it starts: llhttp has skipped empty lines before. */
static bool request_line_is_clean(struct http_exchange *x, const char *in, const char *end, const char **ret_start)
{
    struct str target = x->target, method = x->request.method;
    const char *start = target.p - 1 - method.len, *after = target.p + target.len;

    if (start < in || memcmp(start, method.p, method.len) != 0 || target.p[-1] != ' ')
        return false;
    if (end - after < 11 || memcmp(after, " HTTP/1.", 8) != 0 || after[9] != '\r')
        return false;
    *ret_start = start;
    return true;
}

/* Into path and query; of "http://authority/path" the authority is the host (RFC 9112, 3.2.2). */
static bool split_target(struct http_exchange *x)
{
    struct http_request *request = &x->request;
    struct str target = x->target;

    if (target.p[0] != '/') {
        if (str_equal(target, S("*")) && str_equal(request->method, S("OPTIONS"))) {
            request->path = target;
            return true;
        }
        if (!str_starts(target, S("http://")))
            return false;
        target = str_skip(target, 7);
        size_t length = 0;
        while (length < target.len && target.p[length] != '/' && target.p[length] != '?')
            length++;
        request->host = str_first(target, length);
        target = str_skip(target, length);
        if (request->host.len == 0)
            return false;
    }
    request->query = target;
    request->path = str_cut(&request->query, '?');
    if (request->path.len == 0)
        request->path = S("/");
    return !memchr(x->target.p, '#', x->target.len);
}

struct framing {
    struct str host, length, coding, expect;
    bool malformed; /* one of these came twice, or a header has no name */
};

static void note(struct str *slot, struct str value, bool *malformed)
{
    if (slot->p)
        *malformed = true;
    *slot = value;
}

static void find_framing(struct http_exchange *x, struct framing *framing)
{
    for (size_t i = 0; i < x->request.header_count; i++) {
        struct http_header *header = &x->headers[i];

        if (!header->value.p)
            header->value = S("");
        header->value = str_trim(header->value);
        switch (header->name.len) {
        case 0:
            framing->malformed = true; /* llhttp lets ": value" pass */
            break;
        case 4:
            if (str_equal_nocase(header->name, S("host")))
                note(&framing->host, header->value, &framing->malformed);
            break;
        case 6:
            if (str_equal_nocase(header->name, S("expect")))
                note(&framing->expect, header->value, &framing->malformed);
            break;
        case 14:
            if (str_equal_nocase(header->name, S("content-length")))
                note(&framing->length, header->value, &framing->malformed);
            break;
        case 17:
            if (str_equal_nocase(header->name, S("transfer-encoding")))
                note(&framing->coding, header->value, &framing->malformed);
            break;
        }
    }
}

static bool is_digits(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.len > 0;
}

static bool framing_is_clean(const struct framing *framing, bool http_1_1)
{
    if (framing->malformed || (framing->length.p && framing->coding.p))
        return false;
    if (framing->length.p && !is_digits(framing->length))
        return false;
    if (framing->coding.p && (!http_1_1 || !str_equal_nocase(framing->coding, S("chunked"))))
        return false;
    if (!framing->host.p)
        return !http_1_1;
    return !memchr(framing->host.p, ' ', framing->host.len) && !memchr(framing->host.p, ',', framing->host.len);
}

int parse_head(struct http_connection *c)
{
    struct http_exchange *x = c->exchange;
    struct http_request *request = &x->request;
    const char *end = c->in.p + c->at, *start;
    struct framing framing = {0};
    bool http_1_1 = c->parser.http_minor == 1;

    request->method = str_of(llhttp_method_name(c->parser.method));
    if (c->parser.http_major != 1 || c->parser.http_minor > 1)
        return 505;
    if (c->parser.method == HTTP_CONNECT)
        return 405;
    if (!x->target.len || !request_line_is_clean(x, c->in.p + c->start, end, &start) ||
        !lines_are_clean((struct str){start, (size_t)(end - start)}))
        return 400;
    find_framing(x, &framing);
    if (!framing_is_clean(&framing, http_1_1) || !split_target(x))
        return 400;
    if (!request->host.p)
        request->host = framing.host;
    request->upgrade_asked = c->parser.upgrade && http_1_1;
    c->keep = llhttp_should_keep_alive(&c->parser);
    if (framing.expect.p && http_1_1) {
        x->expects = str_equal_nocase(framing.expect, S("100-continue"));
        return x->expects ? 0 : 417;
    }
    return 0;
}
