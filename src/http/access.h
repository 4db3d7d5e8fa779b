/*
 * Who may call. haar runs as root and listens without a password, so a web page must not reach it: neither by
 * its own origin nor by a name that it made resolve here (DNS rebinding). Pure functions.
 *
 * What a page can send without asking first (a preflight, which gets no leave here) is GET, HEAD and POST, with any
 * query and any body, and no Authorization header. With POST browsers always send Origin, to any address; with GET (an
 * image, a script, a link) they send Sec-Fetch-Site, but only to https and to loopback: on plain http elsewhere such a
 * GET says nothing of where it comes from. So an Origin, or a Sec-Fetch-Site other than same-origin and none, is
 * refused, unless the origin is allowed; AWS's calls that change something need the Authorization header, which AWS's
 * clients send with every call: whatever stands in a query or a form, a made-up signature too, may only read
 * (access_may_write); the server's own paths that change something take POST only. Source: Fetch standard,
 * "CORS-safelisted request-header", "append a request Origin header"; W3C Fetch Metadata.
 */
#pragma once

#include "http/request.h"

struct access_config {
    const struct str
        *allowed_hosts; /* HAAR_ALLOWED_HOSTS: names, case ignored; "*.example.org" takes its subdomains; "*" any */
    size_t allowed_host_count;
    const struct str *allowed_origins; /* HAAR_ALLOWED_ORIGINS: "https://app.example.org"; "*" takes any */
    size_t allowed_origin_count;
    struct str self_host; /* the self URL's host, without port; absent if none */
    struct str token;     /* what Haar-Token must be; absent: nothing matches */
};

enum access_verdict {
    ACCESS_ALLOWED,
    ACCESS_HOST_DENIED,
    ACCESS_ORIGIN_DENIED, /* Origin, or Sec-Fetch-Site */
    ACCESS_TOKEN_MISSING, /* where one is needed */
};

/*
 * May this caller speak to the API at all? Host must be an IP address, localhost, *.localhost, host.docker.internal,
 * the self host or allowed; Origin, when sent, allowed; Sec-Fetch-Site, when sent, same-origin or none (but from an
 * allowed Origin).
 * HTTP/1.0 without Host passes: no browser sends that.
 */
enum access_verdict access_check(const struct access_config *config, const struct http_request *request);

/* The same without the checks of Origin and Sec-Fetch-Site: for function URLs, which web pages may call. */
enum access_verdict access_check_host(const struct access_config *config, const struct http_request *request);

/*
 * May it change something (once access_check has let it in)? It carries AWS's Authorization header, or comes from a
 * page that is allowed.
 */
bool access_may_write(const struct access_config *config, const struct http_request *request);

/* Does it carry the token (Haar-Token)? In constant time. */
bool access_has_token(const struct access_config *config, const struct http_request *request);

/*
 * For the server's own paths (/_haar/…, and their aliases): beyond loopback all but health need the token.
 * `is_health`: the path is a health check's. `needs_token`: it executes, or names a path of the host.
 */
enum access_verdict access_check_own(const struct access_config *config, const struct http_request *request,
                                     bool is_health, bool needs_token);

/* One sentence for the answer's body (status 403). */
struct str access_text(enum access_verdict verdict);
