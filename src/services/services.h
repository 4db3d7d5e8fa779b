/* The services that are built: one port answers for all of them. */
#pragma once

#include "aws/shape.h"

extern const struct service *const services[]; /* ends in NULL; the first speaks where none is named */

struct store_kind;
extern const struct store_kind *const service_kinds; /* every kind of record */
extern const size_t service_kind_count;

bool service_region_exists(struct str region);
