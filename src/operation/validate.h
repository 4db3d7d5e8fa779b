/* What the model says of an input, held for every operation alike: required members, enums, ranges. */
#pragma once

#include "aws/shape.h"
#include "base/err.h"

/* Raises MissingParameter, InvalidParameterValue. */
int validate_input(const struct service *service, const struct shape *shape, const void *in, struct err *err);
