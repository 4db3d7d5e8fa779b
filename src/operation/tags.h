/*
 * Tags, for every tagged kind. Rules of "Tag your Amazon EC2 resources": at most 50 a resource, keys to 128 characters,
 * values to 256, keys do not begin with aws:, no key twice.
 */
#pragma once

#include "operation/call.h"

struct ec2_tag_list;
struct ec2_tag_specification_list;

/* The tags that the request's TagSpecifications give to a new resource of `type` ("instance"); others' types pass when
 * they are in `also` (a list ending in NULL; may be NULL), else InvalidParameterValue. */
int tags_specified(struct call *call, const struct ec2_tag_specification_list *specifications, const char *type,
                   const char *const *also, struct ec2_tag_list *ret, struct err *err);

/* `tags` with `more` on top: a key that is there gets the new value. Result in the arena. */
int tags_merge(struct call *call, const struct ec2_tag_list *tags, const struct ec2_tag_list *more,
               struct ec2_tag_list *ret, struct err *err);
int tags_check(const struct ec2_tag_list *tags, struct err *err);
