#include "aws/base64.h"

#include <openssl/evp.h>

struct str base64_encode(struct arena *arena, struct str bytes)
{
    unsigned char *out = arena_alloc(arena, (bytes.len + 2) / 3 * 4 + 1);
    int n = EVP_EncodeBlock(out, (const unsigned char *)bytes.p, (int)bytes.len);

    return (struct str){(const char *)out, (size_t)n};
}

static bool is_space(char c)
{
    return c == '\n' || c == '\r' || c == ' ' || c == '\t';
}

bool base64_decode(struct arena *arena, struct str text, struct str *ret)
{
    unsigned char *tight = arena_alloc(arena, text.len + 1), *out;
    size_t n = 0, padding = 0;
    int decoded;

    for (size_t i = 0; i < text.len; i++)
        if (!is_space(text.p[i]))
            tight[n++] = (unsigned char)text.p[i];
    while (padding < 2 && padding < n && tight[n - 1 - padding] == '=')
        padding++;
    if (n % 4 != 0)
        return false;
    out = arena_alloc(arena, n / 4 * 3 + 1);
    decoded = n ? EVP_DecodeBlock(out, tight, (int)n) : 0;
    if (decoded < 0)
        return false;
    *ret = (struct str){(const char *)out, (size_t)decoded - padding};
    return true;
}
