/* AWS's error codes: each a constant of the generated errors.h, from models/errors. */
#pragma once

#include "base/err.h"

struct aws_error {
    const char *code; /* "InvalidVpcID.NotFound" */
    int status;       /* HTTP's */
};
