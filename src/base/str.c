#include "base/str.h"

#include <string.h>
#include <strings.h>

struct str str_of(const char *z)
{
    return (struct str){z, z ? strlen(z) : 0};
}

bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool str_equal_nocase(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.p, b.p, a.len) == 0);
}

int str_compare(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int r = n ? memcmp(a.p, b.p, n) : 0;

    return r ? r : (a.len > b.len) - (a.len < b.len);
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_equal(str_first(s, prefix.len), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && str_equal(str_skip(s, s.len - suffix.len), suffix);
}

bool str_contains(struct str s, struct str part)
{
    return part.len == 0 || (s.len && memmem(s.p, s.len, part.p, part.len));
}

struct str str_skip(struct str s, size_t n)
{
    if (n > s.len)
        n = s.len;
    return (struct str){s.p ? s.p + n : NULL, s.len - n};
}

struct str str_first(struct str s, size_t n)
{
    return (struct str){s.p, n < s.len ? n : s.len};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

struct str str_trim(struct str s)
{
    while (s.len && is_blank(s.p[0]))
        s = str_skip(s, 1);
    while (s.len && is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}

struct str str_cut(struct str *s, char separator)
{
    const char *at = s->len ? memchr(s->p, separator, s->len) : NULL;
    struct str head = *s;

    if (!at) {
        *s = (struct str){0};
        return head;
    }
    head.len = (size_t)(at - s->p);
    *s = str_skip(*s, head.len + 1);
    return head;
}

/* The classic two-pointer glob: on a mismatch, go back to the last star and let it take one more byte. */
bool str_matches(struct str s, struct str pattern)
{
    size_t i = 0, k = 0, star = SIZE_MAX, from = 0;

    while (i < s.len) {
        char c = k < pattern.len ? pattern.p[k] : '\0';

        if (k < pattern.len && c == '*') {
            star = k++;
            from = i;
            continue;
        }
        if (k < pattern.len && c == '\\' && k + 1 < pattern.len && pattern.p[k + 1] == s.p[i]) {
            k += 2;
            i++;
            continue;
        }
        if (k < pattern.len && (c == '?' || (c == s.p[i] && (c != '\\' || k + 1 == pattern.len)))) {
            k++;
            i++;
            continue;
        }
        if (star == SIZE_MAX)
            return false;
        k = star + 1;
        i = ++from;
    }
    while (k < pattern.len && pattern.p[k] == '*')
        k++;
    return k == pattern.len;
}

bool str_to_int(struct str s, int64_t *ret)
{
    bool negative = s.len && s.p[0] == '-';
    uint64_t value = 0;

    if (negative)
        s = str_skip(s, 1);
    if (s.len == 0 || s.len > 19)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(s.p[i] - '0');
    }
    if (value > (uint64_t)INT64_MAX)
        return false;
    *ret = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

/* Length of the well-formed sequence at p, 0 if there is none. Table 3-7 of the Unicode standard. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    unsigned char lo = 0x80, hi = 0xbf;
    size_t n;

    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (left < n)
        return 0;
    if (p[0] == 0xe0)
        lo = 0xa0;
    else if (p[0] == 0xed)
        hi = 0x9f;
    else if (p[0] == 0xf0)
        lo = 0x90;
    else if (p[0] == 0xf4)
        hi = 0x8f;
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return n;
}

bool str_is_utf8(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_sequence(p + i, s.len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* Eight bytes a step: multiply, fold. Good enough for ids and names; not for keys that an enemy picks from outside at
 * will. */
uint64_t str_hash(struct str s)
{
    const uint64_t multiplier = 0x9e3779b97f4a7c15u;
    uint64_t h = s.len * multiplier, word;
    size_t i = 0;

    for (; i + 8 <= s.len; i += 8) {
        memcpy(&word, s.p + i, 8);
        h = (h ^ word) * multiplier;
        h ^= h >> 29;
    }
    word = 0;
    if (s.len > i)
        memcpy(&word, s.p + i, s.len - i);
    h = (h ^ word) * multiplier;
    return h ^ (h >> 32);
}

bool str_to_z(struct str s, char *buf, size_t size)
{
    if (s.len >= size || (s.len && memchr(s.p, '\0', s.len)))
        return false;
    if (s.len)
        memcpy(buf, s.p, s.len);
    buf[s.len] = '\0';
    return true;
}
