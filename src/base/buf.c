#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_grow(struct buf *buf, size_t more)
{
    size_t capacity = buf->capacity ? buf->capacity : 256;

    while (capacity - buf->len < more)
        capacity *= 2;
    buf->p = mem_resize(buf->p, capacity);
    buf->capacity = capacity;
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    if (n < 0)
        abort();
    vsnprintf(buf_reserve(buf, (size_t)n + 1), (size_t)n + 1, format, again);
    buf->len += (size_t)n;
    va_end(again);
    va_end(args);
}

void buf_drop(struct buf *buf, size_t n)
{
    if (n >= buf->len) {
        buf->len = 0;
        return;
    }
    memmove(buf->p, buf->p + n, buf->len - n);
    buf->len -= n;
}

void buf_free(struct buf *buf)
{
    free(buf->p);
    *buf = BUF_INIT;
}
