#include "base/arena.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BLOCK = 16 * 1024, ALIGN = 16 };

struct arena_block {
    struct arena_block *older;
    size_t size; /* of data */
    _Alignas(ALIGN) char data[];
};

static void add_block(struct arena *arena, size_t least)
{
    size_t size = arena->block ? arena->block->size * 2 : FIRST_BLOCK;
    struct arena_block *block;

    while (size < least)
        size *= 2;
    block = mem_resize(NULL, sizeof *block + size);
    block->older = arena->block;
    block->size = size;
    arena->block = block;
    arena->at = block->data;
    arena->end = block->data + size;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    void *p;

    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!arena->at || (size_t)(arena->end - arena->at) < size) /* nothing is a place too: an empty list is not absent */
        add_block(arena, size);
    p = arena->at;
    arena->at += size;
    return memset(p, 0, size);
}

void *arena_alloc_array(struct arena *arena, size_t size, size_t count)
{
    size_t bytes;

    if (__builtin_mul_overflow(size, count, &bytes))
        abort();
    return arena_alloc(arena, bytes);
}

struct str arena_str(struct arena *arena, struct str s)
{
    char *p;

    if (!s.p)
        return s;
    p = arena_alloc(arena, s.len + 1);
    memcpy(p, s.p, s.len);
    return (struct str){p, s.len};
}

struct str arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    char *p;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    if (n < 0)
        abort();
    p = arena_alloc(arena, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return (struct str){p, (size_t)n};
}

void arena_reset(struct arena *arena)
{
    struct arena_block *block = arena->block;

    while (block && block->older) {
        struct arena_block *older = block->older;
        free(block);
        block = older;
    }
    arena->block = block;
    arena->at = block ? block->data : NULL;
    arena->end = block ? block->data + block->size : NULL;
}

void arena_free(struct arena *arena)
{
    arena_reset(arena);
    free(arena->block);
    *arena = ARENA_INIT;
}
