/*
 * The catalogue's texts. Its records are tables of numbers that the linker places in read-only memory: nothing is
 * allocated, relocated or built at start. A record names a text by its place in one pool; 0 is "absent".
 */
#pragma once

#include "base/str.h"

/* The text at `place`, for ever; NUL-terminated too. Absent for 0. */
struct str catalogue_text(uint32_t place);

/* A list in the catalogue: of texts or of plain numbers, as its field says. Empty where AWS sends none. */
struct catalogue_list {
    uint16_t first, count;
};

uint32_t catalogue_number(struct catalogue_list list, size_t i); /* i < list.count */
struct str catalogue_item(struct catalogue_list list, size_t i); /* for lists of texts */
bool catalogue_has(struct catalogue_list list, struct str item);
bool catalogue_has_number(struct catalogue_list list, uint32_t number);
