/* Numbers that were met before: of files with more than one name, or in more than one process. Zeroed: none. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct seen {
    uint64_t *numbers; /* 0: free */
    size_t count, capacity;
};

bool seen_has(const struct seen *seen, uint64_t number);
bool seen_first(struct seen *seen, uint64_t number); /* true the first time */
void seen_free(struct seen *seen);
