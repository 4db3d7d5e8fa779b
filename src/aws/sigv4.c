#include "aws/sigv4.h"

#include "errors.h"

static int malformed(struct err *err)
{
    return err_aws(err, &AWS_INCOMPLETE_SIGNATURE, "The request signature does not conform to AWS standards.");
}

/* AKID/20261125/us-east-1/ec2/aws4_request */
static int parse_credential(struct str credential, struct sigv4_scope *ret, struct err *err)
{
    struct sigv4_scope scope;

    scope.access_key = str_cut(&credential, '/');
    scope.date = str_cut(&credential, '/');
    scope.region = str_cut(&credential, '/');
    scope.service = str_cut(&credential, '/');
    if (scope.access_key.len == 0 || scope.date.len != 8 || scope.region.len == 0 || scope.service.len == 0 ||
        !str_equal(credential, S("aws4_request")))
        return malformed(err);
    *ret = scope;
    return 0;
}

/* Credential=…, SignedHeaders=…, Signature=…: in any order, all three. */
static int parse_header(struct str header, struct sigv4_scope *ret, struct err *err)
{
    struct str credential = {0}, signed_headers = {0}, signature = {0};

    while (header.len) {
        struct str value = str_trim(str_cut(&header, ',')), name = str_cut(&value, '=');
        if (str_equal(name, S("Credential")))
            credential = value;
        else if (str_equal(name, S("SignedHeaders")))
            signed_headers = value;
        else if (str_equal(name, S("Signature")))
            signature = value;
    }
    if (credential.len == 0 || signed_headers.len == 0 || signature.len == 0)
        return malformed(err);
    return parse_credential(credential, ret, err);
}

int sigv4_scope(struct str authorization, const struct form *form, struct sigv4_scope *ret, struct err *err)
{
    static const struct str scheme = {"AWS4-HMAC-SHA256 ", 17};
    struct str credential;

    if (authorization.p) {
        if (!str_starts(authorization, scheme))
            return malformed(err);
        return parse_header(str_skip(authorization, scheme.len), ret, err);
    }
    credential = form_get(form, S("X-Amz-Credential"));
    if (!credential.p)
        return err_aws(err, &AWS_MISSING_AUTHENTICATION_TOKEN, "Request is missing Authentication Token");
    if (!form_get(form, S("X-Amz-Signature")).p)
        return malformed(err);
    return parse_credential(credential, ret, err);
}
