/*
 * Who calls, as Signature Version 4 says it: the scope of an Authorization header or of a presigned query
 * string. haar takes any credentials, so the signature itself is not checked here; what must have a form
 * has it. Source: "AWS Signature Version 4 for API requests", IAM user guide.
 */
#pragma once

#include "aws/form.h"

struct sigv4_scope {
    struct str access_key, date, region, service; /* views into the request */
};

/*
 * `authorization`: the header, absent if there is none. Raises MissingAuthenticationToken when neither it nor
 * the form carries a credential, IncompleteSignature when one is malformed.
 */
int sigv4_scope(struct str authorization, const struct form *form, struct sigv4_scope *ret, struct err *err);
