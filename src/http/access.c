#include "http/access.h"

#include "base/mem.h"

#include <arpa/inet.h>

static bool is_digits(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return true;
}

static bool is_address(int family, struct str s)
{
    unsigned char bytes[16];
    char text[64];

    return str_to_z(s, text, sizeof text) && inet_pton(family, text, bytes) == 1;
}

/* Takes ":PORT" and a final dot from a Host. False when it is no host at all. *ret_v6: it was [bracketed]. */
static bool host_name(struct str host, struct str *ret, bool *ret_v6)
{
    *ret_v6 = host.len && host.p[0] == '[';
    if (*ret_v6) {
        struct str inner = str_skip(host, 1);

        *ret = str_cut(&inner, ']');
        return inner.p && (inner.len == 0 || (inner.p[0] == ':' && is_digits(str_skip(inner, 1))));
    }
    *ret = str_cut(&host, ':');
    if (ret->len && ret->p[ret->len - 1] == '.')
        ret->len--;
    return ret->len > 0 && is_digits(host); /* a second ':' is no digit */
}

static bool is_below(struct str name, struct str domain_with_dot)
{
    return name.len > domain_with_dot.len &&
           str_equal_nocase(str_skip(name, name.len - domain_with_dot.len), domain_with_dot);
}

static bool is_allowed_host(const struct access_config *config, struct str name)
{
    for (size_t i = 0; i < config->allowed_host_count; i++) {
        struct str allowed = config->allowed_hosts[i];

        if (str_equal(allowed, S("*")) || str_equal_nocase(allowed, name))
            return true;
        if (str_starts(allowed, S("*.")) && is_below(name, str_skip(allowed, 1)))
            return true;
    }
    return false;
}

static bool host_passes(const struct access_config *config, struct str host)
{
    struct str name;
    bool v6;

    if (!host.p)
        return true; /* HTTP/1.0 without Host: the parser refuses that in 1.1 */
    if (!host_name(host, &name, &v6))
        return false;
    if (v6)
        return is_address(AF_INET6, name);
    return is_address(AF_INET, name) || str_equal_nocase(name, S("localhost")) || is_below(name, S(".localhost")) ||
           str_equal_nocase(name, S("host.docker.internal")) ||
           (config->self_host.len && str_equal_nocase(name, config->self_host)) || is_allowed_host(config, name);
}

static bool is_allowed_origin(const struct access_config *config, struct str origin)
{
    for (size_t i = 0; i < config->allowed_origin_count; i++)
        if (str_equal(config->allowed_origins[i], S("*")) || str_equal_nocase(config->allowed_origins[i], origin))
            return true;
    return false;
}

/* What a browser says of who makes it fetch. A page of another port or subdomain is "same-site", and another's. */
static bool is_own_site(struct str site)
{
    return str_equal_nocase(site, S("same-origin")) || str_equal_nocase(site, S("none"));
}

/* Every Origin counts, should there be more than one. An allowed one explains a fetch from another site. */
static bool origin_passes(const struct access_config *config, const struct http_request *request)
{
    bool allowed = false, other_site = false;

    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];

        if (str_equal_nocase(header->name, S("origin"))) {
            if (!is_allowed_origin(config, header->value))
                return false;
            allowed = true;
        } else if (str_equal_nocase(header->name, S("sec-fetch-site"))) {
            other_site |= !is_own_site(header->value);
        }
    }
    return allowed || !other_site;
}

enum access_verdict access_check_host(const struct access_config *config, const struct http_request *request)
{
    return host_passes(config, request->host) ? ACCESS_ALLOWED : ACCESS_HOST_DENIED;
}

enum access_verdict access_check(const struct access_config *config, const struct http_request *request)
{
    if (!host_passes(config, request->host))
        return ACCESS_HOST_DENIED;
    return origin_passes(config, request) ? ACCESS_ALLOWED : ACCESS_ORIGIN_DENIED;
}

/* "Basic" is no proof: a URL with a password in it makes a browser send that. */
bool access_may_write(const struct access_config *config, const struct http_request *request)
{
    struct str origin = http_header(request, S("origin"));

    return str_starts(http_header(request, S("authorization")), S("AWS")) ||
           (origin.p && is_allowed_origin(config, origin));
}

/* The time depends on the lengths only. */
static bool equal_in_constant_time(struct str a, struct str b)
{
    unsigned char difference = 0;

    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        difference |= (unsigned char)(a.p[i] ^ b.p[i]);
    return *(volatile unsigned char *)&difference == 0;
}

bool access_has_token(const struct access_config *config, const struct http_request *request)
{
    struct str token = http_header(request, S("haar-token"));

    return config->token.len && token.p && equal_in_constant_time(token, config->token);
}

enum access_verdict access_check_own(const struct access_config *config, const struct http_request *request,
                                     bool is_health, bool needs_token)
{
    enum access_verdict verdict = access_check(config, request);

    if (verdict != ACCESS_ALLOWED)
        return verdict;
    if (!needs_token && (is_health || request->peer_is_loopback))
        return ACCESS_ALLOWED;
    return access_has_token(config, request) ? ACCESS_ALLOWED : ACCESS_TOKEN_MISSING;
}

struct str access_text(enum access_verdict verdict)
{
    switch (verdict) {
    case ACCESS_ALLOWED:
        return S("Allowed.");
    case ACCESS_HOST_DENIED:
        return S("This name is not one of the server's. HAAR_ALLOWED_HOSTS can allow it.");
    case ACCESS_ORIGIN_DENIED:
        return S("Web pages may not call this server. HAAR_ALLOWED_ORIGINS can allow an origin.");
    case ACCESS_TOKEN_MISSING:
        return S("This call needs the header Haar-Token.");
    }
    return S("");
}
