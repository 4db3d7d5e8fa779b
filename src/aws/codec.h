/*
 * Protocols, one a row: what a service speaks. The envelope (ids, namespaces) is apart from the content, so
 * that an answer's content can be kept and sent again under another request's id.
 */
#pragma once

#include "aws/error.h"
#include "aws/shape.h"
#include "base/buf.h"

/* The members of a structure, as the protocol writes them. */
void codec_content(const struct service *service, const struct shape *shape, const void *structure, struct buf *out);
/* An answer: its envelope's beginning, the output's content (by codec_content, or kept), its end. */
void codec_begin(const struct service *service, const struct operation *operation, struct str request_id,
                 struct buf *body);
void codec_end(const struct service *service, const struct operation *operation, struct str request_id,
               struct buf *body);
void codec_error(const struct service *service, const struct aws_error *error, struct str message,
                 struct str request_id, struct buf *body);
struct str codec_content_type(const struct service *service);
