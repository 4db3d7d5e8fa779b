/*
 * Requests of the ec2 and query protocols, over descriptors: a form whose names are paths (Filter.1.Value.2).
 * The two differ in the names that the model compiler wrote and in how lists are framed. Answers: codec.h.
 */
#pragma once

#include "aws/error.h"
#include "aws/form.h"
#include "aws/shape.h"

/*
 * Fills `in`, a zeroed struct of the operation's input shape. Action, Version and what signs a request are
 * passed over. Raises UnknownParameter, InvalidParameterValue (text that is no number …), MalformedQueryString.
 */
int query_decode(const struct service *service, const struct operation *operation, struct form *form,
                 struct arena *arena, void *in, struct err *err);
