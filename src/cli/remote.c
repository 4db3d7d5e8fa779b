#include "cli/remote.h"

#include "base/fd.h"
#include "base/mem.h"
#include "cli/token.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

void remote_open(struct remote *remote, const struct remote_options *options)
{
    const char *endpoint = getenv("HAAR_ENDPOINT"), *region = getenv("HAAR_REGION");

    *remote = (struct remote){.endpoint = options->endpoint, .region = options->region};
    if (!remote->endpoint.len)
        remote->endpoint = endpoint && *endpoint ? str_of(endpoint) : S("http://127.0.0.1:4566");
    while (str_ends(remote->endpoint, S("/")))
        remote->endpoint.len--;
    if (!remote->region.len)
        remote->region = region && *region ? str_of(region) : S("us-east-1");
}

void remote_close(struct remote *remote)
{
    arena_free(&remote->arena);
}

static int call(struct remote *remote, struct http_call *call, struct str path, struct http_reply *reply,
                struct err *err)
{
    int r;

    call->url = arena_printf(&remote->arena, STR_FMT STR_FMT, STR_ARG(remote->endpoint), STR_ARG(path));
    r = http_call(call, reply, err);
    if (r < 0 && err->number == ECONNREFUSED)
        return err_plain(err, "nothing answers at " STR_FMT "; haar serve starts a server, --endpoint names another",
                         STR_ARG(remote->endpoint));
    return r < 0 ? err_wrap(err, STR_FMT, STR_ARG(remote->endpoint)) : 0;
}

/* Our own paths tell failures as {"error": …, "code": …}, or as a line of text. */
static int tell_failure(const struct http_reply *reply, struct err *err)
{
    json_t *json = json_loadb(reply->body.p ? reply->body.p : "", reply->body.len, 0, NULL);
    const char *text = json_string_value(json_object_get(json, "error"));
    const char *code = json_string_value(json_object_get(json, "code"));

    if (text)
        err_plain(err, "%s%s%s%s", text, code ? " (" : "", code ? code : "", code ? ")" : "");
    else
        err_plain(err, "the server answered %d: " STR_FMT, reply->status,
                  STR_ARG(str_first(str_trim(buf_str(&reply->body)), 400)));
    json_decref(json);
    return -1;
}

/* Of health, who it is that answers there; absent when it does not say. */
static struct str ask_owner(struct remote *remote)
{
    AUTO_HTTP_REPLY reply = HTTP_REPLY_INIT;
    struct http_call health = {.method = S("GET"), .silence_ms = 10000};
    struct str owner = {0};
    struct err ignored = ERR_INIT;
    json_t *json;

    if (call(remote, &health, S("/_haar/health"), &reply, &ignored) < 0 || reply.status != 200)
        return owner;
    json = json_loadb(reply.body.p ? reply.body.p : "", reply.body.len, 0, NULL);
    if (json_is_string(json_object_get(json, "owner")))
        owner = arena_str(&remote->arena, str_of(json_string_value(json_object_get(json, "owner"))));
    json_decref(json);
    return owner;
}

static struct str find_token(struct remote *remote)
{
    const char *given = getenv("HAAR_TOKEN");
    struct str owner;

    if (given && *given)
        return str_of(given);
    owner = ask_owner(remote);
    return owner.p ? token_read(&remote->arena, owner, remote->endpoint) : (struct str){0};
}

/* A server that has just started answers before it knows its machines: tens of milliseconds, a second with hundreds. */
static bool is_starting(const struct http_reply *reply)
{
    return reply->status == 503 && str_contains(buf_str(&reply->body), S("\"BackendStarting\""));
}

static int call_started(struct remote *remote, struct http_call *http, struct str path, struct http_reply *reply,
                        struct err *err)
{
    enum { LIMIT_MS = 10000, PAUSE_MS = 50 };
    int r = call(remote, http, path, reply, err);

    for (int waited = 0; r == 0 && is_starting(reply) && waited < LIMIT_MS; waited += PAUSE_MS) {
        http_reply_free(reply);
        *reply = HTTP_REPLY_INIT;
        usleep(PAUSE_MS * 1000);
        r = call(remote, http, path, reply, err);
    }
    return r;
}

int remote_ask(struct remote *remote, const struct remote_ask *ask, struct http_reply *reply, struct err *err)
{
    struct http_header headers[2] = {{S("Content-Type"), S("application/json")}};
    struct http_call http = {.method = str_of(ask->method),
                             .headers = headers,
                             .header_count = 1,
                             .body = ask->body,
                             .upgrade = ask->upgrade,
                             .on_body = ask->on_body,
                             .cookie = ask->cookie};
    struct str token = ask->privileged ? find_token(remote) : (struct str){0};
    int r;

    if (token.len)
        headers[http.header_count++] = (struct http_header){S("Haar-Token"), token};
    r = call_started(remote, &http, ask->path, reply, err);
    if (r < 0)
        return r;
    if (reply->status == 403 && !token.len)
        return err_plain(err, "the server's token cannot be read here: run this as root where the server runs, or set "
                              "HAAR_TOKEN");
    if (reply->status == (ask->upgrade.p ? 101 : 200))
        return 0;
    return tell_failure(reply, err);
}

void form_add(struct buf *form, const char *name, struct str value)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";

    buf_printf(form, "%s%s=", form->len ? "&" : "", name);
    for (size_t i = 0; i < value.len; i++) {
        if (value.p[i] && strchr(plain, value.p[i]))
            buf_byte(form, value.p[i]);
        else
            buf_printf(form, "%%%02X", (unsigned char)value.p[i]);
    }
}

/* The server takes any credentials; what it needs is the scope. */
static struct str authorization(struct remote *remote)
{
    return arena_printf(&remote->arena,
                        "AWS4-HMAC-SHA256 Credential=haar/20260101/" STR_FMT "/ec2/aws4_request, "
                        "SignedHeaders=host, Signature=%064d",
                        STR_ARG(remote->region), 0);
}

int remote_ec2(struct remote *remote, struct str form, struct http_reply *reply, struct err *err)
{
    struct http_header headers[] = {{S("Content-Type"), S("application/x-www-form-urlencoded")},
                                    {S("Authorization"), authorization(remote)}};
    struct http_call http = {.method = S("POST"), .headers = headers, .header_count = ARRAY_LEN(headers)};
    struct str code, message;
    int r;

    http.body = arena_printf(&remote->arena, STR_FMT "&Version=2016-11-15", STR_ARG(form));
    r = call(remote, &http, S("/"), reply, err);
    if (r < 0 || reply->status == 200)
        return r;
    code = xml_text(&remote->arena, buf_str(&reply->body), "Code");
    message = xml_text(&remote->arena, buf_str(&reply->body), "Message");
    if (!code.p)
        return tell_failure(reply, err);
    return err_plain(err, STR_FMT " (" STR_FMT ")", STR_ARG(message), STR_ARG(code));
}

static struct str replace_entities(struct arena *arena, struct str text)
{
    static const struct {
        struct str entity;
        char c;
    } entities[] = {{S("&lt;"), '<'}, {S("&gt;"), '>'}, {S("&quot;"), '"'}, {S("&apos;"), '\''}, {S("&amp;"), '&'}};
    char *out = arena_alloc(arena, text.len + 1);
    size_t len = 0;

    while (text.len) {
        size_t i = 0;

        while (i < ARRAY_LEN(entities) && !str_starts(text, entities[i].entity))
            i++;
        out[len++] = i < ARRAY_LEN(entities) ? entities[i].c : text.p[0];
        text = str_skip(text, i < ARRAY_LEN(entities) ? entities[i].entity.len : 1);
    }
    return (struct str){out, len};
}

struct str xml_text(struct arena *arena, struct str xml, const char *name)
{
    struct str open = arena_printf(arena, "<%s>", name), text;
    const char *at = xml.len ? memmem(xml.p, xml.len, open.p, open.len) : NULL, *end;

    if (!at)
        return (struct str){0};
    text = (struct str){at + open.len, (size_t)(xml.p + xml.len - at) - open.len};
    end = memchr(text.p, '<', text.len);
    if (end)
        text.len = (size_t)(end - text.p);
    return replace_entities(arena, text);
}
