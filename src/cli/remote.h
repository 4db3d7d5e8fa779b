/*
 * The server that a command speaks to: --endpoint, else HAAR_ENDPOINT, else http://127.0.0.1:4566. Blocking.
 *
 * Privileged paths need its token. That is HAAR_TOKEN, else the one beside the lock of the server that says by
 * /_haar/health who it is: only from a folder in /run/haar whose lock is held and that names this very endpoint, so
 * that no other program on a port gets a token that is not its own.
 */
#pragma once

#include "base/err.h"
#include "http/client.h"

struct remote {
    struct str endpoint; /* without a final / */
    struct str region;   /* of API calls */
    struct arena arena;
};

/* What each command's flags set. */
struct remote_options {
    struct str endpoint, region;
};

void remote_open(struct remote *remote, const struct remote_options *options);
void remote_close(struct remote *remote);

struct remote_ask {
    const char *method;
    struct str path; /* "/_haar/…" */
    struct str body;
    struct str upgrade;
    bool privileged;
    bool (*on_body)(void *cookie, struct str piece);
    void *cookie;
};

/* One of the server's own paths. Any status but 2xx (101 with upgrade) is a failure, its reason in err. */
int remote_ask(struct remote *remote, const struct remote_ask *ask, struct http_reply *reply, struct err *err);

/* An operation of EC2. `form` is its parameters, urlencoded, without Version. */
int remote_ec2(struct remote *remote, struct str form, struct http_reply *reply, struct err *err);
void form_add(struct buf *form, const char *name, struct str value); /* percent-encoded */

/* The text of the first element of that name; absent without one. Entities are replaced, in the arena. */
struct str xml_text(struct arena *arena, struct str xml, const char *name);
