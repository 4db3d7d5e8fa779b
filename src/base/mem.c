#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *p)
{
    if (!p) {
        fputs("haar: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mem_alloc(size_t size)
{
    return checked(calloc(1, size ? size : 1));
}

void *mem_resize(void *p, size_t size)
{
    return checked(realloc(p, size ? size : 1));
}

void *mem_copy(const void *p, size_t size)
{
    void *copy = checked(malloc(size ? size : 1));

    if (size)
        memcpy(copy, p, size);
    return copy;
}

char *mem_printf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int n;

    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    return checked(n < 0 ? NULL : text);
}

void mem_grow_items(void **items, size_t size, size_t count, size_t *capacity)
{
    if (count < *capacity)
        return;
    *capacity = *capacity ? *capacity * 2 : 2;
    *items = mem_resize(*items, *capacity * size);
}

void mem_auto_free(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}
