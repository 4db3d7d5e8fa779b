#include "base/arena.h"

#include "base/mem.h"

#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Under the address sanitizer what is not given out is poisoned, and GAP bytes lie between what is: a write past an
 * allocation's end, or into an arena that has ended, is found as if each were malloc's.
 */
#ifdef __SANITIZE_ADDRESS__
#define GAP 16
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GAP 16
#endif
#endif
#ifndef GAP
#define GAP 0
#endif

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
    ASAN_POISON_MEMORY_REGION(block->data, size);
}

static void free_block(struct arena_block *block)
{
    ASAN_UNPOISON_MEMORY_REGION(block->data, block->size);
    free(block);
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t room = (size + ALIGN - 1 + GAP) & ~(size_t)(ALIGN - 1);
    void *p;

    if (size > PTRDIFF_MAX / 2)
        abort();
    if (!arena->at || (size_t)(arena->end - arena->at) < room) /* nothing is a place too: an empty list is not absent */
        add_block(arena, room);
    p = arena->at;
    arena->at += room;
    ASAN_UNPOISON_MEMORY_REGION(p, size);
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
        free_block(block);
        block = older;
    }
    arena->block = block;
    arena->at = block ? block->data : NULL;
    arena->end = block ? block->data + block->size : NULL;
    if (block)
        ASAN_POISON_MEMORY_REGION(block->data, block->size);
}

void arena_free(struct arena *arena)
{
    arena_reset(arena);
    if (arena->block)
        free_block(arena->block);
    *arena = ARENA_INIT;
}
