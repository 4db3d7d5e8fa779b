#include "workload/seen.h"
#include "base/mem.h"

#include <stdlib.h>

/* Where it is or would be. */
static size_t seen_at(const struct seen *seen, uint64_t number)
{
    size_t at = (size_t)(number * 0x9e3779b97f4a7c15ull >> 20) & (seen->capacity - 1);

    while (seen->numbers[at] && seen->numbers[at] != number)
        at = (at + 1) & (seen->capacity - 1);
    return at;
}

static bool seen_put(struct seen *seen, uint64_t number)
{
    size_t at = seen_at(seen, number);

    if (seen->numbers[at])
        return false;
    seen->numbers[at] = number;
    seen->count++;
    return true;
}

bool seen_has(const struct seen *seen, uint64_t number)
{
    return seen->count && seen->numbers[seen_at(seen, number ? number : 1)];
}

bool seen_first(struct seen *seen, uint64_t number)
{
    if (seen->count * 2 >= seen->capacity) {
        struct seen larger = {.capacity = seen->capacity ? seen->capacity * 2 : 64}; /* a power of two */

        larger.numbers = mem_alloc(larger.capacity * sizeof *larger.numbers);
        for (size_t i = 0; i < seen->capacity; i++) {
            if (seen->numbers[i])
                seen_put(&larger, seen->numbers[i]);
        }
        free(seen->numbers);
        *seen = larger;
    }
    return seen_put(seen, number ? number : 1);
}

void seen_free(struct seen *seen)
{
    free(seen->numbers);
    *seen = (struct seen){0};
}
