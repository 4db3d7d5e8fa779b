/* A growing run of bytes. Owns its memory; zero-initialised is empty. */
#pragma once

#include "base/str.h"

#include <string.h>

struct buf {
    char *p;
    size_t len, capacity;
};

#define BUF_INIT ((struct buf){0})

void buf_grow(struct buf *buf, size_t more);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_drop(struct buf *buf, size_t n); /* its first n bytes */
void buf_free(struct buf *buf);
#define AUTO_BUF __attribute__((cleanup(buf_free))) struct buf

/* Room for `more` bytes behind len; where they start. */
static inline char *buf_reserve(struct buf *buf, size_t more)
{
    if (buf->capacity - buf->len < more)
        buf_grow(buf, more);
    return buf->p + buf->len;
}

static inline void buf_append(struct buf *buf, struct str s)
{
    if (s.len == 0)
        return;
    memcpy(buf_reserve(buf, s.len), s.p, s.len);
    buf->len += s.len;
}

static inline void buf_byte(struct buf *buf, char c)
{
    *buf_reserve(buf, 1) = c;
    buf->len++;
}

static inline struct str buf_str(const struct buf *buf)
{
    return (struct str){buf->p ? buf->p : "", buf->len};
}
