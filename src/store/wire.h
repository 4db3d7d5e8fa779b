/* The few encodings that documents and batches are made of: base-128 numbers, and bytes after their length. */
#pragma once

#include "base/buf.h"

static inline void put_number(struct buf *out, uint64_t n)
{
    char *at = buf_reserve(out, 10);

    for (; n >= 0x80; n >>= 7, out->len++)
        *at++ = (char)(n | 0x80);
    *at = (char)n;
    out->len++;
}

static inline void put_bytes(struct buf *out, struct str s)
{
    put_number(out, s.len);
    buf_append(out, s);
}

/* take_…: from the front of *at; false when it does not hold one. */
static inline bool take_number(struct str *at, uint64_t *ret)
{
    uint64_t n = 0;

    for (unsigned i = 0, shift = 0; i < at->len && shift < 64; i++, shift += 7) {
        unsigned char byte = (unsigned char)at->p[i];
        n |= (uint64_t)(byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        *at = (struct str){at->p + i + 1, at->len - i - 1};
        *ret = n;
        return true;
    }
    return false;
}

static inline bool take_bytes(struct str *at, struct str *ret)
{
    uint64_t len;

    if (!take_number(at, &len) || len > at->len)
        return false;
    *ret = (struct str){at->p, len};
    *at = (struct str){at->p + len, at->len - len};
    return true;
}

/* Against decay and programming errors, not against an adversary. */
static inline uint64_t bytes_sum(struct str s)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ s.len, word;

    for (; s.len >= 8; s.p += 8, s.len -= 8) {
        memcpy(&word, s.p, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    word = 0;
    if (s.len)
        memcpy(&word, s.p, s.len);
    h = (h ^ word) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 29);
}
