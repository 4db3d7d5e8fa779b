/*
 * An arena: many allocations, one end. It lives as long as a request; what is in it never owns a
 * descriptor, a lock or a child. Memory is zeroed and aligned to 16.
 */
#pragma once

#include "base/str.h"

struct arena {
    struct arena_block *block; /* newest first */
    char *at, *end;
};

#define ARENA_INIT ((struct arena){0})

void *arena_alloc(struct arena *arena, size_t size);
#define arena_new(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define arena_array(arena, type, count) ((type *)arena_alloc_array((arena), sizeof(type), (count)))
void *arena_alloc_array(struct arena *arena, size_t size, size_t count);

struct str arena_str(struct arena *arena, struct str s); /* a copy, NUL-terminated too */
struct str arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes it empty for the next request; keeps the first block. */
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);
#define AUTO_ARENA __attribute__((cleanup(arena_free))) struct arena
