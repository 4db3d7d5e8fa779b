/*
 * Filters of a Describe: names resolved once a request, by the kind's row; values with AWS's wildcards. All
 * filters must match; of one filter's values, any. tag:KEY, tag-key and tag-value work on every tagged kind.
 */
#pragma once

#include "operation/resource.h"

struct ec2_filter_list;

struct filter_set {
    const struct resource *resource;
    struct filter_test *tests;
    size_t count;
};

/* Raises InvalidParameterValue for a name that the kind does not have, FilterLimitExceeded past 200 values. */
int filter_compile(struct arena *arena, const struct resource *resource, const struct ec2_filter_list *filters,
                   struct filter_set *ret, struct err *err);
bool filter_matches(const struct filter_set *set, const void *record);
